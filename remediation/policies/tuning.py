"""Finds the hand-written policies' numbers by trying: the cross-entropy method on tuning lives.

A generation draws candidates from a normal distribution over each number's range, lives the same
lives with each, fits the distribution to the best, and goes on with fresh lives (Rubinstein 1999).
Numbers that make no difference there go back to what is usual: they may make one in life. The
search has as many simulated hours as the learner had; what it found is kept only if it loses less
than the published numbers on lives that it has not seen.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from core.types import Floats
from remediation.learning.families import (
    LIVES_A_CLUSTER,
    TRAIN,
    TUNING_SEED,
    Family,
    family_of,
    terms_of,
)
from remediation.policies.compiled import choose_greedily, recommend
from remediation.policies.greedy import WEIGHTS
from remediation.policies.knobs import Knob, from_unit, to_unit, usual
from remediation.policies.rulebook import KNOBS
from sim.lanes import Lane

Decide = Callable[..., int]
# The policies that can be tuned: what decides, and its numbers.
TUNABLE: dict[str, tuple[Decide, Sequence[Knob]]] = {
    "runbook": (recommend, KNOBS),
    "greedy": (choose_greedily, WEIGHTS),
}
_HOUR_S = 3600.0
_CLUSTERS = 4096  # of the tuning seeds, one life after the other
_FIRST = TUNING_SEED // LIVES_A_CLUSTER
# What is compared in the end lives in clusters that no search has seen.
CHECKED = range(_FIRST + _CLUSTERS, _FIRST + 2 * _CLUSTERS)
SETTLED = range(_FIRST + 2 * _CLUSTERS, _FIRST + 3 * _CLUSTERS)  # so do the last corrections
_NO_MATTER = 0.002  # a part of the loss that is no reason to leave what is usual
_WIDEST = 0.3  # spread that a search begins with, as a part of each range
_NARROWEST = 0.15  # spread that it keeps at least, at first; none in the end


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard is searched.

    hours:      simulated ones, at most
    candidates: of a generation, the best ``elite`` of which count; lives: of each of them
    checks:     lives on which what was found is held against what is usual
    """

    hours: float = 4e6
    candidates: int = 32
    elite: int = 8
    lives: int = 64
    checks: int = 400
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search: (numbers,) the values; mean losses as shares of what was asked.

    hours: simulated; usual_loss, loss: of the usual and of the found numbers on the same fresh
    lives; low, high: 95 % interval of the ratio of what they lose
    """

    values: Floats
    hours: float
    usual_loss: float
    loss: float
    low: float
    high: float


@dataclass(slots=True)
class Lives:
    """Lives of a family's clusters; a lane is laid out once for each cluster."""

    family: Family = field(default_factory=lambda: family_of(TRAIN))
    hours: float = 0.0
    _lanes: dict[int, tuple[Lane, float]] = field(default_factory=dict)

    def lost(self, decide: Decide, numbers: Floats, seed: int) -> tuple[float, float]:
        """Live the life of a seed; return what was lost, priced, and asked for, GPU-seconds."""
        lane, duration_s = self._lane(seed)
        due = lane.reset(seed, duration_s=duration_s)
        while due:
            due = lane.step(decide(lane.facts, lane.open, numbers))
        self.hours += duration_s / _HOUR_S
        return lane.priced_gpu_s, lane.account().asked_gpu_s

    def _lane(self, seed: int) -> tuple[Lane, float]:
        cluster = seed // LIVES_A_CLUSTER
        if cluster not in self._lanes:
            scenario = self.family.scenario(seed)
            lane = Lane(scenario, terms_of(self.family, seed))
            self._lanes = {cluster: (lane, scenario.duration_s)}
        return self._lanes[cluster]


