"""The audit: looks at the jobs' checkpoints now and then, and tells when work is at risk.

It is an event source: while a job's newest valid checkpoint is older than its loss budget, every
cycle hears of it, as of any other symptom that lasts.
"""

import asyncio
import json
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from agent.checkpoints import advice
from agent.checkpoints.advice import Advice, FailureRate
from agent.checkpoints.backup import Kept, SourceDamaged, prune
from agent.checkpoints.catalogue import Look
from agent.checkpoints.found import Checkpoint, Listing, State
from agent.checkpoints.keeping import How, send_one
from agent.checkpoints.places import Place
from agent.checkpoints.verifying import read_in_full
from agent.checkpoints.work import Looker
from core.clock import Clock
from core.cluster import ClusterState, JobPhase
from core.codec import from_json, to_json
from core.durations import lasting
from core.errors import GpumedicError, InputError
from core.target import Target
from core.types import Event, Severity

log = structlog.get_logger()

EVENT_KIND = "checkpoint_late"
# Beyond twice its budget a job's loss is no longer what somebody has agreed to.
CRITICAL_TIMES = 2.0
# A disk loses bits at rest: what was read is believed for a day.
REREAD_S = 86400.0
# What may be another at the next look: an error that passes, a save that ends.
_PASSING = (State.UNREADABLE, State.BEING_WRITTEN)
KEEP = Kept()
AskState = Callable[[], Awaitable[ClusterState]]


@dataclass(frozen=True, slots=True)
class Watched:
    """A job whose checkpoints are looked after.

    budget_s: how old its newest valid one may get while it runs; 0: never told
    read:     whether contents are read; headers alone cost a shared file system next to nothing
    copies:   the second place, "" for none
    """

    job: str
    root: Path
    budget_s: float
    read: bool = True
    copies: str = ""
    bytes_per_s: float | None = None
    keep: Kept = KEEP


@dataclass(frozen=True, slots=True)
class Standing:
    """What the last look at a job's checkpoints found.

    newest:   the newest of which every byte fits, None where none does
    problem:  why the folder could not be looked at, "" where it could; the rest is then older
    copied_s: when the newest copy at the second place was saved; None where there is none
    """

    listing: Listing
    newest: Checkpoint | None
    problem: str = ""
    advice: Advice | None = None
    copied_s: float | None = None
    copy_problem: str = ""


Shown = Callable[[str, Standing, float], object]


@dataclass(frozen=True, slots=True)
class Held:
    """A checkpoint that was held against its copy, when it was read, and what came of it."""

    checkpoint: Checkpoint
    read_s: float | None
    problem: str = ""

    def is_of(self, other: "Held") -> bool:
        """Say whether the other is the same reading of the same checkpoint."""
        same = self.checkpoint.name == other.checkpoint.name
        return same and self.read_s == other.read_s and _same(self.checkpoint, other.checkpoint)


