"""One step of a diagnosis' path as a small SVG: its readings, its usual band, when it left that.

Colours come from the page's style sheet by class.
"""

import math

import numpy as np

from core.types import Floats
from rca.hops import HopSeries

WIDTH, HEIGHT = 300.0, 38.0
MAX_POINTS = 300
_ROOM = 0.12  # of the drawn range, left free above and below


def hop_svg(hop: HopSeries) -> str:
    """Return the drawing as an ``<svg>`` element; it holds numbers only, no text from outside."""
    time_s, value = _thinned(hop.time_s, hop.value)
    parts: list[str] = []
    if len(time_s) > 1:
        x = (time_s - time_s[0]) / (time_s[-1] - time_s[0]) * WIDTH
        low, high = _range(value, hop)
        parts += _band(hop, low, high)
        y = HEIGHT - (value - low) / (high - low) * HEIGHT
        began_s = math.inf if hop.began_s is None else hop.began_s
        parts += _lines("before", x, np.where(time_s <= began_s, y, np.nan))
        parts += _lines("after", x, np.where(time_s >= began_s, y, np.nan))
        if time_s[0] < began_s < time_s[-1]:
            at = (began_s - time_s[0]) / (time_s[-1] - time_s[0]) * WIDTH
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{HEIGHT:g}"/>')
    return (
        f'<svg class="spark" xmlns="http://www.w3.org/2000/svg" aria-hidden="true" '
        f'preserveAspectRatio="none" viewBox="0 0 {WIDTH:g} {HEIGHT:g}">{"".join(parts)}</svg>'
    )


def _band(hop: HopSeries, low: float, high: float) -> list[str]:
    if not math.isfinite(hop.lower):
        return []
    top, bottom = ((1 - (v - low) / (high - low)) * HEIGHT for v in (hop.upper, hop.lower))
    height = bottom - top
    return [f'<rect class="band" x="0" y="{top:.1f}" width="{WIDTH:g}" height="{height:.1f}"/>']


def _lines(name: str, x: Floats, y: Floats) -> list[str]:
    """Draw a line that is broken where nothing was read."""
    known = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return [
        f'<polyline class="{name}" points="'
        + " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[i:j], y[i:j], strict=True))
        + '"/>'
        for i, j in edges.reshape(-1, 2)
    ]


def _range(value: Floats, hop: HopSeries) -> tuple[float, float]:
    ends = np.array([*value, hop.lower, hop.upper])
    ends = ends[np.isfinite(ends)]
    low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 1.0)
    room = _ROOM * max(high - low, 1e-3 * abs(high), 1e-9)
    return low - room, high + room


def _thinned(time_s: Floats, value: Floats) -> tuple[Floats, Floats]:
    """Return every k-th reading, MAX_POINTS at most."""
    step = -(-len(time_s) // MAX_POINTS) or 1
    return time_s[::step], value[::step]
