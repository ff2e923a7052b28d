"""How often a job should save its state, by what a save costs and how often it fails."""

import math

from core.errors import InputError

# Node failures a node and day: 6.5 a thousand node-days on Meta's RSC-1 (Kokolis et al., HPCA'25).
FAILURES_A_NODE_DAY = 6.5e-3
_DAY_S = 86_400.0


def best_interval_s(save_s: float, failure_s: float) -> float:
    """Return the time between saves that loses least, seconds.

    save_s: how long the job stands for a save, failure_s: mean time between its failures; seconds.
    Daly's second estimate (2006, section 4): sqrt(2 save failure) (1 + sqrt(save / 2 failure) / 3
    + save / (18 failure)) - save, and the mean time between failures where a save takes more than
    twice that. Without a stall nothing speaks against saving always: then 0.
    """
    if not (0 <= save_s < math.inf and failure_s > 0):
        raise InputError(
            f"no best interval for saves of {save_s:g} s and failures every {failure_s:g} s: a "
            "save takes at least 0 s, and failures are some time apart."
        )
    if math.isinf(failure_s):
        return math.inf
    if save_s >= 2 * failure_s:
        return failure_s
    ratio = save_s / failure_s
    series = 1 + math.sqrt(ratio / 2) / 3 + ratio / 18
    return math.sqrt(2 * save_s * failure_s) * series - save_s


def lost_share(interval_s: float, save_s: float, failure_s: float) -> float:
    """Return the share of its time that a job loses to saves and to work done twice.

    To the first order: a save every interval, and half an interval for each failure.
    """
    return save_s / (interval_s + save_s) + interval_s / (2 * failure_s)


def failure_s(nodes: int, failures_a_node_day: float = FAILURES_A_NODE_DAY) -> float:
    """Return the mean time between failures of a job of so many nodes, seconds."""
    return _DAY_S / (nodes * failures_a_node_day)
