"""Time a piece of work several times and report the median as a row."""

import statistics
import time
from collections.abc import Callable

from core.figures import Row, at_most


def timed(work: Callable[[], object], *, runs: int) -> list[float]:
    """Return the seconds each of ``runs`` calls took, after one call that does not count."""
    work()
    seconds = []
    for _ in range(runs):
        started_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started_s)
    return seconds


def milliseconds(
    metric: str, seconds: list[float], *, goal_ms: float | None = None, note: str = ""
) -> Row:
    """Report the median in ms, with the fastest and slowest run beside it."""
    values = [1e3 * s for s in seconds]
    spread = {"low": min(values), "high": max(values), "n": len(values), "note": note}
    median = statistics.median(values)
    if goal_ms is None:
        return Row(metric, median, "ms", **spread)  # type: ignore[arg-type]
    return at_most(metric, median, goal_ms, unit="ms", **spread)
