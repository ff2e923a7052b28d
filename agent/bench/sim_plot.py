"""Processor time over events, for clusters of several sizes: a small drawing from kept figures."""

import math
import re
from collections.abc import Iterable
from html import escape

from core.errors import InputError
from core.figures import Figures

WIDTH, HEIGHT = 560, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 120, 16, 44
# Okabe and Ito's palette: apart for colour-blind eyes too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_NAME = re.compile(r"us_per_event_(\d+)_nodes_([\d.]+)_days")
_EVENTS = re.compile(r"(\d+) events")

Point = tuple[float, float, float]  # events, seconds, days


def cost_svg(shown: Figures) -> str:
    """Return the drawing of ``us_per_event_*`` rows; InputError where there are none."""
    sizes = _points(shown)
    if not sizes:
        raise InputError(
            f"The figures {shown.name!r} have no us_per_event_* row; "
            "measure some with `gpumedic bench sim --json`."
        )
    points = [point for line in sizes.values() for point in line]
    x = _Axis([events for events, _, _ in points], _LEFT, WIDTH - _RIGHT)
    y = _Axis([seconds for _, seconds, _ in points], HEIGHT - _BOTTOM, _TOP)
    parts = [*_grid(x, y)]
    for number, (nodes, line) in enumerate(sorted(sizes.items())):
        parts += _line(x, y, line, nodes, _COLOURS[number % len(_COLOURS)])
    title = escape("Processor seconds over events, by the cluster's size")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'aria-label="{title}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


class _Axis:
    """A logarithmic axis over whole decades."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        logs = [math.log10(value) for value in values]
        self.low, self.high = math.floor(min(logs)), math.ceil(max(logs))
        self._start, self._step = start, (end - start) / max(self.high - self.low, 1)

    def at(self, value: float) -> float:
        return self._start + (math.log10(value) - self.low) * self._step

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def _points(shown: Figures) -> dict[int, list[Point]]:
    sizes: dict[int, list[Point]] = {}
    for row in shown.rows:
        name, events = _NAME.fullmatch(row.metric), _EVENTS.match(row.note)
        if name is None or events is None or row.value is None:
            continue
        count = float(events[1])
        sizes.setdefault(int(name[1]), []).append((count, 1e-6 * row.value * count, float(name[2])))
    return sizes


def _grid(x: _Axis, y: _Axis) -> list[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for value in x.decades():
        at = x.at(value)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{bottom}" stroke="#dddddd"/>')
        parts.append(_text(at, bottom + 16, f"{value:,.0f}", "middle"))
    for value in y.decades():
        at = y.at(value)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#dddddd"/>')
        parts.append(_text(_LEFT - 6, at + 4, f"{value:g} s", "end"))
    parts.append(_text((_LEFT + right) / 2, HEIGHT - 8, "events", "middle"))
    return parts


def _line(x: _Axis, y: _Axis, line: list[Point], nodes: int, colour: str) -> list[str]:
    places = [(x.at(events), y.at(seconds)) for events, seconds, _ in sorted(line)]
    path = "L".join(f"{across:.1f} {up:.1f}" for across, up in places)
    dots = [
        f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4" fill="{colour}"/>' for across, up in places
    ]
    across, up = places[-1]
    label = _text(across + 8, up + 4, f"{nodes:,} nodes", "start", colour)
    return [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, label]


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#222222") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(words)}</text>"
