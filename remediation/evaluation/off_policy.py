"""What another policy would have lost, from a journal of what the acting one did.

An incident is a short series of decisions and losses. Where the acting policy chose by chance, and
said with what probability, each series is weighed by how much likelier the other policy would have
made it: importance sampling (``ips``), the same with weights that sum to one (``snips``), and the
doubly robust estimate (``doubly_robust``; Jiang and Li, ICML 2016), which adds to a model of losses
what the model misses. Without chance there is nothing to weigh, and this says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.choice import Choice
from core.situation import Fact
from core.types import Floats, Ints
from remediation.evaluation.intervals import RESAMPLES, Interval

LEAST_EFFECTIVE = 10.0  # incidents; an estimate that rests on fewer is not shown
_RIDGE = 1.0  # in units of a standardised feature's square sum a decision
_SEED = 1


@dataclass(frozen=True, slots=True, eq=False)
class Logged:
    """Decisions in the order they were made, one row each.

    incident: (N,) which incident, any numbers; cause: (N,) the likeliest fault then
    facts: (N, F) what was known
    chosen, other: (N,) choices of the acting policy and of the one that only looked on
    chance, other_chance: (N,) probability with which the acting policy took each of the two
    lost: (N,) GPU-seconds lost from this decision to the incident's next, or to its end
    """

    incident: Ints
    cause: tuple[str, ...]
    facts: Floats
    chosen: Ints
    other: Ints
    chance: Floats
    other_chance: Floats
    lost: Floats


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """Mean priced loss an incident, GPU-seconds, by the acting policy and as estimated.

    why_not: why there is no estimate, "" where there is; then the three are NaN
    effective: incidents that the estimate rests on, (sum w)^2 / sum w^2
    """

    incidents: int
    decisions: int
    acting: Interval
    ips: Interval
    snips: Interval
    doubly_robust: Interval
    effective: float
    why_not: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often both chose the same: in all, and by what the acting policy chose and by cause.

    by_choice, by_cause: word -> (same, decisions)
    """

    same: int
    decisions: int
    by_choice: Mapping[str, tuple[int, int]]
    by_cause: Mapping[str, tuple[int, int]]

    @property
    def share(self) -> float:
        """Return the share of decisions on which both agree; NaN without any."""
        return self.same / self.decisions if self.decisions else float("nan")


def agreement(logged: Logged) -> Agreement:
    """Count how often both policies chose the same."""
    same = logged.chosen == logged.other
    names = tuple(Choice(int(number)).name.lower() for number in logged.chosen)
    return Agreement(
        int(same.sum()), len(same), _counted(names, same), _counted(logged.cause, same)
    )


def estimate(logged: Logged) -> OffPolicy:
    """Estimate what the other policy would have lost an incident, with 95 % intervals.

    The estimates are of the other policy among the incidents that came: that an incident left
    unmended brings another one later is in neither.
    """
    series = _series(logged)
    losses = np.array([logged.lost[rows].sum() for rows in series])
    weights = np.array([_weight(logged, rows) for rows in series])
    effective = float(weights.sum() ** 2 / max(float((weights**2).sum()), 1e-300))
    why_not = _why_not(logged, len(series), effective)
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    ips = snips = robust = nothing
    if not why_not:
        ips = _mean(weights * losses)
        snips = _weighted(weights, losses)
        robust = _mean(_doubly_robust(logged, series))
    acting = _mean(losses) if len(series) else nothing
    return OffPolicy(len(series), len(logged.lost), acting, ips, snips, robust, effective, why_not)


def _why_not(logged: Logged, incidents: int, effective: float) -> str:
    if not incidents:
        return "no decision with a shadow beside it is in the journal; set policy.shadow and wait."
    never = int((logged.other_chance <= 0).sum())
    if never == len(logged.lost) or (never and bool((logged.chance >= 1).all())):
        return (
            f"the acting policy left nothing to chance, and on {never} of {len(logged.lost)} "
            "decisions it could not have chosen as the other would: nobody knows what that would "
            "have come to. Set policy.explore above 0 to choose by chance among safe choices."
        )
    if never:
        return (
            f"on {never} of {len(logged.lost)} decisions the acting policy could never have chosen "
            "as the other would (not a safe choice, or chosen while policy.explore was 0): an "
            "estimate without them would be of other incidents. Leave them out with --since."
        )
    if effective < LEAST_EFFECTIVE:
        return (
            f"the {incidents} incidents weigh as much as {effective:.1f}, fewer than "
            f"{LEAST_EFFECTIVE:.0f}: the policies differ too often for so few. Wait for more."
        )
    return ""


