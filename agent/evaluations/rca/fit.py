"""Fits how much each kind of evidence counts, on the tuning cases: ``rca/posterior/weights.toml``.

A conditional logit: the score of a hypothesis is the weighted sum of its evidence, "unknown" and
"nothing is broken" have a score of their own, and the probability of what is true is made as large
as it goes on the average of the cases. Weights are drawn towards 1, where the evidence counts at
its stated nats, so that a kind which the cases say little of stays as it was thought.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.evaluations.rca.cases import Case, cases
from agent.evaluations.rca.score import is_right
from core.faults import FaultClass
from core.types import Cause, Floats
from rca.diagnose import DiagnoseSettings, case_of
from rca.faults.catalogue import FAULTS
from rca.posterior.calm import NOTHING
from rca.posterior.hypothesis import KINDS, Hypothesis, Kind
from rca.posterior.rank import hypotheses
from rca.posterior.standing import Bools
from rca.posterior.weights import Weights

SEEDS = (1, 2, 3)
# A weight that differs by 1 from 1 costs as much as 16 cases that become e times less likely.
PULL = 16.0
_LEAST, _MOST = 0.7, 1.4  # what a kind is said to be worth is right within a third or so
_ROUNDS = 400
_STEP = 0.05
_FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
_PLAIN = 0.95  # probability of a plain answer
_Z = 1.645  # of a normal distribution, one side, 95 %
_SUREST = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One case as numbers.

    evidence: (H, K + 2) nats of each kind, then 1 for "unknown" and 1 for "nothing is broken"
    right:    (H,) whether a hypothesis is true
    family:   kind of cluster that it is from
    """

    evidence: Floats
    right: Bools
    family: str


def refitted(seeds: Sequence[int] = SEEDS) -> str:
    """Return the text of ``weights.toml`` as fitted on the tuning cases of these seeds.

    ``python -c "from agent.evaluations.rca.fit import refitted; print(refitted())"``
    """
    settings = DiagnoseSettings()
    made = cases("tuning", seeds)
    rows = [row_of(case, settings) for case in made if isinstance(case, Case)]
    named = ", ".join(map(str, seeds))
    return text_of(fit(rows), how=f"Fitted on {len(rows)} tuning cases, seeds {named}.")


def row_of(case: Case, settings: DiagnoseSettings) -> Row:
    """Return a labelled case as numbers; where no hypothesis is right, "unknown" is."""
    with np.errstate(all="ignore"):
        opened = case_of(
            case.incident,
            case.windows,
            case.state,
            now_s=case.now_s,
            settings=settings,
            told=case.told,
        )
        found, calm = hypotheses(opened)
    topology = case.state.topology
    right = [
        any(is_right(_named(item), truth, topology) for truth in case.truths) for item in found
    ]
    right += [not case.truths] * len(calm)
    right.append(not any(right))
    kinds = [*(_kinds(item) for item in (*found, *calm)), np.zeros(len(KINDS))]
    constant = np.zeros((len(kinds), 2))
    constant[-1, 0] = 1.0
    constant[len(found) : -1, 1] = [item.fault == NOTHING for item in calm]
    return Row(np.hstack([np.array(kinds), constant]), np.array(right), case.family)


def _named(item: Hypothesis) -> Cause:
    kind = FAULTS[item.fault].kind if item.fault in FAULTS else FaultClass.UNKNOWN
    return Cause(item.target, item.fault, 0.0, kind=kind)


def _kinds(item: Hypothesis) -> Floats:
    return np.array([item.value(kind) for kind in KINDS])


def fit(rows: Sequence[Row], *, pull: float = PULL) -> Weights:
    """Return the weights under which what is true of the rows is likeliest, and their lapse."""
    weight = _weight(rows, pull)
    return Weights(
        of=dict(zip(KINDS, weight.tolist(), strict=False)),
        unknown=float(weight[-2]),
        calm=float(weight[-1]),
        lapse=_lapse(rows, pull),
    )


