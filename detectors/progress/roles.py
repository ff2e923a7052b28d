"""Which ranks differ from those of the same role, and when it is the role that differs.

A pipeline stage that has more to do is slow on every rank of it, on healthy machines: ByteDance's
trace study (arXiv:2505.05713) finds the last stage, with its loss layer, to be the usual one. Where
readings do not say which stage a rank has, the order of the ranks does: Megatron-LM's numbers go
through a stage before the next, so a stage is a block of neighbouring numbers and a data-parallel
replica has the same place in each block.
"""

import numpy as np

from core.types import Floats
from detectors.progress.memory import Bools
from detectors.robust import robust_z, row_median

# Fewer peers have no majority that one can differ from.
MIN_PEERS = 4
# When more than this share of a group differ, the group is split by role or by load. One may.
MAX_SHARE = 0.2
# A pipeline has hardly ever more stages; a last rank of more is one of its stage's.
MOST_STAGES = 16


def odd(value: Floats, *, effect: float, sigmas: float) -> Bools:
    """Return (G, n) which of n peers are above the others of their group, few or many.

    value: (G, n) of G groups; effect: least relative difference; sigmas: robust deviations
    """
    median = row_median(value)[:, None]
    with np.errstate(invalid="ignore"):
        far = robust_z(value) >= sigmas
        return np.asarray(far & (value - median >= effect * np.abs(median)))


def few(which: Bools) -> Bools:
    """Return (G,) whether so few are odd that it can be they, and not what they are for."""
    return np.asarray(which.sum(axis=1) <= max(1, int(MAX_SHARE * which.shape[1])))


def blamed(value: Floats, *, effect: float, sigmas: float) -> Bools:
    """Return (n,) which ranks of one job, in order of number, are slow for no role's sake.

    >>> stages = np.array([1.0, 1.01, 1.0, 0.99, 1.0, 1.01, 1.4, 1.41])
    >>> blamed(stages, effect=0.1, sigmas=5.0).any()
    False
    """
    which = odd(value[None], effect=effect, sigmas=sigmas)
    nobody = np.zeros(len(value), dtype=np.bool_)
    if few(which)[0]:
        return nobody if _last_stage(which[0]) else np.asarray(which[0])
    blocks = (size for size in range(MIN_PEERS, len(value) // 2 + 1) if len(value) % size == 0)
    for size in blocks:
        inside = odd(value.reshape(-1, size), effect=effect, sigmas=sigmas)
        if inside.any() and few(inside).all() and (inside == inside[0]).all():
            return np.asarray(inside.reshape(-1))
    return nobody


def _last_stage(which: Bools) -> bool:
    """Say whether the odd ones are the last block of a pipeline that there can be."""
    count = int(which.sum())
    return bool(
        count
        and which[-count:].all()
        and len(which) % count == 0
        and len(which) <= MOST_STAGES * count
    )
