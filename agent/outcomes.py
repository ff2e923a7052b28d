"""What came of the diagnoses that were acted on here: lessons, kept over restarts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from agent.view import Learned
from core.types import Diagnosis, PlanRecord, PlanState
from detectors.detector import Array, names
from rca.faults.catalogue import FAULTS
from rca.priors import DAY_S, FORGOTTEN_S, Lesson, Upshot, say_tally, shifts, tally, unshifted
from remediation.running.follow_up import is_follow_up
from remediation.running.page import is_page
from remediation.running.upkeep import is_upkeep

log = structlog.get_logger()

# Far more than can move a prior further; the shifts of so many, of 5 faults each, take 20 ms.
MOST_LESSONS = 2000
_FIELDS = ("key", "time_s", "fault", "upshot", "lesson", "held", "share")


@dataclass(slots=True)
class Outcomes:
    """The lessons of this fleet, by key, and what they are worth to the next diagnosis."""

    _lessons: dict[str, Lesson] = field(default_factory=dict)
    _shifts: Mapping[str, float] = field(default_factory=dict)
    _as_of: tuple[int, int] | None = None  # lessons and day that the shifts are of
    _told: int = 0

    def note(
        self, records: Iterable[PlanRecord], diagnoses: Mapping[str, Diagnosis], *, now_s: float
    ) -> None:
        """Learn from the plans that have ended since the last time; each teaches once."""
        for record in records:
            upshot = None if is_follow_up(record.plan) else upshot_of(record)
            if upshot is None or now_s - record.since_s >= FORGOTTEN_S:
                continue
            # A person who denies the same proposal every ten minutes has said one thing.
            key = f"{record.plan.incident_id} {record.plan.cause.fault} {upshot}"
            if key not in self._lessons:
                found = diagnoses.get(record.plan.incident_id)
                shifted = self.shifts(now_s)
                self._lessons[key] = _lesson(key, record, upshot, found, shifted)
                self._told += 1

    def shifts(self, now_s: float) -> Mapping[str, float]:
        """Return how far each fault's log prior is to be shifted on this fleet, nats."""
        as_of = (self._told, int(now_s // DAY_S))
        if as_of != self._as_of:
            self._forget(now_s)
            self._shifts = shifts(tuple(self._lessons.values()), now_s)
            self._as_of = as_of
        return self._shifts

    def learned(self, now_s: float) -> tuple[Learned, ...]:
        """Return of each fault that was acted on, or has shifted, what was learned of it."""
        shifted = self.shifts(now_s)
        lessons = tuple(self._lessons.values())
        faults = {each.fault for each in lessons} | shifted.keys()
        counted = {fault: tally(lessons, fault) for fault in sorted(faults)}
        return tuple(
            Learned(fault, found.right, found.wrong, shifted.get(fault, 0.0), say_tally(found))
            for fault, found in counted.items()
        )

    def state(self) -> Mapping[str, Array]:
        """Return the lessons as plain arrays; ``held`` and ``share`` belong to ``lesson``."""
        lessons = tuple(self._lessons.values())
        held = [
            (number, *pair) for number, each in enumerate(lessons) for pair in each.shares.items()
        ]
        return {
            "key": names([each.key for each in lessons]),
            "time_s": np.array([each.time_s for each in lessons], dtype=np.float64),
            "fault": names([each.fault for each in lessons]),
            "upshot": names([str(each.upshot) for each in lessons]),
            "lesson": np.array([row[0] for row in held], dtype=np.int64),
            "held": names([row[1] for row in held]),
            "share": np.array([row[2] for row in held], dtype=np.float64),
        }

    @classmethod
    def remembering(cls, state: Mapping[str, Array]) -> "Outcomes":
        """Take up what ``state`` returned; lessons that do not fit are said, and begun anew."""
        if not state:
            return cls()
        try:
            lessons = _lessons(state)
        except (ValueError, KeyError, IndexError) as error:
            log.warning("what was learned is lost", part="outcomes", problem=str(error))
            return cls()
        # A fault that a newer catalogue calls otherwise is not one to learn of.
        return cls({each.key: each for each in lessons if each.fault in FAULTS})

    def _forget(self, now_s: float) -> None:
        newest = sorted(self._lessons.values(), key=lambda each: -each.time_s)[:MOST_LESSONS]
        kept = [each for each in newest if now_s - each.time_s < FORGOTTEN_S]
        self._lessons = {each.key: each for each in reversed(kept)}


def upshot_of(record: PlanRecord) -> Upshot | None:
    """Return what came of a plan, as far as it tells about its cause; None: nothing, or not yet."""
    if is_page(record.plan) or is_upkeep(record.plan):
        return None
    match record.state:
        case PlanState.DENIED:
            return Upshot.DENIED
        case PlanState.OVERRIDDEN:
            return Upshot.OVERRIDDEN
        case PlanState.DONE | PlanState.ROLLED_BACK | PlanState.FAILED:
            said = [each.verified for each in record.outcomes if each.verified is not None]
            if not said:
                return None
            return Upshot.HELPED if said[-1] else Upshot.DID_NOT_HELP
        case _:
            return None


def _lesson(
    key: str,
    record: PlanRecord,
    upshot: Upshot,
    diagnosis: Diagnosis | None,
    shifted: Mapping[str, float],
) -> Lesson:
    """Return the lesson of a plan; where its diagnosis is gone, by the cause that it was made for.

    Faults of the same name on two targets are one: what is learned is how usual it is.
    """
    cause = record.plan.cause
    shares: dict[str, float] = {}
    for each in diagnosis.causes if diagnosis else ():
        shares[each.fault] = shares.get(each.fault, 0.0) + each.probability
    if cause.fault not in shares:
        shares = {cause.fault: cause.probability}
    return Lesson(key, record.since_s, cause.fault, unshifted(shares, shifted), upshot)


def _lessons(state: Mapping[str, Array]) -> list[Lesson]:
    key, time_s, fault, upshot, owner, held, share = (state[name].tolist() for name in _FIELDS)
    shares: list[dict[str, float]] = [{} for _ in key]
    for number, name, value in zip(owner, held, share, strict=True):
        shares[number][name] = float(value)
    rows = zip(key, time_s, fault, shares, upshot, strict=True)
    return [Lesson(k, float(t), f, s, Upshot(u)) for k, t, f, s, u in rows]
