"""Which mechanisms changed between two spans, and what that did to a target's distribution."""

from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.types import Floats, Ints
from rca.scm.laws import settle, slopes
from rca.scm.links import Links
from rca.scm.model import Model, matrix


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What happened to one target between two spans.

    mean, variance: (V,) how much of the target's change each variable's mechanism brought
    mean_change, variance_change: of the target; the shares sum to them
    """

    mean: Floats
    variance: Floats
    mean_change: float
    variance_change: float


def distribution_change(model: Model, before: Floats, after: Floats, target: int) -> Change:
    """Attribute the change of the target's mean and variance to mechanisms, exactly.

    before, after: (V, T) and (V, T') readings, of which rows with every ancestor's reading count

    The target is the sum of all noises times their total effect; so its mean is the sum of their
    means, and its variance that of their covariances with it. A new law shows as a new noise of
    the old one. A bent law or a maximum counts with its secant between the two spans.
    """
    links = model.laws.links
    above = links.ancestors(target)
    spans = [_complete(matrix(value, links), above, target) for value in (before, after)]
    levels = [settle(model.laws, _levels(value, above, links.size)) for value in spans]
    slope = slopes(model.laws, *levels)
    weight = links.total(slope, target)[above]
    spent = [weight[:, None] * _noises(links, value, above, slope=slope) for value in spans]
    means = [pushed.mean(axis=1) for pushed in spent]
    shares = [
        ((pushed - mean[:, None]) * (pushed.sum(axis=0) - mean.sum())).mean(axis=1)
        for pushed, mean in zip(spent, means, strict=True)
    ]
    mean, variance = np.zeros((2, links.size))
    mean[above], variance[above] = means[1] - means[0], shares[1] - shares[0]
    return Change(mean, variance, float(mean.sum()), float(variance.sum()))


def _complete(value: Floats, above: Ints, target: int) -> Floats:
    """(A, T) the ancestors' rows that lack nothing; InputError where there is none."""
    kept = value[above][:, np.isfinite(value[above]).all(axis=0)]
    if not kept.shape[1]:
        raise InputError(
            f"comparing two spans of variable {target}: no row has a reading of all its "
            f"{len(above)} causes; leave out those without readings, or widen the span."
        )
    return kept


def _levels(value: Floats, above: Ints, size: int) -> Floats:
    level = np.full(size, np.nan)
    level[above] = value.mean(axis=1)
    return level


def _noises(links: Links, value: Floats, above: Ints, *, slope: Floats) -> Floats:
    """(A, T) what the ancestors' links do not carry at each row."""
    place = np.full(links.size, -1, dtype=np.int64)
    place[above] = np.arange(len(above))
    inside = np.flatnonzero(place[links.effect] >= 0)
    noise = value.copy()
    carried = slope[inside, None] * value[place[links.cause[inside]]]
    np.subtract.at(noise, place[links.effect[inside]], carried)
    return noise
