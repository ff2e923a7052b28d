"""What launches do not keep for us: orders given by programs, what is known of nodes and jobs.

One JSON file, written whole or not at all. Orders to a living launch are kept by the launch itself.
"""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from core.codec import from_json, to_json
from core.errors import InputError

log = structlog.get_logger()

KEEP_S = 30 * 86400.0  # an order is not given again a month later


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of a node, or of a job, beside what launches say; see core.cluster.NodeState.

    free: the node is no spare, though nothing runs on it
    """

    free: bool = False
    checked_s: float | None = None
    finding: str = ""
    reset_s: float | None = None
    paged_s: float | None = None
    clocks: float = 1.0
    power_watts: float | None = None


@dataclass(slots=True)
class Kept:
    """orders: key of each that a program carried out, and when; nodes and jobs by name."""

    orders: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, Note] = field(default_factory=dict)
    jobs: dict[str, Note] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def read(cls, path: Path | None) -> "Kept":
        """Read the file; one that is not there or cannot be read is as if all were new."""
        if path is None or not path.exists():
            return cls(path=path)
        try:
            found = json.loads(path.read_text())
            nodes, jobs = (
                {str(name): from_json(Note, note) for name, note in found[part].items()}
                for part in ("nodes", "jobs")
            )
            orders = {str(key): float(at_s) for key, at_s in found["orders"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            log.warning("what was kept of launches is lost", file=str(path), problem=str(error))
            return cls(path=path)
        return cls(orders, nodes, jobs, path)

    def note_node(self, name: str, **changes: Any) -> None:
        """Write something down about a node."""
        self.nodes[name] = replace(self.nodes.get(name, Note()), **changes)

    def note_job(self, name: str, **changes: Any) -> None:
        """Write something down about a job."""
        self.jobs[name] = replace(self.jobs.get(name, Note()), **changes)

    def write(self, *, now_s: float) -> None:
        """Write the file, less what is too old to matter; a failure is said and lived with."""
        self.orders = {key: at_s for key, at_s in self.orders.items() if at_s > now_s - KEEP_S}
        if self.path is None:
            return
        notes = {
            part: {name: to_json(note) for name, note in found.items()}
            for part, found in (("nodes", self.nodes), ("jobs", self.jobs))
        }
        half = self.path.with_suffix(".half")
        try:
            with half.open("w") as file:
                json.dump({"orders": self.orders, **notes}, file)
                file.flush()
                os.fsync(file.fileno())
            half.replace(self.path)
        except OSError as error:
            log.warning("orders are not kept", file=str(self.path), problem=str(error))
