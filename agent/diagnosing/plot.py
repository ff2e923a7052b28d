"""Draws what ``gpumedic diagnose`` found: the path as arrows above, the series along it below."""

import io
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from agent.axes import date_axis, short, utc
from agent.diagnosing.panels import BAND_SHARE, Panel, panels_of
from core.types import Floats
from rca.frames.answer import Answer, Suspect
from rca.frames.inputs import Tables

WIDTH_INCHES, PANEL_INCHES, DPI = 10.0, 1.3, 120
HEAD_INCHES, STRIP_INCHES, FOOT_INCHES = 0.72, 0.78, 0.78
LEFT, RIGHT = 0.085, 0.965  # of the picture's width
NORMAL_WIDTH, ABNORMAL_WIDTH = 1.3, 1.0
BETWEEN = 0.62  # of a panel's height, for the title of the next one
EDGE = 0.1  # of the strip's width, from its end to the middle of its first box
MOST_BOXES, MOST_TICKS, MARGIN = 6, 7, 0.1
MOST_OF_A_NAME, MOST_OF_A_TITLE, MOST_OF_A_LINE = 20, 58, 96
FEW = 40  # readings that are also drawn as points
GAP_STEPS = 5.0  # a longer way between two readings is drawn as a gap
ALONE_S = 60.0  # what is shown on both sides of a lone reading
# Okabe and Ito's palette: apart for colour-blind eyes too.
CALM, ODD, BAND, LINK, INK, SOFT = "#666666", "#D55E00", "#B8BEC4", "#0072B2", "#222222", "#555555"


