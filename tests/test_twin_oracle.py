"""The hindsight planner loses no more than the best of the policies that it lives on by."""

from core.choice import Choice
from remediation.deciding.chooser import Chooser
from remediation.policies.rulebook import Runbook
from remediation.policies.thumb import Thumb
from remediation.twin.oracle import RUNBOOK, Oracle, first_of
from sim.lanes import Lane
from tests.twins import BUSY, DAY_S, TERMS

RESTARTS = (Choice.RESTART, Choice.REBOOT, Choice.SWAP)
SWAPS = (Choice.SWAP, Choice.REBOOT, Choice.RESTART)
INNERS = (RUNBOOK, first_of(*RESTARTS), first_of(*SWAPS))


def loss(lane: Lane, seed: int, policy: Chooser) -> float:
    alive = lane.reset(seed, duration_s=DAY_S / 2)
    while alive:
        alive = lane.step(policy.choose(lane.moment()))
    return lane.priced_gpu_s


def test_hindsight_loses_no_more_than_any_policy_within() -> None:
    lane = Lane(BUSY, TERMS)
    others = (Runbook(), Thumb("restarts", *RESTARTS), Thumb("swaps", *SWAPS))
    better = 0
    for seed in range(30):
        least = min(loss(lane, seed, policy) for policy in others)
        hindsight = loss(lane, seed, Oracle(lane, INNERS))
        assert hindsight <= least + 1.0
        better += hindsight < 0.95 * least
    assert better > 10


def test_what_it_tries_on_leaves_the_life_alone() -> None:
    lane = Lane(BUSY, TERMS)
    lane.reset(3, duration_s=DAY_S)
    before = {name: part.tobytes() for name, part in lane.tables._asdict().items()}

    Oracle(lane, INNERS).choose(lane.moment())

    for name, part in lane.tables._asdict().items():
        assert part.tobytes() == before[name], name
