"""A model brought up to date with new normal rows, without the old ones."""

from dataclasses import replace

import numpy as np

from core.errors import InputError
from core.types import Floats
from rca.scm.model import Model, finish, matrix
from rca.scm.moments import Moments, merged, moments, scaled
from rca.scm.scale import spread


def refresh(model: Model, value: Floats, *, keep: float = 1.0) -> Model:
    """Return the model fitted to its old rows, counted ``keep`` times, and these new ones.

    value: (V, T) normal rows that follow the model's; keep: in [0, 1], 1 forgets nothing

    With ``keep`` 1 coefficients, intercepts and noise are those of a fit to all rows at once: the
    sums add up, lags reach back into the kept last rows. The range a cause was seen in grows; the
    tails are those of the new rows. O(new rows).
    """
    if not 0.0 <= keep <= 1.0:
        raise InputError(f"refreshing a model: keep is {keep:g}; it is a share, from 0 to 1.")
    laws = model.laws
    fresh = matrix(value, laws.links)
    joined = np.concatenate([model.last, fresh], axis=1)
    new = moments(joined, laws.terms, laws.place, slice(model.last.shape[1], joined.shape[1]))
    seen = spread(fresh)
    place = replace(
        laws.place,
        low=np.fmin(laws.place.low, seen.low),
        high=np.fmax(laws.place.high, seen.high),
    )
    return finish(
        joined,
        seen,
        basis=(laws.links, laws.terms, place),
        settings=model.settings,
        folds=with_newest(tuple(scaled(fold, keep) for fold in model.folds), new),
        start=model.last.shape[1],
    )


def with_newest(old: tuple[Moments, ...], new: Moments) -> tuple[Moments, ...]:
    """Add the new rows to the newest fold, or start another once that one has its share of all.

    So the back-test always forecasts the newest rows, and never only a handful of them.
    """
    if len(old) == 1:
        return (merged(old[0], new),)
    rows = [sum(float(sums.count.sum()) for sums in fold) for fold in old]
    if rows[-1] * len(old) < sum(rows):
        return (*old[:-1], merged(old[-1], new))
    return (merged(old[0], old[1]), *old[2:], new)
