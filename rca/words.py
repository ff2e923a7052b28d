"""Readings, targets and durations as people write them: a number never goes without its unit."""

import math
import re
from datetime import UTC, datetime

from core.faults import FaultClass
from core.target import Target
from core.units import CATALOG

_BYTES = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
# Of these a change reads best as a share of what is usual; 0 °C and 0 % are no natural zeros.
_BY_SHARE = frozenset({"s", "Hz", "W", "bytes"})
_LARGEST_SHARE = 10.0  # from here on "2 to 90 s" says it better than "+4400 %"
# NVML's form of a UUID: its first group tells the GPUs of a cluster apart.
_UUID = re.compile(r"(GPU-[0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHORT_FORMS = {
    **{word: word.upper() for word in ("gpu", "cpu", "ecc", "sm", "io", "oom", "p99")},
    **{"nvlink": "NVLink", "pcie": "PCIe", "xid": "Xid"},
}
_KINDS = {
    FaultClass.GPU_HARDWARE: "GPU hardware",
    FaultClass.GPU_MEMORY: "GPU memory",
    FaultClass.NVLINK: "NVLink",
    FaultClass.CPU_CONTENTION: "CPU contention",
    FaultClass.NAN_LOSS: "NaN in the loss",
}


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


def metric_words(name: str) -> str:
    """Return a metric's name as words, its unit left off: the value beside it has it."""
    for suffix in ("_ratio", "_bytes", "_celsius", "_watts", "_hz", "_s", "_total"):
        name = name.removesuffix(suffix)
    return " ".join(_SHORT_FORMS.get(word, word) for word in name.split("_"))


def say_short(text: str) -> str:
    """Return the text with every GPU's UUID cut to its first group."""
    return _UUID.sub(r"\1", text)


def say_kind(kind: FaultClass) -> str:
    """Return a class of faults in words: ``GPU memory``, ``noisy neighbour``."""
    return _KINDS.get(kind, kind.replace("_", " "))


def say_clock(time_s: float) -> str:
    """Return the time of day, UTC: ``10:02:15``; "" for what no calendar holds."""
    try:
        return f"{datetime.fromtimestamp(time_s, tz=UTC):%H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return ""


def say_change(metric: str, usual: float | None, level: float | None) -> str:
    """Return how a reading moved: ``31 to 44 °C``, ``2.1 to 2.9 s (+38 %)``; "" for nothing known.

    A share is given where the unit has a natural zero and the share is not absurd.
    """
    if level is None or not math.isfinite(level):
        return ""
    now = say_value(metric, level)
    if usual is None or not math.isfinite(usual):
        return f"now {now}"
    (was, was_unit), (_, unit) = (t.partition(" ")[::2] for t in (say_value(metric, usual), now))
    text = f"{was} to {now}" if was_unit == unit else f"{was} {was_unit} to {now}"
    known = CATALOG.get(metric)
    share = (level - usual) / usual if usual > 0 else math.inf
    fits = known is not None and known.unit in _BY_SHARE and 0.005 < abs(share) < _LARGEST_SHARE
    return f"{text} ({share:+.0%})".replace("%", " %") if fits else text


def say_metric(metric: str) -> str:
    """Return the catalogue's words for a metric, up to a comma, or its name."""
    known = CATALOG.get(metric)
    return known.text.partition(",")[0] if known else metric
