"""What Slurm does not keep for us: orders taken, what nodes were before, jobs on their way back.

One JSON file, written whole or not at all. Without it nothing wrong is done: nodes carry their
owner in their reason; only what was half done when the process ended is then not gone on with.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog

from core.codec import from_json, to_json
from core.errors import InputError

log = structlog.get_logger()

T = TypeVar("T")

KEEP_S = 30 * 86400.0  # an order is not given again a month later


@dataclass(frozen=True, slots=True)
class Return:
    """A job on its way back into work.

    key: of the order; since_s: when it was given
    had: the nodes it had; silent: of those, they did not answer then
    nodes: it is to run on these, and where they are too few, on others as well
    size: nodes, tasks and processors it is to have; empty: as many as it had
    spares: that are kept back until it is let start
    priority: it had, to be put back; 0: it keeps what it has
    """

    job: int
    key: str
    since_s: float
    had: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    spares: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class NodeNote:
    """What is known of a node beside Slurm; see core.cluster.NodeState.

    reason: it had before we took it out
    """

    reason: str = ""
    checked_s: float | None = None
    finding: str = ""
    reset_s: float | None = None
    paged_s: float | None = None
    clocks: float = 1.0
    power_watts: float | None = None


@dataclass(frozen=True, slots=True)
class JobNote:
    """What is known of a job beside Slurm.

    nodes: that it had when it last ran, and which GPUs of each
    placed: nodes that we asked for in its name
    queued: we sent it back to the queue, to wait its turn
    """

    nodes: tuple[str, ...] = ()
    gpus: tuple[tuple[int, ...], ...] = ()
    placed: tuple[str, ...] = ()
    queued: bool = False
    paged_s: float | None = None


@dataclass(slots=True)
class Kept:
    """orders: key of each that was taken, and when; nodes by name, jobs and returns by id."""

    orders: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, NodeNote] = field(default_factory=dict)
    jobs: dict[str, JobNote] = field(default_factory=dict)
    returns: dict[str, Return] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        """Read the file; one that is not there or cannot be read is as if all were new."""
        if path is None or not path.exists():
            return cls(path=path)
        try:
            found = json.loads(path.read_text())
            return cls(
                orders={str(key): float(at_s) for key, at_s in found["orders"].items()},
                nodes=_noted(NodeNote, found["nodes"]),
                jobs=_noted(JobNote, found["jobs"]),
                returns=_noted(Return, found["returns"]),
                path=path,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            log.warning("what was kept of Slurm is lost", file=str(path), problem=str(error))
            return cls(path=path)

    def write(self, *, now_s: float) -> None:
        """Write the file, less what is too old to matter; a failure is said and lived with."""
        self.orders = {key: at_s for key, at_s in self.orders.items() if at_s > now_s - KEEP_S}
        if self.path is None:
            return
        parts = {
            "orders": self.orders,
            **{name: _plain(getattr(self, name)) for name in ("nodes", "jobs", "returns")},
        }
        half = self.path.with_suffix(".half")
        try:
            with half.open("w") as file:
                json.dump(parts, file)
                file.flush()
                os.fsync(file.fileno())
            half.replace(self.path)
        except OSError as error:
            log.warning("orders are not kept", file=str(self.path), problem=str(error))


def _plain(notes: Mapping[str, object]) -> dict[str, Any]:
    return {name: to_json(note) for name, note in notes.items()}


def _noted(kind: type[T], found: Mapping[str, Any]) -> dict[str, T]:
    return {str(name): from_json(kind, note) for name, note in found.items()}
