"""Readings, targets and durations as people write them: a number never goes without its unit."""

import math

from core.target import Target
from core.units import CATALOG

_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))


def say_value(metric: str, value: float) -> str:
    """Return the reading with its unit; a counter's is its rate."""
    if not math.isfinite(value):
        return "no reading"
    known = CATALOG.get(metric)
    unit = known.unit if known else ""
    per = "/s" if known and known.counter else ""
    if unit == "ratio":
        return f"{100 * value:.3g} %"
    if unit == "Hz":
        return f"{value / 1e6:.4g} MHz"
    if unit == "bytes":
        size, name = next(((s, n) for s, n in _BYTES if abs(value) >= s), (1.0, "B"))
        return f"{value / size:.3g} {name}{per}"
    if known and known.counter:
        return f"{60 * value:.3g} a minute"
    return f"{value:.3g} {unit}".rstrip()


def say_target(target: Target) -> str:
    """Return where something is: ``node-7/GPU-3f2c``, ``rank 12 of job 88``, ``rack r2``."""
    if target.rank:
        where = f" on {target.node}" if target.node else ""
        return f"rank {target.rank} of job {target.job}{where}"
    if target.job:
        return f"job {target.job}"
    part = target.gpu or target.port or target.volume
    if target.node:
        return f"{target.node}/{part}" if part else target.node
    if part:
        return f"shared volume {part}" if target.volume else part
    if target.switch:
        return f"switch {target.switch}"
    return f"rack {target.rack}" if target.rack else "the whole cluster"


def say_duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``45 s``, ``3 min 40 s``, ``2 h 5 min``."""
    whole = round(abs(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole // 60, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def say_metric(metric: str) -> str:
    """Return the catalogue's words for a metric, or its name."""
    known = CATALOG.get(metric)
    return known.text if known else metric
