"""The whole loop on the simulated demo cluster, seed by seed, beside the cluster left alone."""

import asyncio
import math
from collections.abc import Sequence

import numpy as np

from agent.demo import DemoResult, simulate
from core.figures import Row, at_least, at_most

SIMULATED_S = 3600.0


def loop_rows(seeds: tuple[int, ...]) -> tuple[Row, ...]:
    """Run an hour of the demo scenario for each seed and report what healing was worth."""
    return rows_of(
        [
            asyncio.run(simulate("demo", seed=seed, duration_s=SIMULATED_S, tell=lambda line: None))
            for seed in seeds
        ]
    )


def rows_of(results: Sequence[DemoResult]) -> tuple[Row, ...]:
    """Report the medians over the runs, with the smallest and largest beside them."""
    healed = np.array([result.goodput_ratio for result in results])
    alone = np.array([result.baseline_goodput_ratio for result in results])
    verified = [result.verified for result in results]
    spread = {"low": float(healed.min()), "high": float(healed.max()), "n": len(results)}
    return (
        at_least("goodput", float(np.median(healed)), 0.8, unit="ratio", **spread),
        Row(
            "goodput with no healing",
            float(np.median(alone)),
            "ratio",
            low=float(alone.min()),
            high=float(alone.max()),
            n=len(results),
            note="same scenario and seeds; a stopped job stays stopped",
        ),
        at_least(
            "faults healed and verified", float(np.median(verified)), 3, unit="of 3", n=len(results)
        ),
        _first_verified(results),
    )


def _first_verified(results: Sequence[DemoResult]) -> Row:
    times = [r.first_verified_s for r in results if r.first_verified_s is not None]
    median = float(np.median(times)) if times else math.nan
    note = "from the agent's start; the first fault strikes at 240 s"
    return at_most("first fault verified healed", median, 900, unit="s", n=len(times), note=note)
