"""Durations as people read them."""

from itertools import pairwise

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def lasting(seconds: float) -> str:
    """Return a duration in the largest unit that fits and the next: ``45 s``, ``3 min 40 s``."""
    whole = round(abs(seconds))
    sign = "-" if whole and seconds < 0 else ""
    for (size, unit), (part, smaller) in pairwise(_UNITS):
        if whole >= size:
            rest = whole % size // part
            return f"{sign}{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{sign}{whole} s"
