"""A fitted structural causal model: what each variable's causes make of it, and what is usual."""

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np

from core.errors import InputError
from core.types import Floats
from rca.scm.design import LINEAR, Bools, Place, Terms, cleaned, terms_of
from rca.scm.fit import FOLDS, MIN_ROWS, RIDGE, choose, solve
from rca.scm.laws import Laws, expectations, settle
from rca.scm.links import Links
from rca.scm.moments import Moments, merged, moments
from rca.scm.scale import Spread, spread
from rca.scm.tails import Tails, TailsMaker

TRAINED_Z = 6.0  # scales from the centre; beyond, a cause has left the range normal times cover
KNOTS = (-1.0, 0.0, 1.0)  # scales from the centre where a mechanism may bend
_LEAST_SHARE = 0.5  # of rows; a cause read less often would take more from a fit than it explains


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How a model is fitted.

    ridge:  share of each column's own variance
    knots:  where a mechanism may bend, in scales of the cause; empty: straight lines only
    window: rows whose mean residual is judged at once, as many as the abnormal span will have
    """

    ridge: float = RIDGE
    knots: tuple[float, ...] = KNOTS
    window: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Mechanisms of V variables, fitted on normal rows.

    use: (N,) the terms that the back-test chose
    normal: (V,) level of each variable when no mechanism does anything unusual
    """

    laws: Laws
    use: Bools
    tails: Tails
    normal: Floats

    @property
    def bent(self) -> Bools:
        """(V,) whether the back-test chose a bent mechanism."""
        terms = self.laws.terms
        bent = np.zeros(self.laws.links.size, dtype=bool)
        bent[terms.effect[self.use & (terms.knot != LINEAR)]] = True
        return bent


def fit(value: Floats, links: Links, settings: FitSettings | None = None) -> Model:
    """Fit all mechanisms on normal rows.

    value: (V, T) readings, NaN allowed, counters already as rates

    A constant or unread cause gets no weight, and where fewer than MIN_ROWS rows are complete a
    variable is only compared with its own past. InputError where shapes do not agree.
    """
    settings = settings or FitSettings()
    value = matrix(value, links)
    seen = spread(value)
    place = place_of(seen, value.shape[1])
    terms = terms_of(links, settings.knots)
    folds = folds_of(value, terms, place)
    use = choose(folds, terms, ridge=settings.ridge)
    fitted = solve(reduce(merged, folds), terms, ridge=settings.ridge, use=use)
    laws = Laws(links, terms, place, fitted)
    tails = TailsMaker(links.size, settings.window)
    for block, expected in expectations(value, laws):
        at = block.variables
        tails.add(at, value[at] - expected, seen.floor[at])
    normal = settle(laws, np.full(links.size, np.nan))
    return Model(laws, use, tails=tails.made, normal=normal)


def folds_of(value: Floats, terms: Terms, place: Place) -> tuple[Moments, ...]:
    """Sum up the rows in as many consecutive parts as the back-test of bends needs."""
    parts = FOLDS if (terms.knot != LINEAR).any() else 1
    cuts = np.linspace(0, value.shape[1], parts + 1).astype(np.int64).tolist()
    return tuple(moments(value, terms, place, slice(*part)) for part in pairwise(cuts))


def matrix(value: Floats, links: Links) -> Floats:
    """Return the readings as floats without infinities; InputError unless they are (V, T)."""
    value = np.asarray(value, dtype=np.float64)
    if value.ndim != 2 or value.shape[0] != links.size or value.shape[1] < 1:
        raise InputError(
            f"fitting {links.size} variables: readings of shape {value.shape}; one row of readings "
            f"for each variable is needed: ({links.size}, readings)."
        )
    return cleaned(value)


def place_of(seen: Spread, rows: int) -> Place:
    """Return where variables lie and how far they were seen, of so many normal rows."""
    known = np.isfinite(seen.centre)
    centre, scale = np.where(known, seen.centre, 0.0), np.where(known, seen.scale, 1.0)
    return Place(
        centre=centre,
        scale=scale,
        low=np.fmin(seen.low, centre - TRAINED_Z * scale),
        high=np.fmax(seen.high, centre + TRAINED_Z * scale),
        measured=seen.count >= max(MIN_ROWS, _LEAST_SHARE * rows),
    )
