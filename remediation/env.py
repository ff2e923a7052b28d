"""The decision problem as a Gymnasium environment: one step is one decision about one incident.

The reward is what was lost since the decision before, in hours of all GPUs that jobs asked for,
negative. Decisions come at incidents, so the time between two differs: rewards are not discounted
(gamma 1 over a finite episode), because a constant discount a decision rewards deciding often.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from core.types import Action
from remediation.choices import FEATURES, Bools, Choice, candidates, features, mask
from remediation.episode import Decision, Episode, EpisodeSettings

Observation = NDArray[np.float32]
# An episode of a policy that spins must end too; no sensible policy comes near.
MAX_DECISIONS = 500


class HealingEnv(gymnasium.Env[Observation, np.int64]):
    """A cluster, its faults, and the choices that heal it.

    Observation: (len(FEATURES),) float32 in [0, 1]. Action: a ``Choice``; one that ``action_masks``
    does not offer counts as waiting. ``reset(seed=k)`` always gives the same cluster and faults.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(self, settings: EpisodeSettings | None = None) -> None:
        self.settings = settings or EpisodeSettings()
        self.observation_space = spaces.Box(0.0, 1.0, (len(FEATURES),), np.float32)
        self.action_space = spaces.Discrete(len(Choice))
        self._episode: Episode | None = None
        self._decision: Decision | None = None
        self._offered: Mapping[Choice, tuple[Action, ...]] = {Choice.WAIT: ()}
        self._lost_hours = 0.0
        self._decisions = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Build a new cluster and let it run to its first incident."""
        super().reset(seed=seed, options=options)
        drawn = int(self.np_random.integers(2**31)) if seed is None else seed
        episode, first = self._first_decision(drawn)
        self._episode, self._decision = episode, first
        self._lost_hours, self._decisions = episode.lost_hours, 0
        return self._observe(), {"lost_hours": episode.lost_hours}

    def _first_decision(self, seed: int) -> tuple[Episode, Decision]:
        """Return the episode at its first decision; a seed without one gives way to the next."""
        while True:
            episode = Episode.drawn(self.settings, seed=seed)
            if (first := episode.next_decision()) is not None:
                return episode, first
            seed += 1

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Carry the choice out and let the cluster run to the next decision."""
        if self._episode is None:
            raise RuntimeError("step before reset: there is no cluster yet; call reset first")
        choice = Choice(int(action))
        self._episode.act(self._offered.get(choice, ()))
        self._decision = self._episode.next_decision()
        self._decisions += 1
        lost = self._episode.lost_hours
        reward, self._lost_hours = self._lost_hours - lost, lost
        over = self._decision is None
        truncated = not over and self._decisions >= MAX_DECISIONS
        return self._observe(), float(reward), over, truncated, {"lost_hours": lost}

    def action_masks(self) -> Bools:
        """Return which choices can be carried out now; sb3-contrib asks for it by this name."""
        return mask(self._offered)

    def _observe(self) -> Observation:
        now = self._decision
        if now is None:
            self._offered = {Choice.WAIT: ()}
            return np.zeros(len(FEATURES), dtype=np.float32)
        self._offered = candidates(now.incident, now.diagnosis, now.state, plan_id=now.plan_id)
        seen = features(now.incident, now.diagnosis, now.state, now_s=now.now_s)
        return seen.astype(np.float32)
