"""What the pictures share: times as dates, a time axis, and names that fit."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

_CUT = " ... "


def utc(time_s: Iterable[float]) -> list[datetime]:
    """Return seconds since the epoch as dates, for matplotlib."""
    return [datetime.fromtimestamp(float(moment), tz=UTC) for moment in time_s]


def date_axis(axes: Any, *, most_ticks: int) -> None:
    """Give the axes a time axis in UTC that says no more of the date than it has to."""
    from matplotlib import dates  # noqa: PLC0415  # heavy

    calendar: Any = dates
    locator = calendar.AutoDateLocator(tz=UTC, minticks=3, maxticks=most_ticks)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(calendar.ConciseDateFormatter(locator, tz=UTC))


def short(text: str, most: int) -> str:
    """Cut the middle out of a text of more than ``most`` characters: names differ at their ends.

    >>> short("checkout-7f9c|latency|p99", 15)
    'check ... |p99 '
    """
    half = (most - len(_CUT)) // 2
    return text if len(text) <= most else f"{text[:half]}{_CUT}{text[-half:]}"
