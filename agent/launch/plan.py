"""What an operator asked of a launch, and the words in which the coordinator gives orders."""

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A launch, in torchrun's terms.

    per_node:       ranks on each node
    max_restarts:   whole-group restarts; a hand-over is none
    standbys:       warm processes on each node; a spare node keeps at least ``per_node``
    join_timeout_s: how long to wait for ``min_nodes``
    last_call_s:    how long to wait for more nodes once there are enough
    start_s:        how long a new process may take until it asks for its place
    hang_s:         the least time without a step that is looked into
    """

    per_node: int = 1
    min_nodes: int = 1
    max_nodes: int = 1
    max_restarts: int = 0
    standbys: int = 1
    run_id: str = "none"
    role: str = "default"
    join_timeout_s: float = 600.0
    last_call_s: float = 2.0
    start_s: float = 300.0
    hang_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What an operator or the daemon asks of a launch; see ``operating.Operators``."""

    key: str
    kind: str
    target: str = ""
    spare: str = ""
    leave: str = ""
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process on a node.

    kind: ``rank`` runs the script; ``script`` warms up and runs it, to wait where it asks for a
          rank; ``wait`` warms up and waits to be told its environment
    """

    node: str
    uid: str
    kind: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a message to a worker."""

    node: str
    uid: str
    message: Message


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a worker and whatever it started, keeping its stacks first."""

    node: str
    uid: str
    why: str


@dataclass(frozen=True, slots=True)
class Over:
    """End the key-value stores of all generations before this one."""

    generation: int


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the journal; ``fields`` are for machines."""

    text: str
    fields: Message = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """End the launch on all nodes with this exit code."""

    code: int
    text: str


Order = Start | Tell | Kill | Over | Said | End
"""What the coordinator wants done; the nodes do it."""
