"""What others go by to call a rank slow, from their sources, to hold stragglers found against.

Each takes (n,) the own step times of one job's ranks, in seconds, and says which are slow.
"""

import numpy as np

from core.types import Floats
from detectors.progress.memory import Bools


def megatron(value: Floats) -> Bools:
    """Megatron-LM's sniff test: more than one deviation and more than 10 % from the mean."""
    off = value - value.mean()
    return np.asarray((off > value.std()) & (off > 0.10 * value.mean()))


def nvrx(value: Floats) -> Bools:
    """NVRx' relative score, the fastest rank's time over a rank's own, below 0.75."""
    return np.asarray(value.min() / value < 0.75)


def dlrover(value: Floats) -> Bools:
    """DLRover's node check: more than twice the median."""
    return np.asarray(value > 2.0 * np.median(value))


RULES = {"megatron": megatron, "nvrx": nvrx, "dlrover": dlrover}
