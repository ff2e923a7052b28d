"""Values as people read them on the page: ages, times of day, quantities with their unit."""

import math
from datetime import timedelta

from agent.times import EPOCH

UNKNOWN = "–"
_STEPS_S = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SI = ("", "k", "M", "G", "T", "P")


def duration(seconds: float | None) -> str:
    """Say how long in the largest unit that fits, two where the first is small: ``1 h 20 min``."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    left = abs(seconds)
    if left < 1:
        return "0 s"
    for index, (size, unit) in enumerate(_STEPS_S):
        if left < size:
            continue
        count = int(left // size)
        rest = (
            index + 1 < len(_STEPS_S) and count < 10 and int(left % size // _STEPS_S[index + 1][0])
        )
        return f"{number(count)} {unit}" + (f" {rest} {_STEPS_S[index + 1][1]}" if rest else "")
    return UNKNOWN


def ago(time_s: float | None, now_s: float) -> str:
    """Say how long ago, or how far ahead, a time lies."""
    if time_s is None or not math.isfinite(time_s):
        return "never"
    if abs(now_s - time_s) < 1:
        return "now"
    if time_s > now_s:
        return f"in {duration(time_s - now_s)}"
    return f"{duration(now_s - time_s)} ago"


def clock_time(time_s: float | None, *, now_s: float | None = None) -> str:
    """Return ``14:02:11``; with the day before it where that is not the day of ``now_s``."""
    moment = _moment(time_s)
    if moment is None:
        return UNKNOWN
    today = None if now_s is None else _moment(now_s)
    same_day = today is not None and moment[:10] == today[:10]
    return moment[11:19] if same_day else f"{moment[:10]} {moment[11:19]}"


def _moment(time_s: float | None) -> str | None:
    if time_s is None or not math.isfinite(time_s):
        return None
    try:
        return (EPOCH + timedelta(seconds=int(time_s))).isoformat()
    except OverflowError:
        return None


def percent(ratio: float | None, digits: int = 0) -> str:
    """Return a ratio as per cent; what is not quite none or all does not read as 0 or 100."""
    if ratio is None or not math.isfinite(ratio):
        return UNKNOWN
    least = 0.5 * 10.0**-digits
    if 0 < ratio * 100 <= least:
        return f"< {10.0**-digits:g} %"
    if 100 - least <= ratio * 100 < 100:
        return f"> {100 - 10.0**-digits:g} %"
    if abs(ratio) >= 100:
        return f"{number(ratio * 100)} %"
    return f"{ratio * 100:.{digits}f} %"


def quantity(value: float | None, unit: str) -> str:
    """Return a reading with its unit: ratios as per cent, bytes and hertz with a prefix."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if unit == "ratio":
        return percent(value, digits=0 if abs(value) >= 0.0995 else 1)
    if unit == "s":
        return _seconds(value)
    if unit == "bytes":
        return _prefixed(value, 1024.0, _BYTES)
    if unit == "Hz":
        return _prefixed(value, 1000.0, tuple(f"{prefix}Hz" for prefix in _SI))
    return f"{number(value)} {unit}".rstrip()


def number(value: float | None) -> str:
    """Return a number short: thousands divided, four figures, powers of ten where it is huge."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if abs(value) >= 1e9 or 0 < abs(value) < 1e-3:
        return f"{value:.3g}"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def gpu_time(gpu_s: float | None) -> str:
    """Return GPU-seconds as GPU-hours where there are many."""
    if gpu_s is None or not math.isfinite(gpu_s):
        return UNKNOWN
    return f"{gpu_s:,.0f} GPU-s" if abs(gpu_s) < 3600 else f"{number(gpu_s / 3600)} GPU-h"


def _seconds(value: float) -> str:
    if abs(value) >= 60:
        return duration(value)
    return f"{value * 1000:.3g} ms" if 0 < abs(value) < 0.1 else f"{number(value)} s"


def _prefixed(value: float, step: float, names: tuple[str, ...]) -> str:
    for name in names:
        if abs(value) < step or name == names[-1]:
            return f"{number(value)} {name}"
        value /= step
    return UNKNOWN
