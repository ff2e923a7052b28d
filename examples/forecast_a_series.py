"""Forecast a series that Python already holds: when does it cross its limit?"""

import asyncio
import sys
from datetime import UTC, datetime

import numpy as np

from agent.forecast_file import forecast_series
from agent.forecast_table import Question
from agent.workers import WorkerPool

MINUTE_S = 60.0


async def main() -> None:
    """Fit a day of disk use that grows, with a daily wave on it, in a worker process."""
    minute = np.arange(1440.0)
    noise = np.random.default_rng(1).normal(0, 0.003, 1440)
    value = 0.5 + 0.00025 * minute + 0.02 * np.sin(2 * np.pi * minute / 1440) + noise
    time_s = 1_700_000_000.0 + MINUTE_S * minute

    asked = Question(horizon_s=4 * 3600.0, limit=0.9)
    async with WorkerPool(1, time_limit_s=120.0, memory_bytes=2 << 30) as pool:
        found, _ = await forecast_series(time_s, value, asked, pool=pool, name="volume_used_ratio")

    sys.stdout.write(f"model {found.model}, skill {found.skill:.2f} against naive\n")
    if found.expected_s is not None:
        when = datetime.fromtimestamp(found.expected_s, UTC)
        sys.stdout.write(f"above 0.9 with p = {found.probability:.2f}, about {when:%H:%M} UTC\n")


if __name__ == "__main__":  # workers are spawned: they import this file again
    asyncio.run(main())
