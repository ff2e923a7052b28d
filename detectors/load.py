"""How busy GPUs are: what is warm or slow for the load it has is no fault."""

import numpy as np

from core.target import Target
from core.types import Floats, Window

LOAD = "gpu_utilization_ratio"
# A GPU that is busy for less of the time lowers its clock (assumed).
BUSY = 0.75


def mean_load(window: Window, targets: tuple[Target, ...], since_s: float) -> Floats:
    """Return (S,) the mean share of time each target was busy since then; NaN where not known.

    window: of ``LOAD``, its targets in any order
    """
    value = window.value[:, window.time_s >= since_s]
    known = np.isfinite(value)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, value, 0.0).sum(axis=1) / known.sum(axis=1)
    if targets == window.targets:
        return np.asarray(mean)
    row = {target: number for number, target in enumerate(window.targets)}
    rows = np.array([row.get(target, -1) for target in targets], dtype=np.int64)
    return np.append(mean, np.nan)[rows]
