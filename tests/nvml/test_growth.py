"""A node service runs for months: what a day of readings leaves behind is nothing."""

import gc
import sys

from agent.collect.nvml import NvmlReader
from agent.collect.reading import Exposition
from agent.lab.nvml.scenario import GPU_IS_LOST, Scenario
from core.clock import ManualClock

DAY_S, EVERY_S = 86400, 240
# What the interpreter keeps for itself; one object more a reading would be 360.
SLACK = 120


async def test_a_day_leaves_nothing_behind(nvml: Scenario, clock: ManualClock) -> None:
    """24 virtual hours of one GPU, which is lost and found every hour."""
    nvml.say("gpus 1")
    reader = NvmlReader("n1", clock=clock)
    lost = f"gpu 0 fails * {GPU_IS_LOST}"
    held = []
    for second in range(0, DAY_S, EVERY_S):
        if second % 3600 == 0:
            nvml.say(lost)
        if second % 3600 == EVERY_S:
            nvml.unsay(lost)
        Exposition().text(reader.snapshot().readings)
        await clock.advance(EVERY_S)
        if second % 3600 == 3600 - EVERY_S:
            gc.collect()
            held.append(sys.getallocatedblocks())

    assert max(held[-2:]) - held[2] < SLACK
