"""Looking ahead: every open choice is tried on in a twin of the cluster, and the best is taken.

What may be behind the incident, what will break and when nodes come back is drawn as often as
there are samples; each draw is lived through from each choice (common random numbers), so choices
are compared pair by pair. Those that lose clearly more than the best are dropped on the way. The
policy within lives on after the first choice, and its own choice is kept where no other is surely
better: so looking ahead is never worse by noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from core.choice import Choice
from core.errors import InputError
from core.situation import Fact, Situation
from core.types import Floats
from remediation.deciding.chooser import Chooser, Moment
from remediation.deciding.remedies import table
from remediation.twin.guesses import guesses_of
from remediation.twin.incident import open_incident, to_come, ways_of
from remediation.twin.mirror import Mirror, Usual
from remediation.twin.oracle import RUNBOOK, Within
from remediation.twin.rolling import Ways, roll_out
from sim.catalogue import CAUSES
from sim.engine.room import with_room
from sim.engine.tables import Tables
from sim.terms import Terms


@dataclass(frozen=True, slots=True)
class TwinSettings:
    """How far and how often it is looked ahead.

    hours:   from the decision; what is amiss then is priced
    rounds:  samples of each round; after each, choices that are clearly worse are dropped
    worse:   how many standard errors of the paired difference are clear
    better:  how many are needed to depart from the choice of the policy within
    patience_s: so long after an incident was opened, waiting is not chosen any more against the
             policy within: where the twin errs in favour of it, it does so at every look
    limit_s: no round begins after so long; a safety, not the rule: it makes choices depend on the
             clock
    """

    hours: float = 12.0
    rounds: tuple[int, ...] = (12, 12, 24)
    worse: float = 2.0
    better: float = 1.0
    patience_s: float = 3600.0
    limit_s: float = 2.0
    usual: Usual = field(default_factory=Usual)

    def __post_init__(self) -> None:
        if not (self.hours > 0 and self.rounds and min(self.rounds) >= 2):
            raise InputError(
                f"twin: {self.hours:g} hours ahead and rounds of {self.rounds} samples; it needs "
                "more than 0 hours, at least one round and 2 samples in each."
            )


@dataclass(frozen=True, slots=True)
class Expected:
    """What a choice is expected to lose, GPU-seconds, with its standard error; over samples."""

    loss_gpu_s: float
    error_gpu_s: float
    samples: int


LostBy = Callable[[NDArray[np.int64], slice], Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What the last look ahead found; why_not: why there was none, "" where there was."""

    expected: Mapping[Choice, Expected]
    own: Choice
    chosen: Choice
    why_not: str = ""


