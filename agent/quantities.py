"""Durations and sizes as people write them, "15s", "1h30m", "2GiB", and back."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

DURATION_UNITS = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_DURATION_HELP = 'write a number and a unit (ms, s, m, h, d, w), such as "15s" or "1h30m"'
_SIZE_HELP = 'write a number and a unit (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), such as "2GiB"'
_NUMBER = r"\d+(?:\.\d+)?"
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|[smhdw]))+", re.ASCII)
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|[smhdw])", re.ASCII)
_SIZE = re.compile(rf"({_NUMBER}) ?({'|'.join(SIZE_UNITS)})", re.ASCII)
_LONGEST_S = 100 * 366 * DURATION_UNITS["d"]
_LARGEST_BYTES = 2**60


def parse_duration(text: object) -> float:
    """Read "15s", "4h", "1h30m" or "2d" as seconds; ValueError says what would work.

    A bare number is refused: nobody can see whether it meant seconds or minutes.

    >>> parse_duration("1h30m")
    5400.0
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError(f"is not a duration: {_DURATION_HELP}")
    parts: list[tuple[str, str]] = _DURATION_PART.findall(text)
    units = [DURATION_UNITS[unit] for _, unit in parts]
    if any(second >= first for first, second in pairwise(units)):
        raise ValueError('has its units out of order: write the largest first, such as "1h30m"')
    seconds = sum(float(number) * DURATION_UNITS[unit] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise ValueError("is longer than 100 years: write a shorter duration")
    return seconds


def parse_size(text: object) -> int:
    """Read "2GiB" or "5MB" as bytes; ValueError says what would work.

    >>> parse_size("2GiB")
    2147483648
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"is not a size: {_SIZE_HELP}")
    size = float(match[1]) * SIZE_UNITS[match[2]]
    if size > _LARGEST_BYTES:
        raise ValueError("is larger than 1 EiB: write a smaller size")
    return round(size)


def format_duration(seconds: float) -> str:
    """Write seconds so that ``parse_duration`` reads the same, to the millisecond.

    >>> format_duration(5400.0)
    '1h30m'
    """
    rest_ms = round(seconds * 1000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest_ms = divmod(rest_ms, round(DURATION_UNITS[unit] * 1000))
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def format_size(size: int) -> str:
    """Write bytes in the largest unit that leaves a whole number, binary units first.

    >>> format_size(2147483648)
    '2GiB'
    """
    for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return f"{size}B"


def at_least(text: str) -> Callable[[float], float]:
    """Return a check that a duration or size is not below ``text``, for use in an annotation."""
    least = parse_size(text) if _SIZE.fullmatch(text) else parse_duration(text)

    def check(value: float) -> float:
        if value < least:
            raise ValueError(f'is too small: write at least "{text}"')
        return value

    return check


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$"}),
]
