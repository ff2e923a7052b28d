"""Decisions a second of the learning environment, by a policy of chance, cluster after cluster."""

import time

import numpy as np

from remediation.env import HealingEnv
from remediation.episode import EpisodeSettings

_NODES_A_FAULT = 3.2  # in a day: some 20 faults at 64 nodes, so that there is much to decide
_LUCK = 65_536


def decisions_per_cpu_s(nodes: int, *, seconds: float) -> float:
    """Return decisions a CPU-second, what is seen and the beginnings of new lives included.

    Each choice is drawn evenly from those that are offered; a life lasts a day. The first life,
    which compiles what is not compiled yet, is not counted.
    """
    settings = EpisodeSettings(
        nodes=nodes, spares=max(1, nodes // 16), hours=24.0, faults=nodes / _NODES_A_FAULT
    )
    env, luck = HealingEnv(settings), np.random.default_rng(0).random(_LUCK)
    env.begin(0)
    env.decide(0)
    count, life, began_s = 0, 0, time.process_time()
    while (took_s := time.process_time() - began_s) < seconds:
        offered = np.flatnonzero(env.lane.mask)
        _, over, truncated = env.decide(int(offered[int(luck[count % _LUCK] * len(offered))]))
        count += 1
        if over or truncated:
            life += 1
            env.begin(life)
    return count / took_s
