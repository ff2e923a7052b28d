"""Many clusters side by side as a vector environment of Stable-Baselines3, without its copies."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from core.choice import Choice
from core.situation import Fact
from core.types import Floats
from remediation.learning.env import MAX_DECISIONS, HealingEnv
from remediation.learning.families import LIVES_A_CLUSTER, TUNING_SEED, Family
from remediation.learning.many import CAME, LIFE, see_all, step_all
from remediation.policies.features import SIZE
from remediation.twin.rolling import priced
from sim.catalogue import CAUSES
from sim.engine.decisions import Status
from sim.engine.terms import COLUMNS, Term
from sim.engine.words import NONE

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
        count = len(self.envs)
        self._chosen: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self._facts, self._open = np.zeros((count, len(Fact))), np.zeros((count, len(Choice)), bool)
        self._causes = np.zeros((count, len(CAUSES), COLUMNS))
        self._terms = np.zeros((count, len(Term)))
        self._lives, self._came = np.zeros(count, LIFE), np.zeros(count, CAME)
        self._asked_gpu_s, self._decisions = np.ones(count), np.zeros(count, dtype=np.int64)

    def reset(self) -> NDArray[np.float32]:
        """Begin all lives anew; return (lanes, SIZE)."""
        for lane in range(len(self.envs)):
            self._begin(lane)
        return self._seen()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take the choices, one a lane."""
        self._chosen[:] = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Carry them out; return what is seen next, rewards, which lives ended, and how.

        A life's end is an end: what its last choices cost later is not counted, neither here nor
        in an evaluation, whose lives are as long.
        """
        before = self._came.copy()
        ways = (self._causes, self._terms, self._facts, self._open)
        step_all(self._lives, self._chosen, ways, self._came)
        for lane in np.flatnonzero(self._came["status"] >= Status.SHORT).tolist():
            self._make_room(lane)
        self._decisions += 1
        lost_gpu_s = self._came["priced_gpu_s"] - before["priced_gpu_s"]
        rewards = (-lost_gpu_s / self._asked_gpu_s).astype(np.float32)
        self.elapsed_s[:] = self._came["now_s"] - before["now_s"]
        ended = (self._came["status"] == Status.OVER) | (self._decisions >= MAX_DECISIONS)
        for lane in np.flatnonzero(ended).tolist():
            self._begin(lane)
        self.hours += float(self.elapsed_s.sum()) / 3600.0
        return self._seen(), rewards, ended, [{} for _ in self.envs]

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
        """Call a method of the lanes asked for; what is open is known without a call of each."""
        if method_name == "action_masks" and indices is None:
            return list(self._open.copy())
        return [getattr(env, method_name)(*args, **kwargs) for env in self._of(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that no lane is wrapped in anything."""
        return [False for _ in self._of(indices)]

    def _of(self, indices: Any) -> Iterable[HealingEnv]:
        return [self.envs[index] for index in self._get_indices(indices)]

    def _seen(self) -> NDArray[np.float32]:
        seen = np.empty((len(self.envs), SIZE), dtype=np.float32)
        see_all(self._facts, self._open, seen)
        return seen

    def _make_room(self, at: int) -> None:
        """Go on with a lane whose tables were short."""
        lane, came = self.envs[at].lane, self._came[at]
        due = lane.step(self._chosen[at] if came["status"] == Status.SHORT else NONE)
        came["status"] = Status.DECISION if due else Status.OVER
        self._note(at)

    def _begin(self, at: int) -> None:
        """Begin the next life of a lane's cluster, or the first of another."""
        env, seed = self.envs[at], self._next[at]
        env.begin(seed)
        seed += 1
        self._next[at] = seed if seed % LIVES_A_CLUSTER else self._cluster()
        lane = env.lane
        if lane.open.base is not self._open:  # of another cluster
            self._facts[at], self._open[at] = lane.facts, lane.open
            lane.facts, lane.open = self._facts[at], self._open[at]
            self._causes[at], self._terms[at] = lane.terms.causes_row(), lane.terms.numbers()
            self._asked_gpu_s[at] = env.asked_gpu_s
        self._decisions[at] = 0
        self._note(at)

    def _note(self, at: int) -> None:
        """Note where a lane's tables are, and what it has come to."""
        lane, late_gpu_s = self.envs[at].lane, self.envs[at].lane.terms.late_gpu_s
        self._lives[at] = (lane.tables.address, lane.end_s, late_gpu_s)
        self._came[at]["priced_gpu_s"] = priced(lane.tables, self._terms[at], late_gpu_s)
        self._came[at]["now_s"] = lane.tables.core[0]["now_s"]

    def _cluster(self) -> int:
        return int(self._random.integers(_CLUSTERS)) * LIVES_A_CLUSTER
