"""Who takes part: nodes, their workers, and the seats (ranks) of the world."""

from dataclasses import dataclass, field
from enum import Enum

from agent.launch.jobside.gpumedic_job.layout import Beat
from agent.launch.plan import Message


class Stage(Enum):
    """What the launch is doing."""

    WAITING = "waiting for nodes"
    GATHERING = "gathering"  # until every rank waits at the same place
    FORMING = "forming"  # until every rank says that it is in the new group
    RUNNING = "running"
    ENDED = "ended"


class Stand(Enum):
    """How far a worker is with its place."""

    STARTING = "starting"
    READY = "ready"  # a standby that waits for a rank, or a rank that waits for the others
    TOLD = "told"  # was told its place in a generation
    IN = "in"  # takes part in the generation
    DONE = "done"  # has done all steps


@dataclass(slots=True)
class Member:
    """A worker process.

    step:   after how many steps its state is; ``valid`` is False where an update was cut short
    fresh:  it has never had the job's state; ``loaded``: it has read the newest checkpoint
    failed: what it lost the others by; ``raised``: the script's own error
    killed, abandoned: why it was killed, or told to leave its state and end, and when
    pinged_s: when it was asked for a sign; ``ponged_s``: when it gave one; ``still``: what its node
              saw instead
    """

    uid: str
    node: str
    kind: str
    since_s: float
    stand: Stand = Stand.STARTING
    rank: int | None = None
    hooked: bool = False
    parked_for: int = -1
    step: int = 0
    valid: bool = True
    fresh: bool = True
    loaded: bool = False
    released: bool = False
    killed: str = ""
    killed_s: float = 0.0
    abandoned: str = ""
    abandoned_s: float = 0.0
    failed: str = ""
    raised: str = ""
    pinged_s: float | None = None
    ponged_s: float | None = None
    still: str = ""
    stack: tuple[str, ...] = ()
    beat: Beat | None = None

    def asked(self, now_s: float | None) -> None:
        """Begin to wait for a sign of it; None: there is nothing to ask any more."""
        self.pinged_s, self.ponged_s, self.still = now_s, None, ""


@dataclass(slots=True)
class Seat:
    """A rank and where it is; ``uid`` is None while nobody has it.

    number: what its own state is kept under; stays where ranks are numbered anew
    left:   after how many steps its rank left them, though there were more to do
    """

    rank: int
    node: str
    local_rank: int
    number: int
    uid: str | None = None
    done: bool = False
    left: int | None = None

    def empty(self) -> None:
        """Be free for another process, which has all to do."""
        self.uid, self.done, self.left = None, False, None


@dataclass(slots=True)
class Holdings:
    """Which states lie in a node's shared memory: (seat, step) of own ones, steps of copies."""

    own: frozenset[tuple[int, int]] = frozenset()
    copies: frozenset[int] = frozenset()


def held(message: Message) -> Holdings:
    """Read holdings from a node's message."""
    return Holdings(
        own=frozenset((seat, step) for seat, step in message["own"]),
        copies=frozenset(message["copies"]),
    )


@dataclass(slots=True)
class Node:
    """A supervisor that has joined; ``address`` and ``port`` are for the script's rendezvous."""

    name: str
    address: str
    port: int
    holdings: Holdings = field(default_factory=Holdings)
    standby_failures: int = 0


@dataclass(frozen=True, slots=True)
class Hold:
    """Who keeps a node from being given ranks, and why; ``since_s`` is the coordinator's time."""

    by: str
    why: str
    since_s: float