@dataclass(slots=True)
class Audit:
    """Looks at every watched folder; ``events`` says what is late, ``copy`` makes the copies.

    state:  what the scheduler knows, None where there is none to ask
    shown:  hears of every look: job, what was found, when
    memory: a file in which it is kept what was read and how often jobs failed; None keeps nothing
    """

    watched: Sequence[Watched]
    clock: Clock
    state: AskState | None = None
    shown: Shown = lambda job, standing, now_s: None
    memory: Path | None = None
    name: str = "checkpoints"
    standing: dict[str, Standing] = field(default_factory=dict)
    rate: FailureRate = field(default_factory=FailureRate)
    _late: tuple[Event, ...] = ()
    _read: dict[str, dict[str, tuple[float, Checkpoint]]] = field(default_factory=dict)
    _held: dict[str, "Held"] = field(default_factory=dict)
    _began_s: float | None = None
    _known: ClusterState | None = None

    def __post_init__(self) -> None:
        if self.memory is not None:
            self.rate, self._read = _remembered(self.memory)

    async def look(self) -> None:
        """Look at every folder; one that fails is told and does not hide the others."""
        now_s = self.clock.now_s()
        self._began_s = now_s if self._began_s is None else self._began_s
        self._known = await self._ask()
        if self._known is not None:
            self.rate.note(self._known)
        async with Looker() as looker:
            for each in self.watched:
                found = await self._look_at(looker, each)
                self.standing[each.job] = found
                self.shown(each.job, found, now_s)
        self._late = tuple(self._alarms(now_s))
        await asyncio.to_thread(self._remember)

    async def events(self) -> tuple[Event, ...]:
        """Return what is late, as of now: it is a symptom until a checkpoint is there."""
        now_s = self.clock.now_s()
        return tuple(
            Event(each.target, now_s, each.kind, each.code, each.text, each.severity)
            for each in self._late
        )

    async def copy(self) -> None:
        """Copy each job's newest valid checkpoint to its second place, where it is not there yet.

        What fails is told with the next look, and gone on with at the next call.
        """
        for each in self.watched:
            if each.copies and (found := self.standing.get(each.job)) and found.newest:
                problem, copied_s = await self._copy(each, found.newest)
                kept_s = found.copied_s if copied_s is None else copied_s
                now = self.standing[each.job]
                self.standing[each.job] = replace(now, copied_s=kept_s, copy_problem=problem)
                self.shown(each.job, self.standing[each.job], self.clock.now_s())

    def saved_s(self, job: str) -> float | None:
        """Return when a job's newest valid checkpoint was finished; None: none is surely there.

        Whoever asks wants to stop the job: what cannot be looked at now is nothing to rely on.
        """
        found = self.standing.get(job)
        if found is None or found.newest is None or found.problem:
            return None
        return found.newest.saved_s

    async def _look_at(self, looker: Looker, each: Watched) -> Standing:
        before = self.standing.get(each.job)
        copied_s = before.copied_s if before else None
        problem = before.copy_problem if before else ""
        now_s = self.clock.now_s()
        try:
            headers = await looker.look(each.root, Look(read_bytes=0), now_s=now_s)
            listing = headers
            if each.read:
                listing = await self._read_newest(looker, each, headers)
        except InputError as error:
            log.warning("checkpoints not seen", job=each.job, problem=str(error))
            if before is not None:  # a file system that hangs for a moment loses no checkpoint
                return replace(before, problem=str(error))
            return Standing(Listing(str(each.root), now_s, ()), None, str(error))
        mean_s = self.rate.mean_failure_s(advice.nodes_of(self._known, each.job))
        advised = advice.advice(listing.checkpoints, mean_s)
        return Standing(listing, listing.newest_valid, "", advised, copied_s, problem)

    async def _read_newest(self, looker: Looker, each: Watched, headers: Listing) -> Listing:
        """Read down to the newest of which every byte fits; what was read lately is not again."""
        known = self._read.get(each.job, {})
        there = {found.name for found in headers.checkpoints}
        kept = {name: pair for name, pair in known.items() if name in there}
        self._read[each.job] = kept
        looked = {found.name: found for found in headers.checkpoints}
        for found in headers.checkpoints:
            if not found.valid:
                continue
            read_s, read = kept.get(found.name, (-math.inf, found))
            now_s = self.clock.now_s()
            if not (_same(read, found) and now_s - read_s < REREAD_S):
                kept.pop(found.name, None)
                read = await read_in_full(looker, each.root, found, clock=self.clock, threads=1)
                if read.state not in _PASSING:
                    kept[found.name] = (now_s, read)
            looked[found.name] = read
            if read.valid:
                break
            if not await asyncio.to_thread(os.path.lexists, found.path):  # retention was quicker
                del looked[found.name]
                kept.pop(found.name, None)
                continue
            log.warning("checkpoint damaged", job=each.job, name=found.name, why=read.reason)
        return replace(headers, checkpoints=tuple(looked.values()))

    def _alarms(self, now_s: float) -> Iterator[Event]:
        """Yield what is wrong now: a checkpoint that is late, a copy that cannot be made."""
        for each in self.watched:
            if (late := self._lateness(each, now_s)) is not None:
                yield late
            if problem := self.standing[each.job].copy_problem:
                text = f"Checkpoints of job {each.job} are not copied. {problem}"
                target = Target(job=each.job)
                yield Event(target, now_s, EVENT_KIND, "not_copied", text, Severity.WARNING)

    def _lateness(self, each: Watched, now_s: float) -> Event | None:
        found = self.standing[each.job]
        if not each.budget_s or not _runs(self._known, each.job):
            return None
        began_s = _since(self._known, each.job, self._began_s or now_s)
        newest = found.newest
        since_s = newest.saved_s if newest else began_s
        age_s = now_s - since_s
        if age_s <= each.budget_s:
            return None
        severity = Severity.CRITICAL if age_s > CRITICAL_TIMES * each.budget_s else Severity.WARNING
        code = "too_old" if newest else "none_valid"
        target = Target(job=each.job)
        return Event(target, now_s, EVENT_KIND, code, _words(each, found, age_s), severity)

    async def _copy(self, each: Watched, newest: Checkpoint) -> tuple[str, float | None]:
        """Return what went wrong, "" for nothing, and when the newest copy was saved."""
        try:
            place = await asyncio.to_thread(Place, each.copies)
            problem = await self._sent(place, each, newest)
            copies = await asyncio.to_thread(place.copies)
        except (GpumedicError, OSError) as error:
            log.warning("checkpoint not copied", job=each.job, problem=str(error))
            return str(error), None
        return problem, next((copy.manifest.saved_s for copy in copies if copy.whole), None)

    async def _sent(self, place: Place, each: Watched, newest: Checkpoint) -> str:
        """Send what is not there yet; return what is wrong with the source, "" for nothing.

        A reading is held against its copy once: what has no manifest is read for that.
        """
        how = How(bytes_per_s=each.bytes_per_s, keep=each.keep)
        read_s, _ = self._read.get(each.job, {}).get(newest.name, (None, newest))
        now, before = Held(newest, read_s), self._held.get(each.job)
        held = before is not None and before.is_of(now)
        try:
            copy = await send_one(place, newest, how=how, clock=self.clock, held=held)
        except SourceDamaged as error:
            log.warning("checkpoint damaged", job=each.job, name=newest.name, why=str(error))
            self._held[each.job] = replace(now, problem=str(error))
            return str(error)
        if copy is not None:
            await asyncio.to_thread(prune, place, each.keep, (copy.name,))
            log.info("checkpoint copied", job=each.job, name=copy.name, place=place.url)
        if copy is not None or not held:
            self._held[each.job] = now
        return self._held[each.job].problem

    async def _ask(self) -> ClusterState | None:
        if self.state is None:
            return None
        try:
            return await self.state()
        except GpumedicError as error:
            log.info("jobs not known", problem=str(error))
            return None

    def _remember(self) -> None:
        if self.memory is None:
            return
        kept = {
            "rate": self.rate.state(),
            "read": {
                job: {name: [at_s, to_json(read)] for name, (at_s, read) in found.items()}
                for job, found in self._read.items()
            },
        }
        half = self.memory.with_suffix(".half")
        try:
            half.write_text(json.dumps(kept))
            half.replace(self.memory)
        except OSError as error:
            log.warning("what was read is not kept", file=str(self.memory), problem=str(error))


