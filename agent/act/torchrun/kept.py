"""What launches do not keep for us: orders given by programs, what is known of nodes and jobs.

Orders to a living launch are kept by the launch itself.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.act import kept_file
from agent.act.node_note import NodeNote


@dataclass(frozen=True, slots=True)
class LaunchNodeNote(NodeNote):
    """What is known of a node; free: it is no spare, though nothing runs on it."""

    free: bool = False


@dataclass(frozen=True, slots=True)
class JobNote:
    """What is known of a job."""

    paged_s: float | None = None


@dataclass(slots=True)
class Kept:
    """orders: key of each that a program carried out, and when; nodes and jobs by name."""

    orders: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, LaunchNodeNote] = field(default_factory=dict)
    jobs: dict[str, JobNote] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        """Read the file; one that is not there or cannot be read is as if all were new."""
        kinds = {"nodes": LaunchNodeNote, "jobs": JobNote}
        return cls(**kept_file.read(path, kinds, of="launches"), path=path)

    def note_node(self, name: str, **changes: Any) -> None:
        """Write something down about a node."""
        self.nodes[name] = replace(self.nodes.get(name, LaunchNodeNote()), **changes)

    def note_job(self, name: str, **changes: Any) -> None:
        """Write something down about a job."""
        self.jobs[name] = replace(self.jobs.get(name, JobNote()), **changes)

    def write(self, *, now_s: float) -> None:
        """Write the file, less what is too old to matter; a failure is said and lived with."""
        self.orders = kept_file.lately(self.orders, now_s)
        kept_file.write(self.path, self.orders, nodes=self.nodes, jobs=self.jobs)
