"""From the settings to an audit, and what it knows to those who ask about jobs."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agent.act.paths import Paths
from agent.checkpoints.audit import Audit, Shown, Watched
from agent.checkpoints.backup import Kept
from agent.collect.reading import Reading, Snapshot
from agent.config import Settings
from agent.launch.jobside.gpumedic_job import rhythm
from agent.service import Periodic
from core.clock import Clock
from core.cluster import ClusterState, JobState
from core.errors import ActionFailed
from core.ports import Cluster, Problem
from core.target import Target
from core.types import Action
from remediation.catalogue import SET_CHECKPOINT_INTERVAL

MEMORY = "checkpoints.json"


def audit_of(
    settings: Settings, cluster: Cluster | None, clock: Clock, shown: Shown = lambda *_: None
) -> Audit | None:
    """Return the audit of the folders that are set, None where none is; ``shown``: see Audit."""
    if not settings.checkpoints.folder:
        return None
    watched = tuple(
        Watched(
            job=each.job,
            root=each.path,
            budget_s=each.loss_budget,
            read=each.read,
            copies=each.copies,
            bytes_per_s=each.copy_rate,
            keep=Kept(each.keep, each.keep_every),
        )
        for each in settings.checkpoints.folder
    )
    return Audit(
        watched,
        clock,
        state=None if cluster is None else cluster.state,
        shown=shown,
        memory=settings.state_dir / MEMORY,
    )


def work_of(audit: Audit | None, every_s: float) -> tuple[Periodic, ...]:
    """Return what is to be done now and then: looking and, beside it, copying."""
    if audit is None:
        return ()
    return (
        Periodic("checkpoints", every_s, audit.look, interruptible=True),
        Periodic("copies", every_s, audit.copy, interruptible=True),
    )


def known_to(audit: Audit, cluster: Cluster | None) -> "KnownCheckpoints | None":
    """Return a scheduler that knows what the audit found, None where there is no scheduler."""
    return None if cluster is None else KnownCheckpoints(cluster, audit)


class KnownCheckpoints:
    """A scheduler whose jobs have the checkpoints that were found whole, not those they report.

    How often a job saves and how long it stands for that is its manifests', where the scheduler
    does not know it; and a job that listens is told beside its checkpoints how often to save.
    """

    def __init__(self, cluster: Cluster, audit: Audit) -> None:
        self.name = cluster.name
        self._cluster, self._audit = cluster, audit
        self._folders = {each.job: each.root for each in audit.watched}
        self._rhythms = Paths(_rhythm)

    async def state(self) -> ClusterState:
        """Return the scheduler's look; a watched job's newest checkpoint is the newest valid."""
        found = await self._cluster.state()
        rhythms = await self._rhythms.known(str(root) for root in self._folders.values())
        return replace(found, jobs=tuple(self._seen(job, rhythms) for job in found.jobs))

    def _seen(self, job: JobState, rhythms: Mapping[str, tuple[bool, float | None]]) -> JobState:
        standing = self._audit.standing.get(job.id)
        if standing is None:
            return job
        _, interval_s = rhythms.get(str(self._folders[job.id]), (False, None))
        advised = standing.advice
        if interval_s is None:
            interval_s = job.interval_s or (advised.now_s if advised else None)
        return replace(
            job,
            checkpoint_s=self._audit.saved_s(job.id),
            interval_s=interval_s,
            stall_s=job.stall_s or (advised.save_s if advised else None),
        )

    async def perform(self, action: Action) -> None:
        """Tell a job that listens how often to save; pass any other order on."""
        folder = self._folders.get(action.target.job)
        seconds = action.param("interval_s")
        if folder is None or action.kind != SET_CHECKPOINT_INTERVAL or seconds is None:
            await self._cluster.perform(action)
            return
        listens, _ = await asyncio.to_thread(_rhythm, str(folder))
        if not listens:
            await self._cluster.perform(action)
            return
        try:
            await asyncio.to_thread(rhythm.ask, folder, float(seconds))
        except OSError as error:
            raise ActionFailed(
                f"Telling job {action.target.job} how often to save: {folder / rhythm.ASKED} "
                f"cannot be written ({error.strerror}). Let the controller's user write there."
            ) from error


def _rhythm(folder: str) -> tuple[bool, float | None]:
    """Say whether the job that saves in a folder listens, and the interval that it goes by."""
    return rhythm.listens(Path(folder)), rhythm.said(Path(folder))


@dataclass(frozen=True, slots=True)
class CheckpointAges:
    """The audit's findings as readings, for the page of a node service."""

    audit: Audit
    clock: Clock
    name: str = "checkpoints"

    def snapshot(self) -> Snapshot:
        """Return the age of each job's newest valid checkpoint, and what could not be looked at."""
        now_s = self.clock.now_s()
        readings, problems = [], []
        for job, found in self.audit.standing.items():
            if found.newest is not None:
                age_s = max(0.0, now_s - found.newest.saved_s)
                readings.append(Reading("job_checkpoint_age_s", Target(job=job), age_s))
            if found.problem:
                problems.append(Problem(self.name, "unreadable", found.problem))
        return Snapshot(tuple(readings), tuple(problems))
