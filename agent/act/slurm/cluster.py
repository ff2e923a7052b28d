"""The Slurm cluster as a port: its state, orders to it, and what changed of nodes and jobs."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from agent.act.gpu_names import GpuNames
from agent.act.programs import Programs
from agent.act.saved import Saved
from agent.act.slurm import orders_jobs, orders_nodes
from agent.act.slurm.calls import Calls, SlurmAccess
from agent.act.slurm.declared import declared
from agent.act.slurm.desk import Desk, said
from agent.act.slurm.happenings import happenings
from agent.act.slurm.kept import JobNote, Kept
from agent.act.slurm.picture import Look, Seen, is_silent, on_nodes, picture
from agent.act.slurm.places import Places
from agent.act.slurm.progress import Progress
from agent.act.slurm.reading import Reader
from agent.act.slurm.records import SlurmNode
from agent.act.slurm.rest import Rest
from agent.act.slurm.returning import Returning
from agent.act.slurm.spares import Spares
from agent.collect.reading import Reading, windows_of
from core.clock import Clock
from core.cluster import ClusterState, JobPhase
from core.errors import ActionFailed, SourceUnavailable
from core.ports import Collected, Query
from core.target import Target
from core.types import Action, Event
from remediation.catalogue import CATALOG

log = structlog.get_logger()

KINDS = {**orders_nodes.KINDS, **orders_jobs.KINDS}
# Action kind -> what would make it possible.
_LAUNCHER = "Start the training with gpumedic's launcher, which can"
_ELSEWHERE: Mapping[str, str] = {
    "restart_in_place": f"Slurm can only requeue a whole job. {_LAUNCHER}; or order restart_job",
    "rollback_job": "the job's script chooses its checkpoint. Move the newer ones away by hand and "
    "order restart_job",
    "set_checkpoint_interval": f"the training keeps its interval to itself. {_LAUNCHER}",
    "tune_job": "the training keeps its settings to itself. Its owner must submit it anew",
    "set_compression": "the training keeps its settings to itself. Its owner must submit it anew",
    "reboot_under_job": "Slurm cannot hold a job's other nodes meanwhile. Order drain, reboot_node "
    "and uncordon",
    "scale_service": "Slurm knows no services. Run them under Kubernetes",
    "set_service_batch": "Slurm knows no services. Run them under Kubernetes",
    "shift_canary": "Slurm knows no services. Run them under Kubernetes",
    "set_cache": "Slurm knows no services. Run them under Kubernetes",
    "stop_rollout": "Slurm rolls no drivers out. Stop it in the site's provisioning",
}


@dataclass(frozen=True, slots=True)
class SlurmSettings:
    """How the site wants it.

    spares: name of the reservation that keeps spare nodes
    silent_s: a node that does not answer for so long counts as down, before Slurm says so; longer
        than live ones seem silent after slurmctld itself was away
    programs: of the site, for what Slurm cannot do
    """

    spares: str = "gpumedic_spares"
    silent_s: float = 30.0
    programs: Programs = field(default_factory=Programs)


class SlurmCluster:
    """Cluster, EventSource and MetricSource of a Slurm site; readings: steps of jobs that tell.

    path: where orders are kept, so that one is given once whatever happens to this process
    gpu_names: what its numbered GPUs are called; None: by their numbers
    """

    name = "slurm"

    def __init__(
        self,
        access: SlurmAccess,
        *,
        clock: Clock,
        settings: SlurmSettings = SlurmSettings(),
        path: Path | None = None,
        gpu_names: GpuNames | None = None,
    ) -> None:
        self.calls, self._gpu_names = Calls(access), gpu_names
        self.settings = settings
        self._clock = clock
        self._rest = Rest(access) if access.rest else None
        self.reader = Reader(self.calls, clock, self._rest)
        self.kept = Kept.read(path)
        spares = Spares(settings.spares, self.calls, self.reader)
        places = Places(self.calls, self.reader)
        self._returning = Returning(self.calls, self.kept, clock, spares, places, settings.silent_s)
        self._saved = Saved(clock)
        self._progress = Progress()
        self._readings: tuple[Reading, ...] = ()
        self._silent_since: dict[str, float] = {}
        self._last: Look | None = None
        self._told: Look | None = None
        self._resumed = False
        self._one_at_a_time = asyncio.Lock()

    async def state(self) -> ClusterState:
        """Return the cluster as Slurm sees it; SourceUnavailable where it does not say."""
        look = await self._look()
        if not self._resumed:
            self._resumed = True
            self._returning.resume()
        return await self._picture(look)

    async def events(self) -> tuple[Event, ...]:
        """Return what has changed since the last call; nothing with the first."""
        look = await self._look() if self._last is None or self._last is self._told else self._last
        before, self._told = self._told, look
        return () if before is None else happenings(before, look)

    async def read(self, query: Query) -> Collected:
        """Return how far the jobs were at the last look; never older readings."""
        return Collected(windows_of(self._readings, query, now_s=self._clock.now_s()))

    async def perform(self, action: Action) -> None:
        """Order an action, checked against a fresh look; a key that was taken does nothing again.

        ActionFailed where Slurm cannot or will not, SourceUnavailable where it does not answer:
        then nothing, or a part, was done, and the same key may be given again.
        """
        async with self._one_at_a_time:
            if action.key in self.kept.orders:
                return
            self._check_possible(action)
            desk = await self._desk()
            if no := CATALOG[action.kind].obstacle(action, desk.state):
                raise ActionFailed(f"{said(action)}: {no.reason} {no.remedy}")
            await KINDS[action.kind](desk, action)
            self.kept.orders[action.key] = self._clock.now_s()
            self.kept.write(now_s=self._clock.now_s())

    async def close(self) -> None:
        """Stop following jobs and close the connections; what is under way is kept."""
        await self._returning.close()
        if self._rest is not None:
            await self._rest.close()

    def _check_possible(self, action: Action) -> None:
        if action.kind in _ELSEWHERE:
            raise ActionFailed(f"{said(action)}: not on Slurm: {_ELSEWHERE[action.kind]}.")
        if action.kind not in KINDS:
            raise ActionFailed(
                f"{said(action)}: Slurm has no such action; it performs {', '.join(sorted(KINDS))}."
            )
        if action.kind in orders_nodes.BY_PROGRAM and action.kind not in self.settings.programs:
            raise ActionFailed(
                f"{said(action)}: Slurm itself cannot. Name a program of the site as "
                f'slurm.programs.{action.kind}, such as ["ssh", "{{node}}", "..."].'
            )

    async def _desk(self) -> Desk:
        look = await self._look()
        return Desk(
            look=look,
            state=await self._picture(look),
            config=(await self.reader.site()).config,
            calls=self.calls,
            kept=self.kept,
            returning=self._returning,
            spares=self._returning.spares,
            programs=self.settings.programs,
        )

    async def _look(self) -> Look:
        try:
            found, site = await asyncio.gather(self.reader.said(), self.reader.site())
        except SourceUnavailable as error:
            raise self._stale(error) from error
        now_s = self._clock.now_s()
        look = Look(
            now_s,
            found.nodes,
            found.jobs,
            found.reservations,
            self._silent(found.nodes),
            site.leaves,
        )
        self._remember(look)
        self._returning.tidy(look)
        self._last = look
        return look

    def _stale(self, error: SourceUnavailable) -> SourceUnavailable:
        if self._last is None:
            return error
        age_s = self._clock.now_s() - self._last.at_s
        return SourceUnavailable(
            f"{error} What is known is {age_s:.0f} s old; nothing is done on it."
        )

    def _silent(self, nodes: tuple[SlurmNode, ...]) -> frozenset[str]:
        """Return the nodes that have not answered for long enough to count as down."""
        now_s = self._clock.monotonic_s()
        since = self._silent_since
        self._silent_since = {n.name: since.get(n.name, now_s) for n in nodes if is_silent(n)}
        return frozenset(
            name for name, s in self._silent_since.items() if now_s - s >= self.settings.silent_s
        )

    def _remember(self, look: Look) -> None:
        """Note which nodes each job runs on, to know where one was that stops."""
        known = {str(job.id) for job in look.jobs}
        notes = {key: note for key, note in self.kept.jobs.items() if key in known}
        for job in look.jobs:
            if "RUNNING" in job.state and on_nodes(job):
                note = notes.get(str(job.id), JobNote())
                had = replace(note, nodes=job.nodes, gpus=job.gpus, queued=False)
                notes[str(job.id)] = had
        if notes != self.kept.jobs:
            self.kept.jobs.clear()
            self.kept.jobs.update(notes)
            self.kept.write(now_s=self._clock.now_s())

    async def _picture(self, look: Look) -> ClusterState:
        folders = (declared(job.comment).checkpoint for job in look.jobs)
        saved_at, paces = await asyncio.gather(
            self._saved.within(folders), self._progress.look(look.jobs)
        )
        seen = Seen(saved_at, paces.get)
        found = picture(look, self.kept, spares=self.settings.spares, seen=seen)
        self._readings = (*self._progress.readings(), *_ages(found))
        found = replace(found, unable=tuple(_ELSEWHERE.items()))
        return found if self._gpu_names is None else await self._gpu_names.given_to(found)


def _ages(state: ClusterState) -> Iterator[Reading]:
    """Yield how old the newest valid checkpoint of each running job is, where it says where."""
    for job in state.jobs:
        if job.phase is JobPhase.RUNNING and job.checkpoint_s is not None:
            age_s = max(0.0, state.observed_s - job.checkpoint_s)
            yield Reading("job_checkpoint_age_s", Target(job=job.id), age_s)
