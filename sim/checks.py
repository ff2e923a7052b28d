"""Numbers, names and times in specifications: what is wrong is said in a sentence."""

import difflib
import math
import re
from collections.abc import Iterable
from decimal import Decimal

from core.errors import InputError


def nearest(word: str, known: Iterable[str]) -> str:
    """End a sentence with the known name that is meant, or with those there are."""
    names = tuple(known)
    near = difflib.get_close_matches(word, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"there are {', '.join(names[:_MOST_NAMES])}{more}."


def one_of(what: str, word: str, known: Iterable[str]) -> None:
    """Refuse a word that is none of the known ones."""
    if word not in known:
        raise InputError(f"{what} is {word!r}; {nearest(word, known)}")


def ratios(what: str, spec: object, names: Iterable[str]) -> None:
    """Refuse parts of a specification that lie outside 0 to 1; None is no value."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{what}: {name} is {value:g}; it must lie between 0 and 1.")


def not_negative(what: str, spec: object, names: Iterable[str]) -> None:
    """Refuse parts below 0, and nan."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and not value >= 0:
            raise InputError(f"{what}: {name} is {value:g}; it must be 0 or more.")


def positive(what: str, spec: object, names: Iterable[str]) -> None:
    """Refuse parts that are not above 0."""
    for name in names:
        value = getattr(spec, name)
        if value is not None and not value > 0:
            raise InputError(f"{what}: {name} is {value:g}; it must be above 0.")


_MOST_NAMES = 12
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
_MOST_OF_A_UNIT = 1000
_TIME = re.compile(rf"-?(?:{_PART.pattern})+", re.ASCII)


def read_seconds(value: object) -> float:
    """Read "15s", "4h", "1h30m" or "-25m" as seconds, and the number inf; else an InputError.

    A bare number is refused: nobody can see whether it meant seconds or minutes.

    >>> read_seconds("1h30m"), read_seconds("-25m")
    (5400.0, -1500.0)
    """
    if value == math.inf:
        return math.inf
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise InputError(
            f'{value!r} is no time; write a number and a unit (ms, s, m, h, d, w), such as "15s" '
            'or "1h30m", or inf.'
        )
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    return -seconds if value.startswith("-") else seconds


def write_seconds(seconds: float) -> str:
    """Write seconds so that ``read_seconds`` reads the very same number.

    >>> write_seconds(5400.0), write_seconds(0.15)
    ('90m', '0.15s')
    """
    sign, size = ("-", -seconds) if seconds < 0 else ("", seconds)
    for unit in ("d", "h", "m", "ms"):
        count = round(size / _UNITS[unit])
        if 0 < count < _MOST_OF_A_UNIT and count * _UNITS[unit] == size:
            return f"{sign}{count}{unit}"
    return f"{sign}{Decimal(repr(size)):f}s"
