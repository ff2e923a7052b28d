"""What came of one life of a cluster under one policy."""

from dataclasses import dataclass

# More than any sensible policy needs; one that spins waits from there on, and its life ends.
MOST_DECISIONS = 20_000
_HOUR_S = 3600.0
_MWH_J = 3.6e9


@dataclass(frozen=True, slots=True)
class LifeResult:
    """What came of a life; all of it from the life's start to its end.

    priced_gpu_s: lost_gpu_s and the price of pages and late requests, GPU-seconds
    asked_gpu_s:  what jobs asked for; useful_gpu_s of it was useful, counted at full speed, and
      productive_gpu_s with slow steps counted whole (ETTR is its share)
    losses_gpu_s: lost_gpu_s by where it went
    recovering_s: sum over the ``recovered`` incidents, from when each was noticed until its job
      stepped again or nothing was broken any more
    wrong_drains: nodes taken out that had no fault; node_days: nodes times days
    energy_j:     that all GPUs drew, their boards alone
    breaches:     of guards, one word each; must be empty
    decision_s:   time that the policy took for all ``decisions``
    capped:       it was asked more often than ``MOST_DECISIONS``: from there on it waited
    """

    policy: str
    version: str
    family: str
    seed: int
    priced_gpu_s: float
    lost_gpu_s: float
    asked_gpu_s: float
    useful_gpu_s: float
    productive_gpu_s: float
    losses_gpu_s: tuple[tuple[str, float], ...]
    incidents: int
    recovered: int
    recovering_s: float
    pages: int
    wrong_drains: int
    node_days: float
    late_requests: float
    energy_j: float
    decisions: int
    decision_s: float
    capped: bool
    breaches: tuple[str, ...]


def priced_gpu_h(life: LifeResult) -> float:
    """Return the priced loss, GPU-hours."""
    return life.priced_gpu_s / _HOUR_S


def lost_gpu_h(life: LifeResult) -> float:
    """Return the loss, GPU-hours."""
    return life.lost_gpu_s / _HOUR_S


def energy_mwh(life: LifeResult) -> float:
    """Return the energy that the GPUs drew, MWh."""
    return life.energy_j / _MWH_J
