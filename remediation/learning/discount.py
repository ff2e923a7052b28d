"""Rollouts whose discount goes by the time that passes, not by the number of decisions.

Decisions come at incidents. With a constant discount a decision, deciding often makes what is lost
later weigh less: a policy learns to spin. In a semi-Markov process the discount over a step is
exp(-elapsed / tau) (Bradtke and Duff, 1994).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.buffers import MaskableRolloutBuffer

from core.types import Floats

_FAR_S = 1e12  # between the last step of a life and the first of the next: no window spans it


class TimedBuffer(MaskableRolloutBuffer):
    """Keeps with each step how long it took, and makes advantages by it.

    elapsed_s: asked after each step, (environments,)
    tau_s:     what is lost so much later weighs 1/e
    window_s:  where given, only what is lost from a choice until so long after it counts, at full
               weight, and no value of what comes then: a contextual bandit
    """

    def __init__(
        self,
        *args: Any,
        elapsed_s: Callable[[], Floats],
        tau_s: float,
        window_s: float | None = None,
        **rest: Any,
    ) -> None:
        self.elapsed_s: NDArray[np.float64] = np.zeros((0, 0))
        self._asked, self._tau_s, self._window_s = elapsed_s, tau_s, window_s
        super().__init__(*args, **rest)

    def reset(self) -> None:
        """Forget all steps."""
        self.elapsed_s = np.zeros((self.buffer_size, self.n_envs))
        super().reset()

    def add(self, *args: Any, **rest: Any) -> None:
        """Take a step of all environments."""
        self.elapsed_s[self.pos] = self._asked()
        super().add(*args, **rest)

    def compute_returns_and_advantage(
        self, last_values: torch.Tensor, dones: NDArray[np.bool_]
    ) -> None:
        """Fill ``advantages`` (GAE over time-discounted steps) and ``returns``, both (steps, n)."""
        goes_on = 1.0 - np.vstack([self.episode_starts[1:], dones[None]])
        if self._window_s is not None:
            self.returns[:] = windowed(self.rewards, self.elapsed_s, goes_on, self._window_s)
            self.advantages = self.returns - self.values
            return
        after = np.vstack([self.values[1:], last_values.clone().cpu().numpy().reshape(1, -1)])
        gamma = np.exp(-self.elapsed_s / self._tau_s) * goes_on
        delta = self.rewards + gamma * after - self.values
        advantage = np.zeros(self.n_envs)
        for step in reversed(range(self.buffer_size)):
            advantage = delta[step] + gamma[step] * self.gae_lambda * advantage
            self.advantages[step] = advantage
        self.returns = self.advantages + self.values


def windowed(rewards: Any, elapsed_s: Floats, goes_on: Any, window_s: float) -> Floats:
    """Return (steps, n): each step's reward and those of steps that begin within a window after it.

    goes_on: (steps, n) 0 where a life ends with the step, else 1
    """
    began_s = np.cumsum(elapsed_s + _FAR_S * (1.0 - goes_on), axis=0)
    began_s = np.vstack([np.zeros(began_s.shape[1]), began_s])
    total = np.vstack([np.zeros(rewards.shape[1]), np.cumsum(rewards, axis=0, dtype=np.float64)])
    sums = np.zeros(rewards.shape)
    for lane in range(rewards.shape[1]):
        until = np.searchsorted(began_s[:-1, lane], began_s[:-1, lane] + window_s)
        sums[:, lane] = total[until, lane] - total[:-1, lane]
    return sums


def discounted(rewards: Any, elapsed_s: Floats, goes_on: Any, *, tau_s: float) -> Floats:
    """Return (steps, n): each step's reward and all after it in its life, discounted by time."""
    gamma = np.exp(-elapsed_s / tau_s) * goes_on
    sums, after = np.zeros(rewards.shape), np.zeros(rewards.shape[1])
    for step in reversed(range(len(rewards))):
        after = rewards[step] + gamma[step] * after
        sums[step] = after
    return sums
