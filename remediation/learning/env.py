"""The decision problem as a Gymnasium environment: one step is one decision about one incident.

The reward is what was lost since the decision before, in hours of all GPUs that jobs asked for,
negative; pages and late requests are priced in it. Decisions come at incidents: two may be 15 s
apart or a day, so a discount a decision would reward deciding often. ``elapsed_s`` says how long
the last step took, for a discount by time (``remediation.learning.discount``).
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from core.choice import Choice
from core.situation import Bools
from remediation.learning.families import (
    FAMILIES,
    LIVES_A_CLUSTER,
    TRAIN,
    TUNING_SEED,
    Family,
    terms_of,
)
from remediation.policies.compiled import fill_features
from remediation.policies.features import SIZE
from sim.lanes import Lane
from sim.scenario import GPUS_PER_NODE

Observation = NDArray[np.float32]
# A life of a policy that spins must end too; no sensible policy comes near.
MAX_DECISIONS = 5_000
_HOUR_S = 3600.0


class HealingEnv(gymnasium.Env[Observation, np.int64]):
    """Clusters of a family, their faults, and the choices that heal them.

    Observation: (SIZE,) float32 in [0, 1], the features of the decision that is due. Action: a
    ``Choice``; one that ``action_masks`` does not offer counts as waiting. ``reset(seed=k)`` always
    gives the same cluster and faults: those of the family's seed k.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(self, family: Family = FAMILIES[TRAIN]) -> None:
        self.family = family
        self.observation_space = spaces.Box(0.0, 1.0, (SIZE,), np.float32)
        self.action_space = spaces.Discrete(len(Choice))
        self.elapsed_s = 0.0
        self._cluster, self._over = -1, True
        self._lane: Lane | None = None
        self.asked_gpu_s = 1.0
        self._duration_s = self._lost_hours = self._now_s = 0.0
        self._decisions = 0

    @property
    def lane(self) -> Lane:
        """Return the life under way; RuntimeError where none has begun."""
        if self._lane is None or self._over:
            raise RuntimeError("step before reset: there is no cluster yet; call reset first")
        return self._lane

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a cluster's life anew and let it run to its first incident."""
        super().reset(seed=seed, options=options)
        self.begin(int(self.np_random.integers(TUNING_SEED)) if seed is None else seed)
        return self.seen(), {"lost_hours": self._lost_hours}

    def begin(self, seed: int) -> None:
        """Begin a life; a seed without an incident gives way to the next."""
        while not self._lane_of(seed).reset(seed, duration_s=self._duration_s):
            seed += 1
        self._over, self._decisions = False, 0
        self._lost_hours = self.lane.priced_gpu_s / self.asked_gpu_s
        self._now_s = _now_s(self.lane)

    def _lane_of(self, seed: int) -> Lane:
        """Return the lane of a seed's cluster: the last one, where it is the same."""
        if self._lane is None or seed // LIVES_A_CLUSTER != self._cluster:
            scenario = self.family.scenario(seed)
            self._lane = Lane(scenario, terms_of(self.family, seed))
            self._cluster = seed // LIVES_A_CLUSTER
            nodes = sum(job.nodes for job in scenario.jobs)
            self.asked_gpu_s = _HOUR_S * GPUS_PER_NODE * nodes
            self._duration_s = scenario.duration_s
        return self._lane

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Carry the choice out and let the cluster run to the next decision."""
        reward, over, truncated = self.decide(int(action))
        told = {"lost_hours": self._lost_hours, "elapsed_s": self.elapsed_s}
        return np.zeros(SIZE, np.float32) if over else self.seen(), reward, over, truncated, told

    def decide(self, choice: int) -> tuple[float, bool, bool]:
        """Do as ``step``, for who asks himself what is seen; return reward, over, truncated."""
        lane = self.lane
        over = not lane.step(choice if lane.open[choice] else Choice.WAIT)
        self._decisions += 1
        lost, now_s = lane.priced_gpu_s / self.asked_gpu_s, _now_s(lane)
        reward, self._lost_hours = self._lost_hours - lost, lost
        self.elapsed_s, self._now_s = now_s - self._now_s, now_s
        self._over = over
        return reward, over, not over and self._decisions >= MAX_DECISIONS

    def see(self, out: Observation) -> None:
        """Write what is seen of the decision that is due to ``out`` (SIZE,)."""
        fill_features(self.lane.facts, self.lane.open, out)

    def seen(self) -> Observation:
        """Return (SIZE,) what is seen of the decision that is due."""
        out = np.zeros(SIZE, dtype=np.float32)
        self.see(out)
        return out

    def action_masks(self) -> Bools:
        """Return which choices can be carried out now; sb3-contrib asks for it by this name."""
        return self.lane.open.copy()


def _now_s(lane: Lane) -> float:
    return float(lane.tables.core[0]["now_s"])
