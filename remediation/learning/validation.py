"""What a policy loses in lives that it is not taught on: a training keeps the best it has been.

These lives are none that hand-written policies are tuned on, nor any that figures are made of.
"""

from collections.abc import Sequence

from remediation.learning.families import LIVES_A_CLUSTER, family_of, terms_of
from remediation.policies.tuning import SETTLED
from remediation.twin.oracle import Within
from remediation.twin.rolling import follow
from sim.lanes import Lane

_LIVES = 3  # of each cluster
_FIRST = SETTLED.stop * LIVES_A_CLUSTER


class Validation:
    """The same lives for every policy that is looked at; each cluster is laid out once."""

    def __init__(self, families: Sequence[str], clusters: int) -> None:
        """Lay out so many clusters, of the families in turn."""
        self._lanes: list[tuple[Lane, int]] = []
        for number in range(clusters):
            family, seed = family_of(families[number % len(families)]), _seed(number)
            self._lanes.append((Lane(family.scenario(seed), terms_of(family, seed)), seed))

    def lost(self, within: Within) -> float:
        """Return the priced loss under a policy, a share of what jobs asked for."""
        lost = asked = 0.0
        for lane, seed in self._lanes:
            for life in range(_LIVES):
                lived = _lived(lane, seed + life, within)
                lost, asked = lost + lived[0], asked + lived[1]
        return lost / asked


def _seed(number: int) -> int:
    return _FIRST + number * LIVES_A_CLUSTER


def _lived(lane: Lane, seed: int, within: Within) -> tuple[float, float]:
    """Live a life under a policy; return what it lost, at its price, and what jobs asked for."""
    due = lane.reset(seed, duration_s=lane.scenario.duration_s)
    while due:
        due = lane.step(follow(int(within.inner), within.numbers, lane.facts, lane.open))
    came = lane.account()
    return came.priced_gpu_s, came.asked_gpu_s
