"""A forecast as a small SVG: what was read, the band ahead, the limit and the expected crossing.

Colours come from the page's style sheet by class; everything else stands in the drawing itself.
"""

import math
from dataclasses import dataclass
from html import escape

import numpy as np

from agent.view import ForecastView
from agent.words import clock_time, percent, quantity
from core.types import Floats
from rca.words import metric_words

WIDTH, HEIGHT = 480, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 24
MAX_POINTS = 240
_TICKS = 4
_TIME_TICKS = 7
_ROOM_RATIO = 0.08  # of the drawn range, left free above and below
_LARGEST = 1e300  # beyond this a step between two ticks overflows
# A limit far outside the readings would flatten them; it is drawn once it is of interest.
_LIMIT_IN_VIEW_RANGES = 4.0
_TIME_STEPS_S = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What part of time and value is drawn."""

    start_s: float
    end_s: float
    low: float
    high: float

    def x(self, time_s: Floats) -> Floats:
        return LEFT + (time_s - self.start_s) / (self.end_s - self.start_s) * (WIDTH - LEFT - RIGHT)

    def y(self, value: Floats) -> Floats:
        ratio = (np.clip(value, self.low, self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - ratio * (HEIGHT - TOP - BOTTOM)

    def x1(self, time_s: float) -> float:
        return float(self.x(np.array([time_s]))[0])

    def y1(self, value: float) -> float:
        return float(self.y(np.array([value]))[0])


def forecast_svg(view: ForecastView) -> str:
    """Return the plot as an ``<svg>`` element that stands alone or inside a page."""
    history_s, history = _thinned(view.history_time_s, view.history_value)
    frame = _frame(view, history_s, history)
    parts = [] if frame is None else [*_grid(frame, view), *_drawn(frame, view, history_s, history)]
    if frame is None:
        parts = [f'<text class="axis" x="{WIDTH / 2}" y="{HEIGHT / 2}">no reading yet</text>']
    title = escape(f"{view.target} {metric_words(view.metric)}")
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{title}: {escape(_in_words(view))}">'
        f"{''.join(parts)}</svg>"
    )


def _in_words(view: ForecastView) -> str:
    last = view.history_value[np.isfinite(view.history_value)]
    now = quantity(float(last[-1]), view.unit) if last.size else "not known"
    if view.expected_s is None:
        return f"now {now}, no crossing expected"
    limit = quantity(view.limit, view.unit)
    at = clock_time(view.expected_s)
    verb = "reaches" if view.expected_s > view.forecast.made_at_s else "is beyond"
    since = "at" if verb == "reaches" else "since"
    return f"now {now}, {verb} {limit} {since} {at} UTC, probability {percent(view.probability)}"


def _frame(view: ForecastView, history_s: Floats, history: Floats) -> _Frame | None:
    times = np.concatenate([history_s, view.forecast.time_s])
    bands = (view.forecast.lower, view.forecast.mean, view.forecast.upper)
    values = np.concatenate([history, *(band.ravel() for band in bands)])
    times, values = times[np.isfinite(times)], values[np.isfinite(values)]
    if times.size < 2 or not values.size or times.max() <= times.min():
        return None
    low, high = float(values.min()), float(values.max())
    size = max(high - low, 1e-9, 1e-3 * max(abs(low), abs(high)))
    near = low - _LIMIT_IN_VIEW_RANGES * size <= view.limit <= high + _LIMIT_IN_VIEW_RANGES * size
    if np.isfinite(view.limit) and (near or view.expected_s is not None):
        low, high = min(low, view.limit), max(high, view.limit)
    middle, half = low / 2 + high / 2, max(high / 2 - low / 2, size / 2) * (1 + 2 * _ROOM_RATIO)
    bottom = max(0.0, middle - half) if low >= 0 else middle - half
    # No share exceeds the whole: a band that does is cut off at the edge of the drawing.
    top = 1.0 if view.unit == "ratio" and low < 1.0 < middle + half else middle + half
    if not max(abs(bottom), abs(top)) < _LARGEST:
        return None
    return _Frame(float(times.min()), float(times.max()), bottom, top)


def _drawn(frame: _Frame, view: ForecastView, history_s: Floats, history: Floats) -> list[str]:
    ahead, forecast = view.forecast.time_s, view.forecast
    parts = []
    if len(ahead) and forecast.mean.shape[0]:
        parts.append(_band(frame, ahead, forecast.lower[0], forecast.upper[0]))
        parts += _lines("mean", frame, ahead, forecast.mean[0])
    parts += _lines("history", frame, history_s, history)
    if frame.start_s < forecast.made_at_s < frame.end_s:
        parts.append(_upright("made", frame, forecast.made_at_s))
    if frame.low <= view.limit <= frame.high:
        parts += _limit(frame, view)
    expected_s = math.nan if view.expected_s is None else view.expected_s
    if frame.start_s < expected_s <= frame.end_s and frame.low <= view.limit <= frame.high:
        parts.append(_upright("crossing", frame, expected_s))
        x, y = frame.x1(expected_s), frame.y1(view.limit)
        parts.append(f'<circle class="crossing" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
    return parts


def _limit(frame: _Frame, view: ForecastView) -> list[str]:
    y = frame.y1(view.limit)
    text_y = y - 4 if y > TOP + 12 else y + 12
    text = escape(f"limit {quantity(view.limit, view.unit)}")
    return [
        f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="limit" x="{LEFT + 4}" y="{text_y:.1f}">{text}</text>',
    ]


def _grid(frame: _Frame, view: ForecastView) -> list[str]:
    parts = []
    for value in _value_ticks(frame, view.unit):
        y = frame.y1(value)
        ends = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line class="grid" {ends}/>')
        text = escape(quantity(value, view.unit))
        parts.append(f'<text class="axis y" x="{LEFT - 6}" y="{y + 3.5:.1f}">{text}</text>')
    for time_s in _time_ticks(frame):
        x, text = frame.x1(time_s), clock_time(time_s)[11:16]
        parts.append(f'<text class="axis" x="{x:.1f}" y="{HEIGHT - 7}">{text}</text>')
    return parts


def _value_ticks(frame: _Frame, unit: str) -> list[float]:
    """Return round values inside the frame; round in the prefix that bytes are shown with."""
    whole = (
        1024.0 ** max(0, int(math.log(max(abs(frame.high), 1.0), 1024))) if unit == "bytes" else 1.0
    )
    raw = (frame.high - frame.low) / whole / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(size * power for size in (1.0, 2.0, 2.5, 5.0, 10.0) if size * power >= raw) * whole
    first = math.ceil(frame.low / step - 1e-9)
    return [k * step for k in range(first, first + 2 * _TICKS) if k * step <= frame.high]


def _time_ticks(frame: _Frame) -> list[float]:
    """Return a few round times of day inside the frame."""
    span_s = frame.end_s - frame.start_s
    step_s = next((step for step in _TIME_STEPS_S if span_s / step <= _TIME_TICKS), span_s)
    first = np.ceil((frame.start_s + 0.04 * span_s) / step_s) * step_s
    return [float(t) for t in np.arange(first, frame.end_s - 0.03 * span_s, step_s)]


def _upright(name: str, frame: _Frame, time_s: float) -> str:
    x = frame.x1(time_s)
    return f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'


def _band(frame: _Frame, time_s: Floats, lower: Floats, upper: Floats) -> str:
    known = np.isfinite(lower) & np.isfinite(upper) & np.isfinite(time_s)
    x = frame.x(time_s[known])
    there = _points(x, frame.y(upper[known]))
    back = _points(x[::-1], frame.y(lower[known])[::-1])
    return f'<polygon class="band" points="{there} {back}"/>'


def _lines(name: str, frame: _Frame, time_s: Floats, value: Floats) -> list[str]:
    """Draw a line that is broken where nothing was read and where it leaves the frame."""
    known = np.isfinite(time_s) & (frame.low <= value) & (value <= frame.high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    x, y = frame.x(time_s), frame.y(np.where(known, value, frame.low))
    return [
        f'<polyline class="{name}" points="{_points(x[start:end], y[start:end])}"/>'
        for start, end in edges.reshape(-1, 2)
    ]


def _points(x: Floats, y: Floats) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def _thinned(time_s: Floats, value: Floats) -> tuple[Floats, Floats]:
    """Return at most 240 readings: of each stretch the one farthest from its middle, so that a
    spike stays.
    """
    if len(time_s) <= MAX_POINTS:
        return time_s, value
    size = -(-len(time_s) // MAX_POINTS)
    padded = np.full(-(-len(time_s) // size) * size, np.nan)
    padded[: len(value)] = value
    rows = padded.reshape(-1, size)
    known = np.isfinite(rows)
    filled = np.where(known, rows, 0.0)
    middle = filled.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    away = np.where(known, np.abs(filled - middle[:, None]), -1.0)
    kept = np.minimum(np.arange(len(rows)) * size + away.argmax(axis=1), len(time_s) - 1)
    return time_s[kept], value[kept]
