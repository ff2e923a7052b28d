"""What a component's own load does not explain of the rest of its readings."""

import numpy as np

from core.types import Floats, Ints
from rca.frames.inputs import Tables
from rca.frames.kinds import TROUBLE, Kind
from rca.frames.oddness import Oddness, scales, window_means

RIDGE = 1.0  # in readings: as much as one normal row says against any dependence
SEEN = 6.0  # standard deviations: a line fitted on normal readings is not drawn farther
LEAST_SD = 1e-2  # of a column's sd: a closer fit than that is one column twice


def beyond_load(tables: Tables, odd: Oddness) -> Floats:
    """Return (V,) the distance from normal of what own load leaves over, unsigned.

    The columns of a component are regressed on its load columns on normal rows. A busy processor
    is no sign of a fault where the requests explain it. 0 for load itself and for what is passed
    on; ``odd.z`` where a component's load is not measured.
    """
    load = np.array([each is Kind.LOAD for each in odd.kinds], dtype=bool)
    local = ~load & ~np.array([each in TROUBLE for each in odd.kinds], dtype=bool)
    left = np.where(local, np.abs(odd.z), 0.0)
    order = np.argsort(tables.component, kind="stable")
    edges = np.flatnonzero(np.diff(tables.component[order])) + 1
    for own in np.split(order, edges):
        causes, effects = own[load[own]], own[local[own]]
        if causes.size and effects.size:
            left[effects] = _left(odd.normal, odd.abnormal, causes, effects)
    return left


def _left(normal: Floats, abnormal: Floats, causes: Ints, effects: Ints) -> Floats:
    x, x_now = _standard(normal, abnormal, causes)
    y, y_now = _standard(normal, abnormal, effects)
    gram = x @ x.T + RIDGE * causes.size * np.eye(causes.size)
    slope = np.linalg.solve(gram, x @ y.T).T
    rest = y - slope @ x
    rest_now = y_now - slope @ np.clip(x_now, -SEEN, SEEN)
    means = window_means(rest, abnormal.shape[1])
    scale = np.maximum(scales(rest, means, abnormal.shape[1]), LEAST_SD)
    return np.asarray(np.abs(rest_now.mean(axis=1) - means.mean(axis=1)) / scale)


def _standard(normal: Floats, abnormal: Floats, rows: Ints) -> tuple[Floats, Floats]:
    """Return both in standard deviations from the normal mean; what is missing is at the mean."""
    value = normal[rows]
    there = np.isfinite(value)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    centre = np.where(there, value, 0.0).sum(axis=1, keepdims=True) / count
    away = np.where(there, value - centre, 0.0)
    sd = np.sqrt((away**2).sum(axis=1, keepdims=True) / count)
    sd = np.maximum(sd, 1e-3 * np.abs(centre) + 1e-9)
    return away / sd, np.nan_to_num((abnormal[rows] - centre) / sd)
