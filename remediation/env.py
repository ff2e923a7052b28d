"""The decision problem as a Gymnasium environment: one step is one decision about one incident.

The reward is what was lost since the decision before, in hours of all GPUs that jobs asked for,
negative. Decisions come at incidents, so the time between two differs: rewards are not discounted
(gamma 1 over a finite episode), because a constant discount a decision rewards deciding often.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from remediation.choices import BROKEN_FAULTS, FEATURES, SEEN_FAULTS, Bools, Choice
from remediation.episode import EpisodeSettings, faults_of, scenario_of
from sim.lanes import Lane, sees_of
from sim.scenario import GPUS_PER_NODE

Observation = NDArray[np.float32]
# An episode of a policy that spins must end too; no sensible policy comes near.
MAX_DECISIONS = 500
_HOUR_S = 3600.0


class HealingEnv(gymnasium.Env[Observation, np.int64]):
    """A cluster, its faults, and the choices that heal it.

    Observation: (len(FEATURES),) float32 in [0, 1]. Action: a ``Choice``; one that ``action_masks``
    does not offer counts as waiting. ``reset(seed=k)`` always gives the same cluster and faults:
    those of ``Episode.drawn`` with that seed.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(self, settings: EpisodeSettings | None = None) -> None:
        self.settings = settings or EpisodeSettings()
        self.observation_space = spaces.Box(0.0, 1.0, (len(FEATURES),), np.float32)
        self.action_space = spaces.Discrete(len(Choice))
        self.lane = lane_of(self.settings)
        jobs = self.lane.scenario.jobs
        self._asked_gpu_s = _HOUR_S * sum(job.nodes * GPUS_PER_NODE for job in jobs)
        self._begun = False
        self._lost_hours = 0.0
        self._decisions = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a cluster's life anew and let it run to its first incident."""
        super().reset(seed=seed, options=options)
        self.begin(int(self.np_random.integers(2**31)) if seed is None else seed)
        return self.lane.seen.copy(), {"lost_hours": self._lost_hours}

    def begin(self, seed: int) -> None:
        """Begin a life; a seed without an incident gives way to the next."""
        while not self.lane.reset(seed, duration_s=self.settings.hours * _HOUR_S):
            seed += 1
        self._begun, self._decisions = True, 0
        self._lost_hours = self.lane.lost_gpu_s / self._asked_gpu_s

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Carry the choice out and let the cluster run to the next decision."""
        reward, over, truncated = self.decide(int(action))
        seen = np.zeros(len(FEATURES), dtype=np.float32) if over else self.lane.seen.copy()
        return seen, reward, over, truncated, {"lost_hours": self._lost_hours}

    def decide(self, choice: int) -> tuple[float, bool, bool]:
        """Do as ``step`` does, for who reads ``lane.seen``; return reward, over, truncated."""
        if not self._begun:
            raise RuntimeError("step before reset: there is no cluster yet; call reset first")
        lane = self.lane
        over = not lane.step(choice if lane.mask[choice] else Choice.WAIT)
        self._begun = not over
        self._decisions += 1
        lost = lane.lost_gpu_s / self._asked_gpu_s
        reward, self._lost_hours = self._lost_hours - lost, lost
        return reward, over, not over and self._decisions >= MAX_DECISIONS

    def action_masks(self) -> Bools:
        """Return which choices can be carried out now; sb3-contrib asks for it by this name."""
        return self.lane.mask.copy()


def lane_of(settings: EpisodeSettings) -> Lane:
    """Return a lane whose lives are the episodes of these settings."""
    return Lane(
        scenario_of(settings, seed=0),
        sees_of(SEEN_FAULTS, BROKEN_FAULTS),
        draw=lambda seed: faults_of(settings, seed=seed),
        classes=tuple(name for name, _ in settings.mix),
    )
