"""One question to a model: which mechanisms are not as usual, and what they did to a target."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from rca.scm.model import Model
from rca.scm.residual import State, residual
from rca.scm.shapley import deviation_shares, surprise_shares


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What a model makes of abnormal rows; all (V,).

    p_value:   chance of a residual as large in normal times; NaN where nothing was read
    order:     variables, the most surprising mechanism first, unread ones last
    deviation: share of the target's deviation from normal, in its unit; they sum to it
    surprise:  share of the target's surprise, in nats; they sum to it
    """

    state: State
    p_value: Floats
    order: Ints
    deviation: Floats
    surprise: Floats


def judge(model: Model, rows: Floats, target: int, *, lead: int = 0, seed: int = 0) -> Judgement:
    """Judge abnormal rows: residuals, their tails, a ranking, and what reached the target.

    rows: (V, lead + A) readings, the first ``lead`` only for the lags of the rest

    The order is that of the residuals and not of the shares: attribution says what mattered to
    the target, not where it began (facts: 0.44 against 0.995 of the causes found).
    """
    state = residual(model, rows, lead=lead)
    chance = model.tails.p_value(state.left)
    order = np.lexsort((-np.abs(np.nan_to_num(state.left)), np.where(np.isnan(chance), 2, chance)))
    return Judgement(
        state=state,
        p_value=chance,
        order=order,
        deviation=deviation_shares(model, state, target),
        surprise=surprise_shares(model, state, target, seed=seed),
    )