def _same(read: Checkpoint, found: Checkpoint) -> bool:
    """Say whether a checkpoint is, by its headers, the one that was read."""
    return (read.size_bytes, read.files, read.saved_s, read.sealed) == (
        found.size_bytes,
        found.files,
        found.saved_s,
        found.sealed,
    )


def _runs(state: ClusterState | None, job: str) -> bool:
    """Say whether a job loses work now: yes, unless a scheduler that knows jobs says otherwise."""
    if state is None or not state.jobs:
        return True
    found = state.job(job)
    return found is not None and found.phase in (JobPhase.RUNNING, JobPhase.STARTING)


def _since(state: ClusterState | None, job: str, began_s: float) -> float:
    """Return from when on a job without any checkpoint has lost its work."""
    found = state.job(job) if state else None
    return found.since_s if found and found.since_s else began_s


def _words(each: Watched, found: Standing, age_s: float) -> str:
    budget = f"its loss budget is {lasting(each.budget_s)}"
    why = found.problem or _damaged(found.listing, found.newest)
    newest = found.newest
    if newest is None:
        return (
            f"Job {each.job} has had no valid checkpoint in {each.root} for {lasting(age_s)}; "
            f"{budget}. {why}".strip()
        )
    step = "" if newest.step is None else f" of step {newest.step}"
    return (
        f"The newest valid checkpoint of job {each.job}{step} is {lasting(age_s)} old; "
        f"{budget}. {why}".strip()
    )


def _damaged(listing: Listing, newest: Checkpoint | None) -> str:
    """Say what is wrong with the ones that are newer; "" for nothing."""
    floor = newest.age_key if newest else None
    bad = [
        each
        for each in listing.checkpoints
        if each.state not in (State.COMPLETE, State.BEING_WRITTEN)
        and (floor is None or each.age_key > floor)
    ]
    return "; ".join(f"{each.name} is {each.state}: {each.reason}" for each in bad[:2])


def _remembered(
    path: Path,
) -> tuple[FailureRate, dict[str, dict[str, tuple[float, Checkpoint]]]]:
    """Return what was kept; what cannot be read is learned and read anew."""
    try:
        kept: Mapping[str, Mapping[str, Mapping[str, object]]] = json.loads(path.read_text())
        rate = FailureRate.remembering(kept["rate"])  # type: ignore[arg-type]  # checked there
        read = {
            job: {name: _pair(pair) for name, pair in found.items()}
            for job, found in kept["read"].items()
        }
    except FileNotFoundError:
        return FailureRate(), {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InputError) as error:
        log.warning("what was read is lost", file=str(path), problem=str(error))
        return FailureRate(), {}
    return rate, read


def _pair(pair: object) -> tuple[float, Checkpoint]:
    if not (isinstance(pair, list) and len(pair) == 2):
        raise TypeError("no time and checkpoint")
    return float(pair[0]), from_json(Checkpoint, pair[1])
