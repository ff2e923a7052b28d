"""The launches of this machine as a port: state, readings, events, orders, what was mended."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import structlog

from agent.act.programs import Programs
from agent.act.torchrun.kept import Kept
from agent.act.torchrun.lines import Story
from agent.act.torchrun.orders import BY_PROGRAM, KINDS, UNABLE, Desk, said
from agent.act.torchrun.picture import Look, gpu_name, phase_of, picture
from agent.act.torchrun.records import Launch, launch_of
from agent.act.usual import UsualStep
from agent.collect.reading import Reading, windows_of
from agent.launch.asking import ended, launches
from agent.launch.control import FORGOTTEN_S
from core.clock import Clock
from core.cluster import ClusterState, JobPhase
from core.errors import ActionFailed
from core.ports import Collected, Query
from core.target import Target
from core.types import Action, Event, Mended
from remediation.catalogue import CATALOG

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TorchrunSettings:
    """How the site wants it.

    folder:   of the launches' control sockets; None: this user's
    programs: of the site, for what launches cannot do
    """

    folder: Path | None = None
    programs: Programs = field(default_factory=lambda: Programs(setting="torchrun.programs"))


@dataclass(slots=True)
class _Known:
    """What is remembered of a launch between looks; read: lines of its journal, so many."""

    story: Story
    read: int = 0
    last: Launch | None = None
    usual: UsualStep = field(default_factory=UsualStep)
    over: bool = False


class TorchrunCluster:
    """Cluster, EventSource, MetricSource and SelfMending of the launches coordinated here.

    path: where orders that programs carry out are kept, so that one is given once
    """

    name = "torchrun"

    def __init__(
        self,
        *,
        clock: Clock,
        settings: TorchrunSettings = TorchrunSettings(),
        path: Path | None = None,
    ) -> None:
        self._clock, self._settings = clock, settings
        lacking = BY_PROGRAM - {"restart_job"} - set(settings.programs.argv_of)
        self._unable = {**UNABLE, **{kind: _program(kind) for kind in lacking}}
        self._kept = Kept.read(path)
        self._known: dict[Path, _Known] = {}
        self._last: Look | None = None
        self._told = False
        self._one_at_a_time = asyncio.Lock()

    async def state(self) -> ClusterState:
        """Return the cluster as the launches see it."""
        return self._picture(await self._look())

    async def events(self) -> tuple[Event, ...]:
        """Return what has happened since the last call; nothing with the first."""
        await self._look()
        found = [event for known in self._known.values() for event in _taken(known.story.events)]
        first, self._told = not self._told, True
        return () if first else tuple(sorted(found, key=lambda event: event.time_s))

    async def mended(self) -> tuple[Mended, ...]:
        """Return what launches have mended by themselves since the last call."""
        found = [each for known in self._known.values() for each in _taken(known.story.mended)]
        return tuple(sorted(found, key=lambda each: each.started_s))

    async def read(self, query: Query) -> Collected:
        """Return how far the jobs and their ranks are now; never older readings."""
        look = await self._look()
        readings = [each for launch in look.launches for each in _readings(launch, look)]
        return Collected(windows_of(readings, query, now_s=self._clock.now_s()))

    async def perform(self, action: Action) -> None:
        """Order an action, checked against a fresh look; a key that was taken does nothing again.

        ActionFailed where it cannot be, SourceUnavailable where the launch does not answer, or is
        just forming its group: the same key may be given again.
        """
        async with self._one_at_a_time:
            self._check_possible(action)
            if action.key in self._kept.orders:
                return
            look = await self._look()
            state = self._picture(look)
            if no := CATALOG[action.kind].obstacle(action, state):
                raise ActionFailed(f"{said(action)}: {no.reason} {no.remedy}")
            now_s = self._clock.now_s()
            desk = Desk(look, state, self._kept, now_s, self._settings.programs)
            await KINDS[action.kind](desk, action)
            self._kept.orders[action.key] = now_s
            self._kept.write(now_s=now_s)

    def _check_possible(self, action: Action) -> None:
        if action.kind in self._unable:
            raise ActionFailed(f"{said(action)}: no launch can: {self._unable[action.kind]}.")
        if action.kind not in KINDS:
            raise ActionFailed(
                f"{said(action)}: launches have no such action; they perform "
                f"{', '.join(sorted(KINDS))}."
            )

    async def _look(self) -> Look:
        folder = self._settings.folder
        since = {path: known.read for path, known in self._known.items()}
        alive, over = await asyncio.to_thread(_asked, folder, since)
        now_s = self._clock.now_s()
        for launch in (*alive, *over):
            self._take(launch)
        there = {launch.control for launch in (*alive, *over)}
        renewed = {launch.job for launch in alive}
        gone = []
        for path, known in [*self._known.items()]:
            if path in there or known.last is None:
                continue
            last = self._given_up(known, known.last)
            forgotten = known.last.code is not None or now_s - last.since_s > FORGOTTEN_S
            if forgotten or last.job in renewed:
                del self._known[path]
            else:
                gone.append(last)
        over = [launch for launch in over if launch.job not in renewed]
        self._last = Look(now_s, (*alive, *over), tuple(gone))
        return self._last

    def _given_up(self, known: _Known, last: Launch) -> Launch:
        """Tell once that who coordinated is gone."""
        if not known.over:
            known.over = True
            known.last = replace(last, since_s=self._clock.now_s())
            known.story.ended(1, "who coordinated it is gone", known.last.since_s)
        return known.last or last

    def _take(self, launch: Launch) -> None:
        """Remember a launch's last word, and read the lines that are new."""
        known = self._known.get(launch.control)
        if known is None:
            known = self._known[launch.control] = _Known(Story(launch.job, launch.per_node))
        fresh = [line for line in launch.lines if line["n"] >= known.read]
        known.story.read(fresh, nodes=len(launch.nodes_used()))
        known.read = max([known.read, *(line["n"] + 1 for line in fresh)])
        if launch.code is not None and not known.over:
            known.over = True
            if phase_of(launch, Look(0.0, ())) is JobPhase.STOPPED:
                text = launch.lines[-1]["text"] if launch.lines else f"code {launch.code}"
                known.story.ended(launch.code, text, launch.since_s)
        if launch.code is None and launch.step_s and launch.stage == "running":
            known.usual.note(launch.step_s, nodes=len(launch.nodes_used()))
        known.last = launch

    def _picture(self, look: Look) -> ClusterState:
        usual = {
            last.job: usual_s
            for known in self._known.values()
            if (last := known.last) is not None
            and (usual_s := known.usual.step_s(nodes=len(last.nodes_used()))) is not None
        }
        found = picture(look, self._kept, usual=usual)
        return replace(found, unable=tuple(self._unable.items()))


