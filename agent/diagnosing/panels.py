"""Which columns show what a diagnosis found, each with its normal band and when it left it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.types import Floats
from rca.frames.answer import Answer, Suspect
from rca.frames.inputs import Tables

MOST_PANELS, CAUSE_PANELS, MOST_SUSPECTS = 6, 2, 3
BAND_SHARE = 0.98  # of the normal readings
# A band of constant readings is this share of their size, or as little as shows.
LEAST_BAND, LEAST = 1e-3, 1e-12
# Prometheus' base units, as names of metrics end in them, and what else is common.
UNITS = {
    "seconds": "s", "s": "s", "milliseconds": "ms", "ms": "ms", "microseconds": "µs", "us": "µs",
    "bytes": "bytes", "ratio": "ratio", "percent": "%", "celsius": "°C", "watts": "W",
    "volts": "V", "amperes": "A", "joules": "J", "hertz": "Hz", "hz": "Hz", "meters": "m",
}  # fmt: skip
NO_UNITS = frozenset(("total", "sum", "count", "bucket"))


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One column for a plot.

    said: its part in the answer, and how far its middle moved
    normal (N,), abnormal (A,): its readings
    band: what most normal readings keep within; None without any
    onset_s: from when on most readings lie outside it; None where none do
    """

    name: str
    said: str
    unit: str
    normal: Floats
    abnormal: Floats
    band: tuple[float, float] | None
    onset_s: float | None

    def range(self, margin: float) -> tuple[float, float]:
        """Return the readings to show, with a share of room on both sides."""
        ends = np.array([*self.normal, *self.abnormal, *(self.band or ())])
        ends = ends[np.isfinite(ends)]
        low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 1.0)
        room = margin * ((high - low) or abs(high) or 1.0)
        return low - room, high + room


def panels_of(tables: Tables, answer: Answer) -> list[Panel]:
    """Return the columns of the first suspect, of its path, the target, and of other suspects.

    Where no cause is named the target comes first, and then whom to suspect even so.
    """
    noticed = (tables.target, "trouble noticed here")
    roles = dict([] if answer.named else [noticed])
    for rank, suspect in enumerate(answer.suspects[:MOST_SUSPECTS], 1):
        for column, role in _roles(tables, suspect, rank):
            roles.setdefault(column, role)
        if rank == 1:
            roles.setdefault(*noticed)
    return [_panel(tables, column, role) for column, role in list(roles.items())[:MOST_PANELS]]


def _roles(tables: Tables, suspect: Suspect, rank: int) -> Iterator[tuple[int, str]]:
    place = {column: at for at, column in enumerate(tables.columns)}
    own = [place[column] for column in suspect.columns]
    for column in own[: CAUSE_PANELS if rank == 1 else 1]:
        noticed = ", and trouble noticed here" if column == tables.target else ""
        yield column, (f"suspect {rank}" if rank > 1 else "most suspect") + noticed
    if rank == 1:
        moved = [_most_moved(tables, component) for component in suspect.path[1:-1]]
        hops = [column for column in moved if column is not None]
        yield from ((column, "on the path") for column in hops[: MOST_PANELS - CAUSE_PANELS - 1])


def _most_moved(tables: Tables, component: str) -> int | None:
    """Return the column of a component that moved furthest, in its bands; None where none did."""
    own = np.flatnonzero(tables.component == tables.components.index(component))
    moved = [_moved(tables.normal[at], tables.abnormal[at]) for at in own]
    return int(own[int(np.argmax(moved))]) if moved and max(moved) > 0 else None


def _moved(normal: Floats, abnormal: Floats) -> float:
    before, after, band = _middle(normal), _middle(abnormal), _band(normal)
    return 0.0 if band is None or math.isnan(after) else abs(after - before) / (band[1] - band[0])


def _panel(tables: Tables, column: int, role: str) -> Panel:
    normal, abnormal = tables.normal[column], tables.abnormal[column]
    band = _band(normal)
    component = tables.components[tables.component[column]]
    words = [tables.metric[column], tables.statistic[column]]
    described = ", ".join(word for word in words if word)
    onset_s = _onset_s(tables.abnormal_s, abnormal, band)
    since = abnormal if onset_s is None else abnormal[tables.abnormal_s >= onset_s]
    before, after = _middle(normal), _middle(since)
    change = (
        f"{before:.3g} \N{RIGHTWARDS ARROW} {after:.3g}; " if math.isfinite(after - before) else ""
    )
    return Panel(
        name=f"{component}: {described}" if described else component,
        said=f"{change}{role}",
        unit=unit_of(tables.metric[column] or component),
        normal=normal,
        abnormal=abnormal,
        band=band,
        onset_s=onset_s,
    )


def unit_of(metric: str) -> str:
    """Return the unit that a metric's name ends in, as Prometheus would have it; "" for none.

    >>> unit_of("http_request_duration_seconds_sum"), unit_of("queue")
    ('s', '')
    """
    words = [word for word in metric.lower().split("_") if word not in NO_UNITS]
    return UNITS.get(words[-1], "") if len(words) > 1 else ""


def _middle(value: Floats) -> float:
    known = value[np.isfinite(value)]
    return float(np.median(known)) if known.size else math.nan


def _band(normal: Floats) -> tuple[float, float] | None:
    known = normal[np.isfinite(normal)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - BAND_SHARE) / 2, (1 + BAND_SHARE) / 2])
    room = max(0.0, max(LEAST_BAND * abs(high), LEAST) - (high - low)) / 2
    return float(low - room), float(high + room)


def _onset_s(time_s: Floats, value: Floats, band: tuple[float, float] | None) -> float | None:
    """Return from when on readings outside the band outnumber those inside it the most."""
    if band is None:
        return None
    known = np.isfinite(value)
    outside = known & ((value < band[0]) | (value > band[1]))
    lead = np.cumsum((2.0 * outside - known)[::-1])[::-1]
    begun = int(np.argmax(lead))
    return float(time_s[begun]) if lead[begun] > 0 else None