class TwinLookahead:
    """Chooses by looking ahead from what is known; ``looked`` says what it found last."""

    name = "twin"
    version = "1"

    def __init__(
        self,
        inner: Chooser,
        settings: TwinSettings = TwinSettings(),
        *,
        within: Within = RUNBOOK,
        terms: Terms | None = None,
    ) -> None:
        """Keep the policy to fall back on and to beat, and how it looks ahead.

        within: that policy, or another, as compiled roll-outs go on with; terms: the shield that
        choices must pass, and what ends each fault
        """
        self.settings = settings
        self.looked: Looked | None = None
        self._inner, self._within = inner, within
        self._terms = Terms(table(CAUSES)) if terms is None else terms
        self._mirror = Mirror(settings.usual)
        self._seen = (np.zeros(len(Fact)), np.zeros(len(Choice), dtype=bool))
        self._scratch: Tables | None = None

    def choose(self, moment: Moment) -> Choice:
        """Return the open choice that is expected to lose least, where that is sure enough."""
        own = self._inner.choose(moment)
        opened = self._worth_trying(moment.situation, own)
        if len(opened) < 2 or moment.situation.facts[Fact.JOB_STARTS] > 0:
            self.looked = Looked({}, own, own, "there is nothing to choose from")
            return own
        try:
            choices, losses = self._try_on(moment, opened, own)
        except InputError as error:
            self.looked = Looked({}, own, own, str(error))
            return own
        chosen = self._best(choices, losses, own)
        self.looked = Looked(_expected(choices, losses), own, chosen)
        return chosen

    def _worth_trying(self, situation: Situation, own: Choice) -> NDArray[np.int64]:
        """Return the choices that are open, waiting only while there is patience for it."""
        opened = np.flatnonzero(situation.open)
        if own == Choice.WAIT or situation.facts[Fact.AGE_S] < self.settings.patience_s:
            return opened
        active: NDArray[np.int64] = opened[opened != Choice.WAIT]
        return active

    def _try_on(
        self, moment: Moment, opened: NDArray[np.int64], own: Choice
    ) -> tuple[NDArray[np.int64], Floats]:
        """Return (C,) the choices and (C, S) what each loses with each guess, NaN: not tried."""
        began_s, settings = monotonic(), self.settings
        total = sum(settings.rounds)
        lost_by = self._futures(moment, total)
        losses = np.full((len(opened), total), np.nan)
        alive, done = np.arange(len(opened)), 0
        for count in settings.rounds:
            if done and monotonic() - began_s > settings.limit_s:
                break
            samples = slice(done, done + count)
            losses[alive, samples] = lost_by(opened[alive], samples)
            done += count
            alive = self._left(losses[:, :done], alive, int(np.flatnonzero(opened == own)[0]))
            if len(alive) == 1:
                break
        return opened, losses[:, :done]

    def _futures(self, moment: Moment, samples: int) -> LostBy:
        """Return what tells, of choices and some of the samples, (C, S) what each loses."""
        twin = self._mirror.of(moment)
        scene = open_incident(twin, moment)
        ways: Ways = (self._within.numbers, *ways_of(self._terms, scene), *self._seen)
        guesses = guesses_of(scene, samples, _seed(moment))
        come, kinds = to_come(scene, self.settings.hours)

        def lost_by(choices: NDArray[np.int64], some: slice) -> Floats:
            rows = guesses[some]
            losses = np.zeros((len(choices), len(rows)))
            self._roll(twin.tables, (rows, come, kinds), (choices, losses), ways)
            return losses

        return lost_by

    def _roll(
        self,
        fresh: Tables,
        guesses: tuple[NDArray[np.void], NDArray[np.void], Floats],
        plan: tuple[NDArray[np.int64], Floats],
        ways: Ways,
    ) -> None:
        """Fill in what each choice loses with each guess."""
        if self._scratch is None or not _fits(fresh, self._scratch):
            self._scratch = with_room(Tables(*(part.copy() for part in fresh)))
        inner = int(self._within.inner)
        while not roll_out((fresh, self._scratch), guesses, plan, inner, ways):
            self._scratch = with_room(self._scratch)

    def _left(self, losses: Floats, alive: NDArray[np.int64], own: int) -> NDArray[np.int64]:
        """Return the choices that may still be best, and the one of the policy within."""
        best = alive[int(np.argmin(losses[alive].mean(axis=1)))]
        kept = [
            at
            for at in alive.tolist()
            if at in (own, best) or not _surely(losses[at] - losses[best], self.settings.worse)
        ]
        return np.array(kept)

    def _best(self, choices: NDArray[np.int64], losses: Floats, own: Choice) -> Choice:
        """Return the choice of the least mean, where it is surely better than one's own."""
        mine = int(np.flatnonzero(choices == own)[0])
        whole = np.flatnonzero(~np.isnan(losses).any(axis=1))
        best = int(whole[np.argmin(losses[whole].mean(axis=1))])
        if best == mine or not _surely(losses[mine] - losses[best], self.settings.better):
            return own
        return Choice(int(choices[best]))


def _surely(difference: Floats, errors: float) -> bool:
    """Say whether differences are above 0 by more than so many standard errors."""
    spread = float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return bool(difference.mean() > errors * spread and difference.mean() > 0)


def _expected(choices: NDArray[np.int64], losses: Floats) -> dict[Choice, Expected]:
    found: dict[Choice, Expected] = {}
    for choice, row in zip(choices.tolist(), losses, strict=True):
        tried = row[~np.isnan(row)]
        error = float(tried.std(ddof=1)) / np.sqrt(len(tried))
        found[Choice(choice)] = Expected(float(tried.mean()), float(error), len(tried))
    return found


def _seed(moment: Moment) -> int:
    """Return a number of the moment's own: the same facts, the same guesses."""
    facts = moment.situation.facts
    return int.from_bytes(blake2b(facts.tobytes(), digest_size=8).digest(), "little")


def _fits(fresh: Tables, scratch: Tables) -> bool:
    """Say whether a scratch is of a cluster of the same shape, with room for these jobs."""
    same = all(
        len(getattr(scratch, name)) == len(getattr(fresh, name))
        for name in ("nodes", "domains", "members", "buckets")
    )
    return same and all(len(own) >= len(its) for own, its in zip(scratch, fresh, strict=True))