def _series(logged: Logged) -> list[Ints]:
    """Return the rows of each incident, in the order of its decisions."""
    order = np.argsort(logged.incident, kind="stable")
    edges = np.flatnonzero(np.diff(logged.incident[order])) + 1
    return [rows for rows in np.split(order, edges) if len(rows)]


def _likelier(logged: Logged, rows: Ints) -> Floats:
    """Return how much likelier the other policy makes each decision: 0 where it differs."""
    same = logged.chosen[rows] == logged.other[rows]
    return np.where(same, 1.0 / logged.chance[rows], 0.0)


def _weight(logged: Logged, rows: Ints) -> float:
    return float(np.prod(_likelier(logged, rows)))


def _doubly_robust(logged: Logged, series: Sequence[Ints]) -> Floats:
    """Return (incidents,) the model's loss of each, put right by what the model misses."""
    taken, wanted = _modelled(logged, series)
    found = np.zeros(len(series))
    for number, rows in enumerate(series):
        likelier, value = _likelier(logged, rows), 0.0
        for place in range(len(rows) - 1, -1, -1):
            row = rows[place]
            missed = logged.lost[row] + value - taken[row]
            value = float(wanted[row] + likelier[place] * missed)
        found[number] = value
    return found


def _modelled(logged: Logged, series: Sequence[Ints]) -> tuple[Floats, Floats]:
    """Return (N,) losses from each decision on: of what was chosen, and of what the other would.

    Ridge regression on the facts and the choice, in two halves of the incidents: each half is told
    by the other's, so that no incident is its own judge.
    """
    half = np.zeros(len(logged.lost), dtype=np.int64)
    ahead = np.zeros(len(logged.lost))
    for number, rows in enumerate(series):
        half[rows] = number % 2
        ahead[rows] = np.cumsum(logged.lost[rows][::-1])[::-1]
    chosen, other = _inputs(logged, logged.chosen), _inputs(logged, logged.other)
    taken, wanted = np.zeros(len(ahead)), np.zeros(len(ahead))
    for part in (0, 1):
        told, by = half == part, half != part
        weights = _ridge(chosen[by], ahead[by])
        taken[told], wanted[told] = chosen[told] @ weights, other[told] @ weights
    return taken, wanted


def _inputs(logged: Logged, choice: Ints) -> Floats:
    """Return (N, K): standardised facts in logarithms, choices, and choices with what is broken.

    What a choice costs hangs on what is broken: those are the facts that it is crossed with.
    """
    squeezed = np.sign(logged.facts) * np.log1p(np.abs(logged.facts))
    spread = squeezed.std(axis=0)
    scaled = (squeezed - squeezed.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    chosen = np.eye(len(Choice))[choice]
    crossed = chosen[:, :, None] * scaled[:, None, : Fact.AGE_S]
    return np.hstack([scaled, chosen, crossed.reshape(len(chosen), -1)])


def _ridge(inputs: Floats, target: Floats) -> Floats:
    square = inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1])
    return np.asarray(np.linalg.solve(square, inputs.T @ target))


def _mean(values: Floats) -> Interval:
    return _weighted(np.ones(len(values)), values)


def _weighted(weights: Floats, values: Floats) -> Interval:
    """Return sum(w v) / sum(w) and its interval over incidents drawn again."""
    drawn = np.random.default_rng(_SEED).integers(len(values), size=(RESAMPLES, len(values)))
    with np.errstate(divide="ignore", invalid="ignore"):
        again = (weights * values)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.nanquantile(again, [0.025, 0.975])
    return Interval(float((weights * values).sum() / weights.sum()), float(low), float(high))


def _counted(words: Sequence[str], same: np.ndarray) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for word, agreed in zip(words, same.tolist(), strict=True):
        hits, all_of = found.get(word, (0, 0))
        found[word] = (hits + int(agreed), all_of + 1)
    return dict(sorted(found.items()))