def answer_png(tables: Tables, answer: Answer) -> bytes:
    """Return the picture; times are UTC. Takes matplotlib, about a second."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # heavy
    from matplotlib.figure import Figure  # noqa: PLC0415  # heavy

    panels = panels_of(tables, answer)
    above = HEAD_INCHES + STRIP_INCHES * bool(answer.named)
    height = above + PANEL_INCHES * len(panels) + FOOT_INCHES
    figure: Any = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    rows = figure.subplots(
        len(panels),
        2,
        sharex="col",
        sharey="row",
        squeeze=False,
        width_ratios=(NORMAL_WIDTH, ABNORMAL_WIDTH),
        gridspec_kw={
            "left": LEFT,
            "right": RIGHT,
            "top": 1 - (above + 0.25) / height,
            "bottom": FOOT_INCHES / height,
            "hspace": BETWEEN,
            "wspace": 0.03,
        },
    )
    for pair, panel in zip(rows, panels, strict=True):
        _draw(pair, tables, panel)
    for axes, side in zip(rows[-1], ("normal", "abnormal"), strict=True):
        date_axis(axes, most_ticks=MOST_TICKS)
        axes.xaxis.get_offset_text().set_fontsize(8)
        axes.set_xlabel(f"{side} readings, time (UTC)", fontsize=9, loc="left")
    figure.align_ylabels(rows[:, 0])
    if answer.named:
        strip = (LEFT, 1 - above / height, RIGHT - LEFT, STRIP_INCHES / height)
        end = tables.components[tables.component[tables.target]]
        _path(figure.add_axes(strip), answer.suspects[0], end)
    _words(figure, tables, answer, height)
    out = io.BytesIO()
    canvas.print_png(out)
    return out.getvalue()


def _words(figure: Any, tables: Tables, answer: Answer, height: float) -> None:
    """Write the answer above, and how to read the panels below."""
    first = answer.suspects[0]
    said = f"Most suspect: {first.name}, p = {first.probability:.2f}"
    said = short(said, MOST_OF_A_LINE) if answer.named else "No root cause is named"
    figure.text(LEFT, 1 - 0.32 / height, said, fontsize=12, weight="bold", color=INK)
    noticed = short(tables.columns[tables.target], MOST_OF_A_LINE // 2)
    about = (
        f"trouble noticed in {noticed}; probability that nothing is wrong: {answer.no_fault:.2f}"
    )
    figure.text(LEFT, 1 - 0.56 / height, about, fontsize=9, color=SOFT)
    legend = (
        f"grey: normal, and the band of {BAND_SHARE:.0%} of it; orange: abnormal; dashed: from "
        "where on most readings lie outside the band"
    )
    figure.text(LEFT, 0.14 / height, legend, fontsize=8.5, color=SOFT)


def _path(axes: Any, suspect: Suspect, end: str) -> None:
    """Draw the way from a suspect to the target's component as boxes and arrows.

    A dashed arrow stands for a way that the graph does not know.
    """
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    known = suspect.path[-1:] == (end,)
    names = _fewer(suspect.path if known else (suspect.name, end))
    boxes = [
        _box(axes, name, at, first=number == 0, last=number == len(names) - 1)
        for number, (name, at) in enumerate(zip(names, _places(len(names)), strict=True))
    ]
    for cause, effect in pairwise(boxes):
        axes.annotate(
            "",
            xy=(0, 0.5),
            xycoords=effect.get_bbox_patch(),
            xytext=(1, 0.5),
            textcoords=cause.get_bbox_patch(),
            arrowprops={
                "arrowstyle": "-|>",
                "mutation_scale": 15,
                "color": LINK,
                "lw": 1.6,
                "ls": "-" if known else "--",
                "shrinkA": 2,
                "shrinkB": 2,
            },
        )


def _box(axes: Any, name: str, at: float, *, first: bool, last: bool) -> Any:
    edge = ODD if first else INK if last else LINK
    text = axes.text(
        at,
        0.55,
        short(name, MOST_OF_A_NAME),
        fontsize=9.5,
        ha="center",
        va="center",
        color="white" if first else INK,
        bbox={"boxstyle": "round,pad=0.45", "fc": ODD if first else "white", "ec": edge, "lw": 1.4},
    )
    role = "suspect; noticed here" if first and last else "suspect" if first else ""
    axes.text(
        at, 0.08, role or ("noticed here" if last else ""), fontsize=8, ha="center", color=SOFT
    )
    return text


def _places(count: int) -> Sequence[float]:
    """Return where on the strip the middles of boxes stand; a lone one near its left end."""
    return [EDGE + (1 - 2 * EDGE) * number / max(count - 1, 1) for number in range(count)]


def _fewer(path: Sequence[str]) -> tuple[str, ...]:
    """Cut the middle out of a path that has no room."""
    if len(path) <= MOST_BOXES:
        return tuple(path)
    half = (MOST_BOXES - 1) // 2
    left_out = len(path) - 2 * half
    return (*path[:half], f"... {left_out} more ...", *path[-half:])


def _draw(pair: Sequence[Any], tables: Tables, panel: Panel) -> None:
    """Draw one column: its normal readings on the left, its abnormal ones on the right."""
    sides = ((tables.normal_s, panel.normal, CALM), (tables.abnormal_s, panel.abnormal, ODD))
    for axes, (time_s, value, colour) in zip(pair, sides, strict=True):
        if panel.band is not None:
            axes.axhspan(*panel.band, color=BAND, alpha=0.4, lw=0)
        marker = "o" if np.isfinite(value).sum() < FEW else ""
        axes.plot(*_with_gaps(time_s, value), color=colour, lw=1.2, marker=marker, ms=3)
        if not np.isfinite(value).any():
            axes.text(0.5, 0.5, "not scraped", transform=axes.transAxes, ha="center", color=SOFT)
        axes.grid(alpha=0.2)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    left, right = pair
    right.spines["left"].set_visible(False)
    right.tick_params(axis="y", length=0)
    if panel.onset_s is not None:
        right.axvline(utc([panel.onset_s])[0], color=ODD, lw=1.0, ls=(0, (4, 3)))
    if len(tables.abnormal_s) == 1:
        right.set_xlim(*utc(tables.abnormal_s + np.array([-ALONE_S, ALONE_S])))
    left.set_ylim(*panel.range(MARGIN))
    left.locator_params(axis="y", nbins=4)
    left.set_ylabel(panel.unit or "reading", fontsize=8.5)
    left.set_title(short(panel.name, MOST_OF_A_TITLE), loc="left", fontsize=9.5, pad=4)
    right.set_title(panel.said, loc="right", fontsize=9, color=SOFT, pad=4)


def _with_gaps(time_s: Floats, value: Floats) -> tuple[list[datetime], Floats]:
    """Return the readings to join by a line, with a NaN where they are unusually far apart."""
    known = np.isfinite(value)
    time_s, value = time_s[known], value[known]
    if len(time_s) < 2:
        return utc(time_s), value
    apart_s = np.diff(time_s)
    after = np.flatnonzero(apart_s > GAP_STEPS * np.median(apart_s)) + 1
    return utc(np.insert(time_s, after, time_s[after])), np.insert(value, after, np.nan)
