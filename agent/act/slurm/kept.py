"""What Slurm does not keep for us: orders taken, what nodes were before, jobs on their way back.

Without its file nothing wrong is done: nodes carry their owner in their reason; only what was half
done when the process ended is then not gone on with.
"""

from dataclasses import dataclass, field
from pathlib import Path

from agent.act import kept_file
from agent.act.node_note import NodeNote


@dataclass(frozen=True, slots=True)
class Return:
    """A job on its way back into work.

    key: of the order; since_s: when it was given
    task: what it is called in an order, as one of an array (7_2); "": by its number
    had: the nodes it had; silent: of those, they did not answer then
    nodes: it is to run on these, and where they are too few, on others as well
    size: nodes, tasks and processors it is to have; empty: as many as it had
    spares: that are kept back until it is let start
    priority: it had, to be put back; 0: it keeps what it has
    """

    job: int
    key: str
    since_s: float
    task: str = ""
    had: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    size: tuple[int, ...] = ()
    spares: tuple[str, ...] = ()
    priority: int = 0

    @property
    def called(self) -> str:
        """Return what to call the job in an order."""
        return self.task or str(self.job)


@dataclass(frozen=True, slots=True)
class SlurmNodeNote(NodeNote):
    """What is known of a node beside Slurm; reason: it had before we took it out."""

    reason: str = ""


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
    nodes: dict[str, SlurmNodeNote] = field(default_factory=dict)
    jobs: dict[str, JobNote] = field(default_factory=dict)
    returns: dict[str, Return] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        """Read the file; one that is not there or cannot be read is as if all were new."""
        kinds = {"nodes": SlurmNodeNote, "jobs": JobNote, "returns": Return}
        return cls(**kept_file.read(path, kinds, of="Slurm"), path=path)

    def write(self, *, now_s: float) -> None:
        """Write the file, less what is too old to matter; a failure is said and lived with."""
        self.orders = kept_file.lately(self.orders, now_s)
        kept_file.write(
            self.path, self.orders, nodes=self.nodes, jobs=self.jobs, returns=self.returns
        )
