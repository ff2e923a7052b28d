"""Decisions a second of the learning environment, by a policy of chance, cluster after cluster."""

import time
from dataclasses import replace

import numpy as np

from remediation.learning.env import HealingEnv
from remediation.learning.families import FAMILIES, LIVES_A_CLUSTER, TRAIN

_LUCK = 65_536


def decisions_per_cpu_s(nodes: int, *, seconds: float) -> float:
    """Return decisions a CPU-second, what is seen and the beginnings of new lives included.

    Clusters are those of the training, but all of one size.

    Each choice is drawn evenly from those that are offered. The lives of the first cluster, which
    compile what is not compiled yet, are not counted.
    """
    family = replace(FAMILIES[TRAIN], name=f"{nodes} nodes", nodes=(nodes, nodes))
    env, luck = HealingEnv(family), np.random.default_rng(0).random(_LUCK)
    seen = env.reset(seed=0)[0]
    env.decide(0)
    env.begin(LIVES_A_CLUSTER)
    count, life, began_s = 0, LIVES_A_CLUSTER, time.process_time()
    while (took_s := time.process_time() - began_s) < seconds:
        env.see(seen)
        offered = np.flatnonzero(env.lane.open)
        _, over, truncated = env.decide(int(offered[int(luck[count % _LUCK] * len(offered))]))
        count += 1
        if over or truncated:
            life += 1
            env.begin(life)
    return count / took_s
