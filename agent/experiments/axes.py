"""A plot's frame, its axes with units, and marks, as SVG; colours come from the style sheet."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from core.types import Floats

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
_MINUTES = (1, 2, 5, 10, 15, 20, 30, 60)
_HOURS = (0.5, 1, 2, 3, 4, 6, 8, 12, 24)
_DAYS = (0.5, 1, 2, 5, 7, 14, 28, 56, 91, 182, 364)
TICK_PX = 74  # room that a tick's text takes on a horizontal axis


@dataclass(frozen=True, slots=True)
class Frame:
    """The part of a drawing that data fills.

    width, height: of the drawing; left, right, top, bottom: margins, all in pixels
    x0, x1, y0, y1: data at the edges
    """

    width: int
    height: int
    x0: float
    x1: float
    y0: float = 0.0
    y1: float = 1.0
    left: int = 64
    right: int = 16
    top: int = 12
    bottom: int = 46

    def x(self, value: Floats) -> Floats:
        """Return pixels from the left."""
        across = self.width - self.left - self.right
        return np.asarray(self.left + (value - self.x0) / (self.x1 - self.x0) * across)

    def y(self, value: Floats) -> Floats:
        """Return pixels from the top."""
        down = self.height - self.top - self.bottom
        return np.asarray(
            self.height - self.bottom - (value - self.y0) / (self.y1 - self.y0) * down
        )

    def at_x(self, value: float) -> float:
        """Return pixels from the left of one value."""
        return float(self.x(np.array(value)))

    def at_y(self, value: float) -> float:
        """Return pixels from the top of one value."""
        return float(self.y(np.array(value)))


def drawing(frame: Frame, parts: Iterable[str], *, label: str, kind: str) -> str:
    """Return the ``<svg>``; ``label`` says in words what is to be seen, ``kind`` its class."""
    return (
        f'<svg class="chart {kind}" role="img" viewBox="0 0 {frame.width} {frame.height}" '
        f'width="{frame.width}" height="{frame.height}" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """Return a line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str, *, title: str = "") -> str:
    """Return a rectangle; ``title`` shows under the pointer."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" '
        f'class="{kind}">{inner}</rect>'
    )


def line(points: Sequence[tuple[float, float]], kind: str) -> str:
    """Return a broken line through points."""
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{joined}"/>'


def area(x: Floats, low: Floats, high: Floats, kind: str) -> str:
    """Return the area between two lines, in pixels."""
    there = [f"{a:.1f},{b:.1f}" for a, b in zip(x, high, strict=True)]
    back = [f"{a:.1f},{b:.1f}" for a, b in zip(x[::-1], low[::-1], strict=True)]
    return f'<polygon class="{kind}" points="{" ".join(there + back)}"/>'


def time_axis(frame: Frame) -> list[str]:
    """Return grid lines, ticks and title of a horizontal axis of seconds after the start."""
    unit_s, unit, steps = _unit(frame.x1 - frame.x0)
    most = max(2, (frame.width - frame.left - frame.right) // TICK_PX)
    span = (frame.x1 - frame.x0) / unit_s
    step = next((size for size in steps if span / size <= most), span)
    ticks = np.arange(math.ceil(frame.x0 / unit_s / step) * step, frame.x1 / unit_s + 1e-9, step)
    return across(
        frame, ticks * unit_s, lambda value: f"{value / unit_s:g}", f"time since the start, {unit}"
    )


def across(
    frame: Frame, ticks: Iterable[float], say: Callable[[float], str], title: str
) -> list[str]:
    """Return a horizontal axis: a grid line and a text at each tick, and its title."""
    floor, parts = frame.height - frame.bottom, []
    for tick in ticks:
        x = frame.at_x(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{floor}"/>'
        )
        parts.append(text(x, floor + 17, say(tick), "tick"))
    middle = (frame.left + frame.width - frame.right) / 2
    return [*parts, text(middle, floor + 37, title, "title")]


def upward(
    frame: Frame, ticks: Iterable[float], say: Callable[[float], str], title: str
) -> list[str]:
    """Return a vertical axis likewise; its title stands upright beside it."""
    parts = []
    for tick in ticks:
        y = frame.at_y(tick)
        ends = f'x1="{frame.left}" x2="{frame.width - frame.right}"'
        parts.append(f'<line class="grid" {ends} y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(frame.left - 8, y + 4, say(tick), "tick end"))
    middle = (frame.top + frame.height - frame.bottom) / 2
    turned = f'transform="rotate(-90 14 {middle:.1f})"'
    return [
        *parts,
        f'<text x="14" y="{middle:.1f}" class="title" {turned}>{escape(title)}</text>',
    ]


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most about ``most`` round values from ``low`` to ``high``."""
    raw = max(high - low, 1e-12) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1.0, 2.0, 2.5, 5.0, 10.0) if size * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor((high - first * step) / step + 1e-9) + 1
    return [(first + k) * step for k in range(count)]


def short(value: float) -> str:
    """Write a number for a tick: 1.2k, 45M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def lasted(seconds: float) -> str:
    """Write a time since the start: 4.2 min, 3.5 h, 12 d."""
    unit_s, unit, _ = _unit(abs(seconds))
    return f"{seconds / unit_s:.1f}".removesuffix(".0") + f" {unit}"


def _unit(span_s: float) -> tuple[float, str, tuple[float, ...]]:
    if span_s <= 2 * HOUR_S:
        return MINUTE_S, "min", _MINUTES
    return (HOUR_S, "h", _HOURS) if span_s <= 4 * DAY_S else (DAY_S, "d", _DAYS)


def merged(
    stretches: Iterable[tuple[float, float]], *, least_px: float, gap_px: float = 0.5
) -> list[tuple[float, float, int]]:
    """Return stretches in pixels with those that touch made one: (begin, end, how many).

    So a drawing of a year of faults stays as small as one of an hour.
    """
    found: list[tuple[float, float, int]] = []
    for begin, end in sorted(stretches):
        stop = max(end, begin + least_px)
        if found and begin <= found[-1][1] + gap_px:
            first, last, count = found[-1]
            found[-1] = (first, max(last, stop), count + 1)
        else:
            found.append((begin, stop, 1))
    return found
