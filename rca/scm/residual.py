"""How far each variable is from what its causes make of it, never extrapolated."""

from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.types import Floats
from rca.scm.design import cleaned
from rca.scm.laws import expectations, settle, slopes
from rca.scm.links import Links
from rca.scm.model import TRAINED_Z, Model

PLAIN_Z = 10.0  # two causes this odd are equally odd: their sigmas are not comparable beyond


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where every variable stands in the abnormal rows.

    level: (V,) mean of the rows, in the variable's unit; what its causes make of it where unread
    moved: (V,) level less its normal one; own: (V,) the same in its own scales, NaN where unread
    left:  (V,) residual given its causes, in scales of normal windows; NaN where unread
    explained: (V,) share of it taken off because a cause is out of the range it was seen in
    slope: (E,) change of an effect for each unit of its cause, here
    noise: (V,) what the variable's own mechanism brought: moved less what its links carry
    """

    level: Floats
    moved: Floats
    own: Floats
    left: Floats
    explained: Floats
    slope: Floats
    noise: Floats


def residual(model: Model, rows: Floats, *, lead: int = 0) -> State:
    """Judge abnormal rows by the model.

    rows: (V, lead + A) readings, NaN allowed; the first ``lead`` only serve the lags of the rest

    Inside the range a cause was seen in its fitted effect counts. A cause outside is held at the
    end of that range, and explains the rest of its effect as far as sign and size agree.
    """
    value = cleaned(np.asarray(rows, dtype=np.float64))
    if value.ndim != 2 or len(value) != len(model.normal) or value.shape[1] <= lead:
        raise InputError(
            f"judging {len(model.normal)} variables: rows of shape {value.shape} of which {lead} "
            "lead; give each variable at least one abnormal row."
        )
    read = np.isfinite(value[:, lead:]).any(axis=1)
    level = settle(model.laws, _mean(value[:, lead:]))
    left = _left(model, value, level, lead=lead)
    left[~read] = np.nan
    moved = level - model.normal
    slope = slopes(model.laws, model.normal, level)
    own = np.where(read, (level - model.laws.place.centre) / model.laws.place.scale, np.nan)
    share, explained = _by_size(model, moved, slope=slope)
    links = model.laws.links
    unexplained = moved - _carried(links, slope, moved)
    slope = slope + share * unexplained[links.effect] / np.where(
        share > 0, moved[links.cause], np.inf
    )
    # From the final slopes, so that shares sum to the deviation to the last digit.
    noise = moved - _carried(links, slope, moved)
    return State(level, moved, own, left * (1 - explained), explained, slope, noise)


def _carried(links: Links, slope: Floats, moved: Floats) -> Floats:
    """(V,) what the links of each effect carry to it together."""
    return np.bincount(links.effect, slope * moved[links.cause], links.size).astype(np.float64)


def _mean(value: Floats) -> Floats:
    known = np.isfinite(value)
    count = known.sum(axis=1)
    total = np.where(known, value, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _left(model: Model, value: Floats, level: Floats, *, lead: int) -> Floats:
    """(V,) mean residual of the rows after ``lead``, in scales of normal windows.

    A missing reading of a cause is taken at its level in these rows, before them as normal.
    """
    short = max(0, model.laws.links.longest - lead)
    before = np.where(np.isnan(value[:, :lead]), model.normal[:, None], value[:, :lead])
    after = np.where(np.isnan(value[:, lead:]), level[:, None], value[:, lead:])
    whole = np.concatenate([np.tile(model.normal[:, None], short), before, after], axis=1)
    start = short + lead
    left = np.empty(len(level))
    for block, expected in expectations(whole, model.laws, start=start):
        at = block.variables
        left[at] = _mean(value[at, lead:] - expected)
    return model.tails.scaled(left)


def _by_size(model: Model, moved: Floats, *, slope: Floats) -> tuple[Floats, Floats]:
    """Return (E,) and (V,) the share of an effect's residual put down to a cause out of range.

    The cause moves the effect this way, and is about as odd: the share is their ratio of sizes.
    """
    links, place = model.laws.links, model.laws.place
    odd = np.clip(moved / place.scale, -PLAIN_Z, PLAIN_Z)
    cause, effect = odd[links.cause], odd[links.effect]
    level = moved + model.normal
    outside = ((level < place.low) | (level > place.high))[links.cause]
    agrees = outside & (np.sign(slope) * cause * effect > 0) & (np.abs(cause) > TRAINED_Z)
    ratio = np.where(agrees, np.abs(cause) / np.maximum(np.abs(effect), 1e-9), 0.0)
    share = np.minimum(ratio, 1.0)
    explained = np.zeros(links.size)
    np.maximum.at(explained, links.effect, share)
    # Only the strongest cause carries it, the first where several are equal.
    best = np.flatnonzero((share > 0) & (share == explained[links.effect]))
    _, first = np.unique(links.effect[best], return_index=True)
    only = np.zeros(len(share))
    only[best[first]] = share[best[first]]
    return only, explained
