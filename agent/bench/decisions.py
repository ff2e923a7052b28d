"""Decisions a second of the learning environment, by a policy of chance, cluster after cluster."""

import time
from dataclasses import replace

import numpy as np

from core.choice import Choice
from remediation.learning.families import FAMILIES, TRAIN
from remediation.learning.lanes import HealingLanes

_LANES = 64  # as a training has
_LUCK = 256


def decisions_per_cpu_s(nodes: int, *, seconds: float) -> float:
    """Return decisions a CPU-second, what is seen and the beginnings of new lives included.

    Clusters are those of the training, but all of one size, as many side by side as a training has.

    Each choice is drawn evenly from those that are offered. The lanes' first clusters and the first
    step, which compile what is not compiled yet, are not counted.
    """
    family = replace(FAMILIES[TRAIN], name=f"{nodes} nodes", nodes=(nodes, nodes))
    lanes = HealingLanes([family] * _LANES, seed=0)
    luck = np.random.default_rng(0).random((_LUCK, _LANES, len(Choice)))
    lanes.reset()
    turn, count, began_s = 0, 0, 0.0
    while turn < 2 or (took_s := time.process_time() - began_s) < seconds:  # one counts at least
        masks = np.stack(lanes.env_method("action_masks"))
        lanes.step_async((luck[turn % _LUCK] * masks).argmax(axis=1))
        lanes.step_wait()
        turn, count = turn + 1, count + _LANES
        if turn == 1:
            count, began_s = 0, time.process_time()
    return count / took_s
