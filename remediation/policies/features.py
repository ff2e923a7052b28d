"""What a learned policy sees: the facts of a situation as numbers in [0, 1], whatever the size.

``fill`` is one plain function for life and simulation: interpreted where a diagnosis asks, compiled
by ``sim.engine.jit`` where lives are simulated. Times enter as logarithms, counts as 1 - exp(-x /
scale), and what matters is given as ratios too: work at risk against a restart, repairs under way
against spares, a page against what the job loses in an hour. Which choices are open is seen too: to
wait is another thing where nothing else can be done yet.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.choice import Choice
from core.situation import Bools, Fact
from core.types import Floats

# As they are: probabilities, shares and flags.
_SAME = (
    Fact.REPLACE,
    Fact.REBOOT,
    Fact.RESTART,
    Fact.TIME,
    Fact.ROLL_BACK,
    Fact.TUNE,
    Fact.PEOPLE,
    Fact.UNKNOWN,
    Fact.NO_FAULT,
    Fact.NODE_BLAMED,
    Fact.OTHER_BLAMED,
    Fact.BREACH,
    Fact.NODE_OUT,
    Fact.NODE_DOWN,
    Fact.JOB_RUNS,
    Fact.JOB_STARTS,
    Fact.JOB_STOPPED,
    Fact.PACE,
    Fact.ABOVE,
    Fact.CAN_SHRINK,
    Fact.SHRUNK,
    Fact.FALSE_SHARE,
)
# ln(1 + minutes), where 30 days and more are 1.
_TIMES = (
    Fact.AGE_S,
    Fact.SINCE_TRIED_S,
    Fact.UNSAVED_S,
    Fact.INTERVAL_S,
    Fact.STALL_S,
    Fact.RESTART_S,
    Fact.PHASE_S,
    Fact.REPAIR_S,
    Fact.REBOOT_S,
    Fact.PEOPLE_S,
)
# 1 - exp(-count / scale).
_COUNTS = (
    Fact.RESTARTS_TRIED,
    Fact.MOVES_TRIED,
    Fact.OTHERS_OPEN,
    Fact.NODE_INCIDENTS,
    Fact.RESTARTS,
    Fact.SPARES,
    Fact.FREE_NODES,
    Fact.NODES_OUT,
    Fact.OUT_ROOM,
)
_SCALES = (2.0, 2.0, 2.0, 2.0, 5.0, 2.0, 2.0, 2.0, 2.0)
# first / (first + second), 0 where both are 0.
_RATIOS = (
    "unsaved work against the checkpoint interval",
    "unsaved work against a restart",
    "a checkpoint's stall against unsaved work",
    "time since the last try against a restart",
    "time in this phase against a restart",
    "a reboot against a restart",
    "time until people mend against a repair",
    "spares against the faults that come while a node is repaired",
    "nodes out against how many more may be",
    "a page against an hour of the job",
    "a page against the job standing still until people mend",
    "waiting GPUs against the job's",
)
_SHARES = (
    "the job's share of all GPUs",
    "a node's share of the job",
    "what the job loses of all GPUs at its pace",
    "ln(1 + minutes) between faults of the cluster, as for times",
)

_CHOICES = tuple(choice for choice in Choice if choice is not Choice.WAIT)  # that is always open

FEATURES = (
    *(fact.name for fact in _SAME),
    *(f"{fact.name} as ln(1 + minutes)" for fact in _TIMES),
    *(
        f"{fact.name} as 1 - exp(-x / {scale:g})"
        for fact, scale in zip(_COUNTS, _SCALES, strict=True)
    ),
    *_RATIOS,
    *_SHARES,
    *(f"{choice.name} is open" for choice in _CHOICES),
)
SIZE = len(FEATURES)

# Members of an enumeration are found ten times slower than these (0.2 us each, Python 3.11).
_UNSAVED_S = int(Fact.UNSAVED_S)
_RESTART_S = int(Fact.RESTART_S)
_PEOPLE_S = int(Fact.PEOPLE_S)
_JOB_GPUS = int(Fact.JOB_GPUS)
_FAULTS_A_DAY = int(Fact.FAULTS_A_DAY)
_REPAIR_S = int(Fact.REPAIR_S)
_PAGE_GPU_S = int(Fact.PAGE_GPU_S)
_INTERVAL_S = int(Fact.INTERVAL_S)
_STALL_S = int(Fact.STALL_S)
_SINCE_TRIED_S = int(Fact.SINCE_TRIED_S)
_PHASE_S = int(Fact.PHASE_S)
_REBOOT_S = int(Fact.REBOOT_S)
_SPARES = int(Fact.SPARES)
_NODES_OUT = int(Fact.NODES_OUT)
_OUT_ROOM = int(Fact.OUT_ROOM)
_WAITING_GPUS = int(Fact.WAITING_GPUS)
_GPUS = int(Fact.GPUS)
_JOB_NODES = int(Fact.JOB_NODES)
_PACE = int(Fact.PACE)

_DAY_S = 86_400.0
_HOUR_S = 3_600.0
_MINUTE_S = 60.0
_LONGEST = math.log1p(30 * _DAY_S / _MINUTE_S)


def fill(
    facts: Sequence[float] | Floats,
    is_open: Sequence[bool] | Bools,
    out: list[float] | Floats | NDArray[np.float32],
) -> None:
    """Write the features of ``facts`` (len(Fact),) and ``is_open`` (len(Choice),) to ``out``."""
    at = 0
    for fact in _SAME:
        out[at] = facts[fact]
        at += 1
    for fact in _TIMES:
        out[at] = math.log1p(facts[fact] / _MINUTE_S) / _LONGEST
        at += 1
    for turn in range(len(_COUNTS)):
        out[at] = 1.0 - math.exp(-facts[_COUNTS[turn]] / _SCALES[turn])
        at += 1
    unsaved_s, restart_s = facts[_UNSAVED_S], facts[_RESTART_S]
    people_s, gpus = facts[_PEOPLE_S], facts[_JOB_GPUS]
    coming = facts[_FAULTS_A_DAY] * facts[_REPAIR_S] / _DAY_S
    page = facts[_PAGE_GPU_S]
    pairs = (
        (unsaved_s, facts[_INTERVAL_S]),
        (unsaved_s, restart_s),
        (facts[_STALL_S], unsaved_s),
        (facts[_SINCE_TRIED_S], restart_s),
        (facts[_PHASE_S], restart_s),
        (facts[_REBOOT_S], restart_s),
        (people_s, facts[_REPAIR_S]),
        (facts[_SPARES], coming),
        (facts[_NODES_OUT], facts[_OUT_ROOM]),
        (page, gpus * _HOUR_S),
        (page, gpus * people_s),
        (facts[_WAITING_GPUS], gpus),
    )
    for first, second in pairs:
        out[at] = first / (first + second) if first + second > 0 else 0.0
        at += 1
    share = gpus / max(1.0, facts[_GPUS])
    apart_s = _DAY_S / max(facts[_FAULTS_A_DAY], 1e-6)
    out[at] = share
    out[at + 1] = 1.0 / max(1.0, facts[_JOB_NODES])
    out[at + 2] = share * (1.0 - facts[_PACE])
    out[at + 3] = math.log1p(apart_s / _MINUTE_S) / _LONGEST
    at += 4
    for choice in _CHOICES:
        out[at] = 1.0 if is_open[choice] else 0.0
        at += 1
    for place in range(at):
        if not 0.0 <= out[place] <= 1.0:
            out[place] = 1.0 if out[place] > 1.0 else 0.0


def features(facts: Floats, is_open: Bools) -> Floats:
    """Return (SIZE,) what a policy sees of facts (len(Fact),) and open choices (len(Choice),)."""
    out = [0.0] * SIZE
    fill(facts.tolist(), is_open.tolist(), out)
    return np.array(out)