def _weight(rows: Sequence[Row], pull: float) -> Floats:
    """(K + 2,) weights by Adam, 400 rounds, and then as sharp as the first answers are right."""
    start = np.append(np.ones(len(KINDS)), [0.0, 0.0])
    weight, mean, square = start.copy(), np.zeros(len(start)), np.zeros(len(start))
    for number in range(1, _ROUNDS + 1):
        slope = _slope(rows, weight) + pull * (weight - start) / len(rows)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        step = mean / (1 - 0.9**number) / (np.sqrt(square / (1 - 0.99**number)) + 1e-9)
        weight = weight - _STEP * step
        weight[: len(KINDS)] = np.clip(weight[: len(KINDS)], _LEAST, _MOST)
    return weight * _sharpened(rows, weight)


def _sharpened(rows: Sequence[Row], weight: Floats) -> float:
    """Return the factor under which the first answer's probability is what it turns out to be.

    Several hypotheses may be words for what is true (a GPU, and its node), and only the first one
    is held to account; so the fit alone leaves the first answer less sure than it is right.
    """
    return min(_FACTORS, key=lambda factor: _surprise(rows, weight * factor))


def _surprise(rows: Sequence[Row], weight: Floats) -> float:
    """Return the mean negative log-likelihood of whether the first answer is right."""
    sure, right = _firsts(rows, weight)
    sure = np.clip(sure, _SUREST, 1 - _SUREST)
    return -float(np.mean(np.log(np.where(right, sure, 1 - sure))))


def _lapse(rows: Sequence[Row], pull: float) -> float:
    """Return the share of plain answers that may be wrong on clusters of a kind never met.

    Each kind of cluster is left out of a fit and asked: the upper end of what its plain answers
    show, for a cluster in the world differs from ours by more than ours from each other.
    """
    plain, wrong = 0, 0
    for family in sorted({row.family for row in rows}):
        others = [row for row in rows if row.family != family]
        mine = [row for row in rows if row.family == family]
        if others:
            sure, right = _firsts(mine, _weight(others, pull))
            plain += int((sure > _PLAIN).sum())
            wrong += int((~right[sure > _PLAIN]).sum())
    return _upper(wrong, plain) if plain else 0.0


def _upper(hits: int, of: int) -> float:
    """Return the upper end of Wilson's interval of a share, 95 %."""
    share, square = hits / of, _Z**2 / of
    spread = np.sqrt(share * (1 - share) * square + square**2 / 4)
    return float((share + square / 2 + spread) / (1 + square))


def _firsts(rows: Sequence[Row], weight: Floats) -> tuple[Floats, Bools]:
    """Return the probability of each row's first answer, and whether it is right."""
    shares = [_softmax(row.evidence @ weight) for row in rows]
    right = [row.right[int(np.argmax(share))] for row, share in zip(rows, shares, strict=True)]
    return np.array([share.max() for share in shares]), np.array(right, dtype=bool)


def _slope(rows: Sequence[Row], weight: Floats) -> Floats:
    """Return the gradient of the mean negative log-likelihood."""
    total = np.zeros(len(weight))
    for row in rows:
        share = _softmax(row.evidence @ weight)
        true = share * row.right
        total += row.evidence.T @ (share - true / max(true.sum(), 1e-300))
    return total / len(rows)


def _softmax(score: Floats) -> Floats:
    share = np.exp(score - score.max())
    return np.asarray(share / share.sum())


def text_of(weights: Weights, *, how: str) -> str:
    """Return the file's text."""
    lines = [f"{kind.value} = {weights.of[kind]:.2f}" for kind in Kind]
    return (
        "# How much each kind of evidence counts. See agent/evaluations/rca/fit.py.\n"
        f"# {how}\n"
        '# unknown: score of "none of these"; calm: of "nothing is broken"; nats\n'
        f"unknown = {weights.unknown:.2f}\n"
        f"calm = {weights.calm:.2f}\n"
        "# lapse: share of plain answers that may be wrong on clusters of a kind never met\n"
        f"lapse = {weights.lapse:.3f}\n\n"
        "[weight]\n" + "\n".join(lines) + "\n"
    )