def _program(kind: str) -> str:
    """Return what makes an action possible that a launch leaves to the site."""
    return f'name a program as torchrun.programs.{kind}, such as ["ssh", "{{node}}", "..."]'


def _asked(folder: Path | None, since: dict[Path, int]) -> tuple[list[Launch], list[Launch]]:
    """Ask all launches; a status that cannot be read is another version's, and is passed over."""
    return [*_read(launches(folder, since=since))], [*_read(ended(folder))]


def _read(found: list[dict[str, object]]) -> Iterator[Launch]:
    for each in found:
        try:
            yield launch_of(each)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("a launch is not understood", control=each["control"], problem=repr(error))


def _taken(found: list[T]) -> list[T]:
    """Return what was found, once."""
    taken = [*found]
    found.clear()
    return taken


def _readings(launch: Launch, look: Look) -> Iterator[Reading]:
    """Yield what a launch's job and ranks report of their own progress."""
    if launch.code is not None:
        return
    job = Target(job=launch.job)
    if launch.step is not None:
        yield Reading("job_steps_total", job, float(launch.step))
    if launch.step_s:
        yield Reading("job_step_time_s", job, launch.step_s)
    if launch.checkpoint.saved_s is not None:
        age_s = max(0.0, look.at_s - launch.checkpoint.saved_s)
        yield Reading("job_checkpoint_age_s", job, age_s)
    for rank in launch.ranks:
        if rank.computes is None or not launch.step_s:
            continue
        gpu = gpu_name(rank.node, rank.number % launch.per_node)
        target = Target(node=rank.node, gpu=gpu, job=launch.job, rank=str(rank.number))
        own_s = rank.computes * launch.step_s
        yield Reading("rank_step_time_s", target, own_s)
        yield Reading("rank_collective_time_s", target, launch.step_s - own_s)
