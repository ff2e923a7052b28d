"""A day of the node service in a child: ``python -P -m agent.bench.node_day HOURS``."""

import asyncio
import gc
import json
import os
import sys
from pathlib import Path

from agent.lab.nvml.scenario import VARIABLE, Scenario
from agent.node_plan import NodePlan
from agent.node_process import Parts, parts_of
from core.clock import ManualClock

HOUR_S = 3600.0
LOOKS = 24
GPUS = 8
CONTAINED = 94  # an Xid that ends one program


async def day(
    parts: Parts, clock: ManualClock, plan: NodePlan, driver: Scenario, hours: float
) -> list[float]:
    """Read, show and check as the service does, with an Xid an hour; return MiB at each look."""
    readings = round(hours * HOUR_S / plan.interval_s)
    checks_every, hour, look_every = (
        max(1, round(each_s / plan.interval_s))
        for each_s in (plan.checks_interval_s, HOUR_S, hours * HOUR_S / LOOKS)
    )
    held_mib = []
    for reading in range(readings):
        await parts.page.snapshot()
        await parts.page.page()
        if reading % checks_every == 0:
            await parts.rounds.go()
        if reading % hour == 0:
            driver.xid(reading // hour % GPUS, CONTAINED)
        await clock.advance(plan.interval_s)
        if reading % look_every == look_every - 1:
            held_mib.append(_rss_mib())
    return held_mib


def _rss_mib() -> float:
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    """Print the figures as JSON."""
    clock, plan = ManualClock(), NodePlan("n1", "")
    parts, driver = parts_of(plan, clock), Scenario(Path(os.environ[VARIABLE]))
    sys.stdout.write(json.dumps(asyncio.run(day(parts, clock, plan, driver, float(sys.argv[1])))))


if __name__ == "__main__":
    main()
