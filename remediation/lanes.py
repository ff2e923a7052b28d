"""Many clusters side by side as a vector environment of Stable-Baselines3, without its copies."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from remediation.choices import FEATURES
from remediation.env import HealingEnv
from remediation.episode import EpisodeSettings

_SEEDS = 2**31  # training draws below; evaluation above


class HealingLanes(VecEnv):
    """Lives of clusters, each begun anew with a seed of its own when it has ended.

    Lane k of the settings given; ``action_masks`` of all is asked for by ``env_method``.
    """

    def __init__(self, settings: Sequence[EpisodeSettings], *, seed: int) -> None:
        self.envs = [HealingEnv(each) for each in settings]
        first = self.envs[0]
        super().__init__(len(self.envs), first.observation_space, first.action_space)
        self._random = np.random.default_rng(seed)
        self._chosen: NDArray[np.int64] = np.zeros(len(self.envs), dtype=np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Begin all lives anew; return (lanes, features)."""
        for env in self.envs:
            env.begin(self._drawn())
        return self._seen()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take the choices, one a lane."""
        self._chosen = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Carry them out; return what is seen next, rewards, which lives ended, and how."""
        count = len(self.envs)
        rewards, ended = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=bool)
        told: list[dict[str, Any]] = [{} for _ in range(count)]
        for lane, (env, choice) in enumerate(zip(self.envs, self._chosen.tolist(), strict=True)):
            rewards[lane], over, truncated = env.decide(choice)
            if over or truncated:
                ended[lane] = True
                last = np.zeros(len(FEATURES), np.float32) if over else env.lane.seen.copy()
                told[lane] = {"terminal_observation": last, "TimeLimit.truncated": truncated}
                env.begin(self._drawn())
        return self._seen(), rewards, ended, told

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the lanes asked for; all by default."""
        return [getattr(env, attr_name) for env in self._of(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the lanes asked for."""
        for env in self._of(indices):
            setattr(env, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of the lanes asked for."""
        return [getattr(env, method_name)(*args, **kwargs) for env in self._of(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that no lane is wrapped in anything."""
        return [False for _ in self._of(indices)]

    def _of(self, indices: Any) -> Iterable[HealingEnv]:
        return [self.envs[index] for index in self._get_indices(indices)]

    def _seen(self) -> NDArray[np.float32]:
        return np.stack([env.lane.seen for env in self.envs])

    def _drawn(self) -> int:
        return int(self._random.integers(_SEEDS))
