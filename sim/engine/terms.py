"""What decisions go by beside the cluster: the numbers of ``sim.terms.Terms`` as compiled code has.

``terms`` is (len(Term),) f8; ``causes`` is (causes, COLUMNS) f8: by the number of a cause the
probability of each ``core.situation.Remedy``, then a ``Knob``, then what it says of the cause.
"""

from enum import IntEnum


class Term(IntEnum):
    """Places in ``terms``."""

    REPAIR_S = 0  # the site's figures, before the cluster has told any
    REBOOT_S = 1
    PEOPLE_S = 2
    PAGE_GPU_S = 3
    FAULTS_A_DAY = 4
    FALSE_SHARE = 5
    MOST_OUT = 6  # the shield's bounds
    MOST_OUT_SHARE = 7
    MOST_OUT_RACK = 8
    COOLDOWN_S = 9
    LEAST_PROBABILITY = 10
    MOST_AN_HOUR = 11
    SPARES_KEPT = 12
    PRIORITY_SPARES = 13
    MOST_OUT_SWITCH = 14
    MOST_UNSAVED_GPU_S = 15
    MOST_JOB_GPUS = 16  # 0: any
    MOST_JOB_SHARE = 17
    PROBATION_S = 18
    LEMON_AFTER = 19
    LEMON_SPAN_S = 20


class Knob(IntEnum):
    """What TUNE turns where a cause is blamed."""

    NONE = 0
    LOADERS = 1
    CANARY = 2
    ROLLOUT = 3
    REPLICAS = 4


KNOB = 7  # its column in ``causes``
NAMELESS = 8  # 0: a fault by name; UNKNOWN: some other; CALM: none. Its remedies are 0 then
UNKNOWN, CALM = 1, 2
COLUMNS = 9
