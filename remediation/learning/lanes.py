"""Many clusters side by side as a vector environment of Stable-Baselines3, without its copies."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from core.types import Floats
from remediation.learning.env import HealingEnv
from remediation.learning.families import LIVES_A_CLUSTER, TUNING_SEED, Family
from remediation.policies.features import SIZE

_CLUSTERS = TUNING_SEED // LIVES_A_CLUSTER  # training's own; tuning and evaluation are above


class HealingLanes(VecEnv):
    """Lives of clusters, each begun anew when it has ended; ``elapsed_s`` of each's last step.

    Lane k has the family k of those given. Each cluster lives as often as it has seeds.
    ``action_masks`` of all is asked for by ``env_method``.
    """

    def __init__(self, families: Sequence[Family], *, seed: int) -> None:
        self.envs = [HealingEnv(each) for each in families]
        first = self.envs[0]
        super().__init__(len(self.envs), first.observation_space, first.action_space)
        self.elapsed_s: Floats = np.zeros(len(self.envs))
        self.hours = 0.0  # lived so far, of all lanes
        self._random = np.random.default_rng(seed)
        # Begun somewhere in a cluster's seeds, so that not all lanes build one at the same time.
        self._next = [self._cluster() + turn % LIVES_A_CLUSTER for turn in range(len(self.envs))]
        self._chosen: NDArray[np.int64] = np.zeros(len(self.envs), dtype=np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Begin all lives anew; return (lanes, SIZE)."""
        for lane in range(len(self.envs)):
            self._begin(lane)
        return self._seen()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take the choices, one a lane."""
        self._chosen = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Carry them out; return what is seen next, rewards, which lives ended, and how.

        A life's end is an end: what its last choices cost later is not counted, neither here nor
        in an evaluation, whose lives are as long.
        """
        count = len(self.envs)
        rewards, ended = np.zeros(count, dtype=np.float32), np.zeros(count, dtype=bool)
        told: list[dict[str, Any]] = [{} for _ in range(count)]
        for lane, (env, choice) in enumerate(zip(self.envs, self._chosen.tolist(), strict=True)):
            rewards[lane], over, truncated = env.decide(choice)
            self.elapsed_s[lane] = env.elapsed_s
            if over or truncated:
                ended[lane] = True
                self._begin(lane)
        self.hours += float(self.elapsed_s.sum()) / 3600.0
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
        seen = np.empty((len(self.envs), SIZE), dtype=np.float32)
        for row, env in zip(seen, self.envs, strict=True):
            env.see(row)
        return seen

    def _begin(self, lane: int) -> None:
        """Begin the next life of a lane's cluster, or the first of another."""
        seed = self._next[lane]
        self.envs[lane].begin(seed)
        seed += 1
        self._next[lane] = seed if seed % LIVES_A_CLUSTER else self._cluster()

    def _cluster(self) -> int:
        return int(self._random.integers(_CLUSTERS)) * LIVES_A_CLUSTER