def tune(
    policy: str,
    effort: Effort,
    *,
    family: Family | None = None,
    begin: Floats | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Found:
    """Search a policy's numbers on lives of a family, the one of training by default.

    begin: what an earlier search found, to go on from at half the spread; else what is usual
    """
    decide, knobs = TUNABLE[policy]
    lives = Lives(family or family_of(TRAIN))
    random = np.random.default_rng(effort.seed)
    middle = to_unit(knobs, usual(knobs) if begin is None else begin)
    spread = np.full(len(knobs), _WIDEST if begin is None else _WIDEST / 2)
    settling = sum(lives.family.hours(seed) for seed in _seeds(SETTLED, effort))
    settling *= 1 + len(knobs)
    for number, seeds in enumerate(generations(effort)):
        each_hours = effort.candidates * sum(lives.family.hours(seed) for seed in seeds)
        if lives.hours + each_hours + settling > effort.hours:
            break
        drawn = random.normal(middle, spread, (effort.candidates, len(knobs))).clip(0.0, 1.0)
        drawn[0] = middle
        numbers = [from_unit(knobs, unit) for unit in drawn]
        losses = _share(_losses(lives, decide, numbers, seeds))
        best = drawn[np.argsort(losses)[: effort.elite]]
        middle = best.mean(axis=0)
        least = _NARROWEST * max(0.0, 1.0 - 1.2 * lives.hours / effort.hours)
        spread = np.maximum(0.7 * best.std(axis=0) + 0.3 * spread, least)
        tell(f"{number}: loses {losses.mean():.4f}, the best {losses.min():.4f}")
    found = _as_usual(lives, decide, knobs, from_unit(knobs, middle), effort)
    return _held_against_usual(lives, decide, knobs, found, effort)


def _losses(
    lives: Lives, decide: Decide, numbers: Sequence[Floats], seeds: Sequence[int]
) -> Floats:
    """Return (seeds, numbers, 2) what each lost and what was asked for, GPU-seconds.

    A cluster is laid out once for all numbers.
    """
    return np.array([[lives.lost(decide, each, seed) for each in numbers] for seed in seeds])


def _share(lived: Floats) -> Floats:
    """Return (numbers,) the share lost in all lives together, as policies are compared by."""
    total = lived.sum(axis=0)
    found: Floats = total[:, 0] / total[:, 1]
    return found


def generations(effort: Effort) -> Iterator[list[int]]:
    """Yield the seeds of each generation: a life of each of the next clusters."""
    first = 0
    while True:
        lives = range(first, first + effort.lives)
        yield [
            (_FIRST + life % _CLUSTERS) * LIVES_A_CLUSTER + life // _CLUSTERS % LIVES_A_CLUSTER
            for life in lives
        ]
        first += effort.lives


def _seeds(clusters: range, effort: Effort) -> list[int]:
    """Return a life of each of the first of those clusters."""
    return [cluster * LIVES_A_CLUSTER for cluster in clusters[: effort.checks]]


def _as_usual(
    lives: Lives, decide: Decide, knobs: Sequence[Knob], found: Floats, effort: Effort
) -> Floats:
    """Return what was found with what is usual wherever that loses hardly more."""
    seeds = _seeds(SETTLED, effort)
    least = _share(_losses(lives, decide, (found,), seeds))[0]
    for place, knob in enumerate(knobs):
        other = found.copy()
        other[place] = knob.usual
        lost = _share(_losses(lives, decide, (other,), seeds))[0]
        if lost <= least * (1.0 + _NO_MATTER):
            found, least = other, min(lost, least)
    return found


def _held_against_usual(
    lives: Lives, decide: Decide, knobs: Sequence[Knob], found: Floats, effort: Effort
) -> Found:
    """Return the better of the found and the usual numbers, on clusters that were not searched."""
    hours = lives.hours
    seeds = [TUNING_SEED + (_CLUSTERS + place) * LIVES_A_CLUSTER for place in range(effort.checks)]
    lived = _losses(lives, decide, (usual(knobs), found), seeds)
    random = np.random.default_rng(effort.seed)
    drawn = lived[random.integers(len(lived), size=(2000, len(lived)))].sum(axis=1)
    shares = drawn[:, :, 0] / drawn[:, :, 1]
    low, high = np.quantile(shares[:, 1] / shares[:, 0], [0.025, 0.975])
    before, after = _share(lived)
    kept = found if after < before else usual(knobs)
    return Found(kept, hours, float(before), float(after), float(low), float(high))


def as_toml(policy: str, found: Found, effort: Effort, *, date: str) -> str:
    """Return what a search found as its part of ``tuned.toml``, numbers to four digits."""
    _, knobs = TUNABLE[policy]
    ratio = found.loss / found.usual_loss
    lines = [
        f"[{policy}]",
        f'found = "{date}, cross-entropy method, seed {effort.seed}, {found.hours:.3g} simulated '
        f'hours of the training family"',
        f'checked = "{effort.checks} lives of clusters that were not searched: loses '
        f"{found.loss:.4f} of what was asked, with the usual numbers {found.usual_loss:.4f}; "
        f'ratio {ratio:.3f}, 95 % from {found.low:.3f} to {found.high:.3f}"',
        "",
        f"[{policy}.knobs]",
    ]
    values = zip(knobs, found.values, strict=True)
    return "\n".join([*lines, *(f"{knob.name} = {value:.4g}" for knob, value in values), ""])
