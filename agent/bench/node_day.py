"""A day of the node service in a child: ``python -P -m agent.bench.node_day CYCLES``."""

import asyncio
import gc
import json
import sys
from pathlib import Path

from agent.node_plan import NodePlan
from agent.node_process import Parts, parts_of
from core.clock import ManualClock

EVERY_S = 60.0


async def day(parts: Parts, clock: ManualClock, cycles: int) -> tuple[float, float]:
    """Read, show and check so many times; return MiB at half of the way and at the end.

    The first hours fill what is kept: an hour's history of checks, events, paces.
    """
    early = 0.0
    for cycle in range(cycles):
        await parts.page.snapshot()
        await parts.page.page()
        await parts.rounds.go()
        await clock.advance(EVERY_S)
        if cycle == cycles // 2:
            early = _rss_mib()
    return early, _rss_mib()


def _rss_mib() -> float:
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    """Print the two figures as JSON."""
    clock = ManualClock()
    parts = parts_of(NodePlan("n1", ""), clock)
    early, late = asyncio.run(day(parts, clock, int(sys.argv[1])))
    sys.stdout.write(json.dumps({"early_mib": early, "late_mib": late}))


if __name__ == "__main__":
    main()
