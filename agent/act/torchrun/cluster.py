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
from core.ports import Collected, Problem, Query
from core.target import Target
from core.types import Action, Event, Mended
from remediation.catalogue import CATALOG

log = structlog.get_logger()

# Nodes that lost their coordinator end their ranks after so long: by then one of them leads.
TAKEN_OVER_S = 30.0

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
    """What is remembered of a launch between looks.

    last:   what it said, at said_s
    read:   lines of its journal, so many
    gone_s: since when nobody listens where it did
    over:   that it is over, or led elsewhere, was told
    """

    story: Story
    last: Launch
    said_s: float
    read: int = 0
    usual: UsualStep = field(default_factory=UsualStep)
    gone_s: float | None = None
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
        windows = windows_of(readings, query, now_s=self._clock.now_s())
        return Collected(windows, tuple(self._silence(each, look) for each in look.silent))

    def _silence(self, launch: Launch, look: Look) -> Problem:
        age_s = look.at_s - self._known[launch.control].said_s
        text = (
            f"Asking the launch of job {launch.job} at {launch.control}: it does not answer. What "
            f"is known of it is {age_s:.0f} s old. If this lasts, see whether its process is "
            "stopped."
        )
        return Problem(self.name, "silent", text)

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
        alive, silent, over = await asyncio.to_thread(_asked, folder, since)
        now_s = self._clock.now_s()
        for launch in (*alive, *over):
            self._take(launch, now_s)
        there = {launch.control for launch in (*alive, *over)}
        renewed = {launch.job for launch in alive}
        quiet, gone = [], []
        for path, known in [*self._known.items()]:
            if path in there:
                continue
            if path in silent:
                quiet.append(known.last)
            elif known.last.job in renewed or self._is_forgotten(known, now_s):
                del self._known[path]
            elif self._may_return(known, now_s):
                quiet.append(known.last)
            elif not known.last.heirs:
                gone.append(self._given_up(known, now_s))
        given_up = [each for each in over if each.job not in renewed and not each.heirs]
        quiet = [each for each in quiet if each.job not in renewed]
        return Look(now_s, (*alive, *given_up), tuple(quiet), tuple(gone))

    def _is_forgotten(self, known: _Known, now_s: float) -> bool:
        """Note that nobody listens; say whether what was known is of no interest any more."""
        known.gone_s = now_s if known.gone_s is None else known.gone_s
        return known.last.code is not None or now_s - known.gone_s > FORGOTTEN_S

    def _may_return(self, known: _Known, now_s: float) -> bool:
        """Say whether who takes over may yet be heard here; once it may not, tell who may have."""
        if known.over or not known.last.heirs or known.gone_s is None:
            return False
        known.over = now_s - known.gone_s >= TAKEN_OVER_S
        if known.over:
            known.story.left(known.last.heirs, now_s)
        return not known.over

    def _given_up(self, known: _Known, now_s: float) -> Launch:
        """Tell once that who coordinated is gone."""
        if not known.over:
            known.over = True
            known.last = replace(known.last, since_s=now_s)
            known.story.ended(1, "who coordinated it is gone", now_s)
        return known.last

    def _take(self, launch: Launch, now_s: float) -> None:
        """Remember a launch's last word, and read the lines that are new."""
        known = self._known.get(launch.control)
        if known is None:
            story = Story(launch.job, launch.per_node)
            known = self._known[launch.control] = _Known(story, launch, now_s)
        fresh = [line for line in launch.lines if line["n"] >= known.read]
        known.story.read(fresh, nodes=len(launch.nodes_used()))
        known.read = max([known.read, *(line["n"] + 1 for line in fresh)])
        if launch.code is None:
            known.gone_s, known.over = None, False
        elif not known.over:
            known.over = True
            _tell_end(known.story, launch, now_s)
        if launch.code is None and launch.step_s and launch.stage == "running":
            known.usual.note(launch.step_s, nodes=len(launch.nodes_used()))
        known.last, known.said_s = launch, now_s

    def _picture(self, look: Look) -> ClusterState:
        usual = {
            known.last.job: usual_s
            for known in self._known.values()
            if (usual_s := known.usual.step_s(nodes=len(known.last.nodes_used()))) is not None
        }
        found = picture(look, self._kept, usual=usual)
        return replace(found, unable=tuple(self._unable.items()))


def _program(kind: str) -> str:
    """Return what makes an action possible that a launch leaves to the site."""
    return f'name a program as torchrun.programs.{kind}, such as ["ssh", "{{node}}", "..."]'


def _tell_end(story: Story, launch: Launch, now_s: float) -> None:
    """Tell how a launch ended; one whom the other nodes have left may be led by one of them."""
    if launch.heirs:
        story.left(launch.heirs, now_s)
    elif phase_of(launch, Look(0.0, ())) is JobPhase.STOPPED:
        text = launch.lines[-1]["text"] if launch.lines else f"code {launch.code}"
        story.ended(launch.code or 0, text, launch.since_s)


def _asked(
    folder: Path | None, since: dict[Path, int]
) -> tuple[list[Launch], list[Path], list[Launch]]:
    """Ask all launches; a status that cannot be read is another version's, and is passed over.

    Returns those that answer, the sockets of those that do not, and those that have ended.
    """
    answers, silent = launches(folder, since=since)
    return [*_read(answers)], silent, [*_read(ended(folder))]


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
