"""What an order is carried out with, and what several orders need."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.act.programs import Programs
from agent.act.slurm.calls import Calls
from agent.act.slurm.hosts import is_name
from agent.act.slurm.kept import JobNote, Kept, SlurmNodeNote
from agent.act.slurm.picture import Look
from agent.act.slurm.records import SlurmJob, SlurmNode
from agent.act.slurm.returning import Returning
from agent.act.slurm.spares import Spares
from core.cluster import ClusterState
from core.errors import ActionFailed
from core.types import Action
from remediation.catalogue.subject import job_of


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom an order comes to, with the look at the cluster that it was checked against."""

    look: Look
    state: ClusterState
    config: Mapping[str, str]
    calls: Calls
    kept: Kept
    returning: Returning
    spares: Spares
    programs: Programs = field(default_factory=Programs)

    def node(self, name: str) -> SlurmNode:
        """Return the node of that name, fit to be an argument; the caller knows it is there."""
        found = self.look.node(name)
        if found is None or not is_name(name):
            raise ActionFailed(
                f"node {name[:80]!r}: Slurm has no such node; name one of "
                f"{', '.join(node.name for node in self.look.nodes[:12])}."
            )
        return found

    def job(self, action: Action) -> SlurmJob:
        """Return the action's job."""
        return self.job_named(job_of(action))

    def job_named(self, job_id: str) -> SlurmJob:
        """Return the job of that id."""
        found = self.look.job(job_id)
        if found is None:
            known = ", ".join(str(job.id) for job in self.look.jobs[:12]) or "none"
            raise ActionFailed(f"job {job_id[:80]!r}: Slurm has no such job; it has {known}.")
        return found

    def note_node(self, name: str, **changes: Any) -> None:
        """Write something down about a node."""
        self.kept.nodes[name] = replace(self.kept.nodes.get(name, SlurmNodeNote()), **changes)

    def note_job(self, job: int, **changes: Any) -> None:
        """Write something down about a job."""
        self.kept.jobs[str(job)] = replace(self.kept.jobs.get(str(job), JobNote()), **changes)

    async def update_node(self, action: Action, name: str, *changes: str) -> None:
        """Change a node."""
        argv = ("scontrol", "update", f"NodeName={self.node(name).name}", *changes)
        await self.calls.order(*argv, why=said(action))


def said(action: Action) -> str:
    """Return what was attempted, for messages."""
    return f"{action.kind} {action.target}"
