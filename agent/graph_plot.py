"""Draws the links between metrics as a PNG: causes on the left, effects on the right."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from core.target import TargetKind
from core.units import CATALOG
from rca.graph.templates import Provenance, Template, order

COLUMN_INCHES, ROW_INCHES, DPI = 2.3, 0.6, 100
MARGIN_INCHES = 0.5
LETTER_INCHES, PAD_INCHES = 0.06, 0.07  # of a name at 7.5 points, and on each side of its box
_SWEEPS = 12  # of putting each metric beside what it is linked with
# Okabe and Ito's palette: apart for colour-blind eyes too.
_RAISES, _LOWERS, _LEARNED = "#0072B2", "#D55E00", "#009E73"
_FILL: Mapping[TargetKind, str] = {
    TargetKind.GPU: "#DCEBF7",
    TargetKind.NODE: "#F3E9D2",
    TargetKind.PORT: "#E5E0F2",
    TargetKind.VOLUME: "#E3F1E0",
    TargetKind.RANK: "#FBE3E0",
    TargetKind.JOB: "#EDEDED",
}


def graph_png(links: Sequence[Template]) -> bytes:
    """Return the picture: blue raises, orange lowers, dashed is feedback. Takes matplotlib, 1 s."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # heavy
    from matplotlib.figure import Figure  # noqa: PLC0415  # heavy

    place = places(links)
    wide = 1 + max(x for x, _ in place.values())
    high = 1 + max(y for _, y in place.values())
    size = (wide * COLUMN_INCHES + MARGIN_INCHES, high * ROW_INCHES + 3 * MARGIN_INCHES)
    figure: Any = Figure(figsize=size, dpi=DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.55, wide - 0.45)
    axes.set_ylim(high + 0.2, -1.8)
    axes.axis("off")
    for link in links:
        _arrow(axes, place, link)
    for metric, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.3", "fc": _FILL[CATALOG[metric].scope], "ec": "#888888"}
        axes.text(x, y, metric, ha="center", va="center", fontsize=7.5, bbox=box, zorder=3)
    _legend(axes, links)
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue()


def places(links: Sequence[Template]) -> dict[str, tuple[float, float]]:
    """Return each metric's column, right of all its causes, and its row within all columns."""
    forward = [link for link in links if not link.feedback]
    names = {name for link in links for name in (link.cause, link.effect)}
    column: dict[str, int] = {}
    for name in order(names, forward):
        above = [column[link.cause] for link in forward if link.effect == name]
        column[name] = 1 + max(above, default=-1)
    rows = {at: [n for n in column if column[n] == at] for at in range(1 + max(column.values()))}
    for _ in range(_SWEEPS):
        _settle(rows, forward)
    most = max(len(row) for row in rows.values())
    return {
        name: (float(at), (number + 0.5) * most / len(row) - 0.5)
        for at, row in rows.items()
        for number, name in enumerate(row)
    }


def _settle(rows: dict[int, list[str]], links: Sequence[Template]) -> None:
    """Order each column by the mean height of what its metrics are linked with."""
    height = {
        name: (number + 0.5) / len(row) for row in rows.values() for number, name in enumerate(row)
    }
    near: dict[str, list[str]] = {name: [name] for name in height}
    for link in links:
        near[link.cause].append(link.effect)
        near[link.effect].append(link.cause)
    for row in rows.values():
        row.sort(key=lambda name: sum(height[other] for other in near[name]) / len(near[name]))


def _arrow(axes: Any, place: Mapping[str, tuple[float, float]], link: Template) -> None:
    here, there = place[link.cause], place[link.effect]
    way = 1 if here[0] < there[0] else -1
    learned = link.provenance is Provenance.LEARNED
    colour = _LEARNED if learned else _RAISES if link.sign > 0 else _LOWERS
    axes.annotate(
        "",
        xy=(there[0] - way * _half(link.effect), there[1]),
        xytext=(here[0] + way * _half(link.cause), here[1]),
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "alpha": 0.35 + 0.5 * link.strength,
            "linewidth": 2.2 if link.barrier else 0.6 + 0.8 * link.strength,
            "linestyle": "--" if link.feedback else "-",
            "shrinkA": 0,
            "shrinkB": 0,
            "connectionstyle": f"arc3,rad={0.18 if link.feedback else 0.04}",
        },
        zorder=2,
    )


def _half(name: str) -> float:
    """Return half the width of a name's box, in columns."""
    return (LETTER_INCHES * len(name) / 2 + PAD_INCHES) / COLUMN_INCHES


def _legend(axes: Any, links: Sequence[Template]) -> None:
    text = "blue raises · orange lowers · green learned · pale seldom acts\n"
    text += "thick barrier · dashed feedback, no part of the graph"
    axes.text(-0.5, -1.35, f"{len(links)} causal links", fontsize=13, weight="bold")
    axes.text(-0.5, -1.25, text, fontsize=8.5, color="#444444", va="top")
