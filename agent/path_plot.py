"""Draws a diagnosis' path as a PNG: what moved, from the cause on top to the symptom below."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.axes import date_axis, utc
from core.types import Floats
from core.units import CATALOG
from rca.hops import HopSeries
from rca.words import say_change, say_clock, say_short, say_target

WIDTH_INCHES, PANEL_INCHES, DPI = 9.5, 1.45, 130
HEAD_INCHES, FOOT_INCHES = 1.15, 0.55
MOST_OF_AN_ANSWER, MOST_OF_A_LINE = 92, 125  # characters that fit the width
LEFT, RIGHT = 0.115, 0.975  # of the picture's width
GAP = 0.55  # of a panel's height, for the name of the next one and the arrow
ABOVE_TITLE = 1.2  # of a panel's height: where arrows end, clear of the words
MOST_TICKS, MARGIN = 6, 0.12
# Okabe and Ito's palette: apart for colour-blind eyes too.
CALM, ODD, BAND, ARROW = "#444444", "#D55E00", "#B8BEC4", "#0072B2"
_TAG: Mapping[str, Any] = {
    "fontsize": 8.5,
    "color": "white",
    "bbox": {"boxstyle": "round,pad=0.3", "fc": ARROW, "ec": "none"},
}
_AS_IT_IS: Mapping[str, Any] = {"parse_math": False}  # a job may have a $ in its name
_SIZES = {"ratio": (100.0, "%"), "Hz": (1e-6, "MHz"), "bytes": (2.0**-30, "GiB")}


@dataclass(frozen=True, slots=True)
class PathTitle:
    """What stands above the panels: the answer, of which nature it is, and what it is about."""

    answer: str
    nature: str
    about: str


def path_png(title: PathTitle, hops: Sequence[HopSeries]) -> bytes:
    """Return the picture; times are UTC. Takes matplotlib, about a second."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # heavy
    from matplotlib.figure import Figure  # noqa: PLC0415  # heavy

    height = HEAD_INCHES + FOOT_INCHES + PANEL_INCHES * len(hops)
    figure: Any = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    panels = figure.subplots(len(hops), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(
        left=LEFT,
        right=RIGHT,
        top=1 - HEAD_INCHES / height,
        bottom=FOOT_INCHES / height,
        hspace=GAP,
    )
    for axes, hop in zip(panels, hops, strict=True):
        _draw(axes, hop)
    times = np.concatenate([hop.time_s for hop in hops])
    if times.size:
        panels[0].set_xlim(*utc([times.min(), times.max()]))
        _dates(panels[-1])
    for axes, word in ((panels[0], "cause"), (panels[-1], "symptom"))[: len(hops)]:
        axes.text(0.006, 0.9, word, transform=axes.transAxes, va="top", **_TAG)
    for number in range(len(hops) - 1):
        _connect(figure, panels[number : number + 2], hops[number : number + 2])
    figure.align_ylabels(panels)
    _head(figure, title, height)
    out = io.BytesIO()
    canvas.print_png(out)
    return out.getvalue()


def _head(figure: Any, title: PathTitle, height: float) -> None:
    answer = textwrap.shorten(say_short(title.answer), MOST_OF_AN_ANSWER, placeholder=" ...")
    about = textwrap.shorten(say_short(title.about), MOST_OF_A_LINE, placeholder=" ...")
    figure.text(0.02, 1 - 0.3 / height, answer, fontsize=11.5, weight="bold", **_AS_IT_IS)
    figure.text(0.02, 1 - 0.53 / height, title.nature, fontsize=9, **_AS_IT_IS)
    figure.text(0.02, 1 - 0.73 / height, about, fontsize=9, color="#555555", **_AS_IT_IS)


def _draw(axes: Any, hop: HopSeries) -> None:
    scale, unit = _scale(hop)
    when, value = utc(hop.time_s), scale * hop.value
    lower, upper = scale * hop.lower, scale * hop.upper
    if math.isfinite(lower):
        axes.axhspan(lower, upper, color=BAND, alpha=0.45, lw=0)
    axes.plot(when, value, color=CALM, lw=1.1)
    if hop.began_s is not None:
        after = hop.time_s >= hop.began_s
        axes.plot(utc(hop.time_s[after]), value[after], color=ODD, lw=1.6)
        axes.axvline(utc([hop.began_s])[0], color=ODD, lw=0.9, ls=(0, (4, 3)))
    axes.set_ylim(*_range(value, lower, upper))
    axes.set_ylabel(unit, fontsize=9)
    where = say_short(say_target(hop.target))
    axes.set_title(f"{where}: {hop.text}", loc="left", fontsize=9.5, pad=4, **_AS_IT_IS)
    axes.set_title(_in_short(hop), loc="right", fontsize=9, color=ODD, pad=4)
    axes.tick_params(labelsize=8)
    axes.locator_params(axis="y", nbins=3)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    if not np.isfinite(value).any():
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no reading", transform=axes.transAxes, ha="center", color="#777777")


def _connect(figure: Any, panels: Sequence[Any], hops: Sequence[HopSeries]) -> None:
    """Draw an arrow from one panel to the next, from onset to onset where both are known."""
    from matplotlib.patches import ConnectionPatch  # noqa: PLC0415  # heavy

    known = [hop.began_s for hop in hops]
    xs = [0.5 if s is None else panels[0].convert_xunits(utc([s])[0]) for s in known]
    if None in known:
        xs = [0.5, 0.5]
    systems = [axes.transAxes if None in known else axes.get_xaxis_transform() for axes in panels]
    figure.add_artist(
        ConnectionPatch(
            xyA=(xs[0], 0.0),
            coordsA=systems[0],
            xyB=(xs[1], ABOVE_TITLE),
            coordsB=systems[1],
            arrowstyle="-|>",
            mutation_scale=13,
            lw=1.6,
            color=ARROW,
            zorder=10,
        )
    )


def _dates(axes: Any) -> None:
    date_axis(axes, most_ticks=MOST_TICKS)
    axes.xaxis.get_offset_text().set_fontsize(8)
    note = "time (UTC); grey: the band of normal times; dashed: when the reading left it"
    axes.set_xlabel(note, fontsize=8.5)


def _in_short(hop: HopSeries) -> str:
    """Return from what to what it moved, in the words of the explanation, and since when."""
    change = say_change(hop.metric, hop.usual, hop.level)
    began = "" if hop.began_s is None else f"from {say_clock(hop.began_s)} on"
    return ", ".join(filter(None, (change, began)))


def _range(value: Floats, lower: float, upper: float) -> tuple[float, float]:
    ends = np.array([*value, lower, upper])
    ends = ends[np.isfinite(ends)]
    low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 1.0)
    room = MARGIN * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def _scale(hop: HopSeries) -> tuple[float, str]:
    """Return what to multiply readings with, and the unit that they are in then."""
    known = CATALOG.get(hop.metric)
    unit = known.unit if known else ""
    if known and known.counter and unit != "bytes":
        return 60.0, "a minute"
    return _SIZES.get(unit, (1.0, unit))
