"""What a scenario comes to when nobody heals anything: the measure of every policy."""

from dataclasses import dataclass

from sim.scenario import Scenario
from sim.world import World


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run: useful share of the jobs' GPU time, and the GPU-seconds lost."""

    goodput_ratio: float
    lost_gpu_s: float


def run_unhealed(scenario: Scenario, *, seed: int, until_s: float) -> Result:
    """Let a scenario run to ``until_s``, seconds since the epoch, with no action at all.

    Goodput is that of ``World.goodput``; a stopped job stays stopped.
    """
    world = World.build(scenario, seed=seed)
    world.advance(until_s)
    return result_of(world)


def result_of(world: World) -> Result:
    """Return what a world has come to by now."""
    return Result(world.goodput(), world.lost_gpu_s)
