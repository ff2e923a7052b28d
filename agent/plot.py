"""Draws forecasts as a PNG: history, band, limit and where they are expected to meet."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from agent.axes import date_axis, short, utc
from agent.forecast_table import catalogued
from agent.view import ForecastView
from core.target import Target

INCHES, DPI = (10.0, 5.0), 120
SMALL_INCHES, LEGEND_INCHES = (6.5, 2.3), 0.4
MOST_TICKS = 7
MOST_OF_A_NAME = 64
# Okabe and Ito's palette: apart for colour-blind eyes too.
HISTORY, AHEAD, LIMIT, CROSSING = "#222222", "#0072B2", "#D55E00", "#009E73"
# What is ahead fills at least this share of the picture, however long the history is.
AHEAD_SHARE = 0.3
# A crossing that comes early in the horizon is drawn with this many times its distance.
FURTHER = 2.0
MARGIN = 0.06
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def forecast_png(view: ForecastView) -> bytes:
    """Return the picture of one forecast; times are UTC. Takes matplotlib, about half a second."""
    figure, canvas = _figure(INCHES)
    axes: Any = figure.add_subplot()
    _draw(axes, view)
    axes.set_xlabel("time (UTC)")
    axes.set_ylabel(_quantity(view))
    scored = f"\n{_skill(view)}" if _skill(view) else ""
    axes.set_title(f"{_name(view)}{scored}", loc="left", fontsize=11)
    figure.legend(loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    return _png(canvas)


def forecasts_png(views: Sequence[ForecastView]) -> bytes:
    """Return small pictures of several forecasts, in reading order, with one legend."""
    columns = 1 if len(views) == 1 else 2
    rows = -(-len(views) // columns)
    figure, canvas = _figure((SMALL_INCHES[0] * columns, SMALL_INCHES[1] * rows + LEGEND_INCHES))
    labels: dict[str, Any] = {}
    for number, view in enumerate(views, 1):
        axes: Any = figure.add_subplot(rows, columns, number)
        _draw(axes, view, small=True)
        axes.set_title(short(_name(view), MOST_OF_A_NAME), loc="left", fontsize=9)
        axes.set_title(_in_short(view), loc="right", fontsize=8, color="#555555")
        axes.tick_params(labelsize=8)
        axes.xaxis.get_offset_text().set_fontsize(8)
        axes.set_ylabel(_scale(view)[1], fontsize=8)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            # Series may have different models and limits; what the lines are is the same.
            general = "limit" if label.startswith("limit ") else label.partition(" (")[0]
            labels.setdefault(general, handle)
    figure.legend(
        list(labels.values()),
        list(labels),
        loc="outside lower center",
        ncols=5,
        fontsize=9,
        frameon=False,
    )
    return _png(canvas)


def _figure(inches: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # heavy
    from matplotlib.figure import Figure  # noqa: PLC0415  # heavy

    figure = Figure(figsize=inches, dpi=DPI, layout="constrained")
    return figure, FigureCanvasAgg(figure)


def _png(canvas: Any) -> bytes:
    out = io.BytesIO()
    canvas.print_png(out)
    return out.getvalue()


def _draw(axes: Any, view: ForecastView, *, small: bool = False) -> None:
    axes.set_xlim(*utc(np.array(_span_s(view))))
    axes.set_ylim(*_range(view))
    _draw_series(axes, view)
    _draw_limit(axes, view, small=small)
    date_axis(axes, most_ticks=MOST_TICKS)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_series(axes: Any, view: ForecastView) -> None:
    made, (scale, _) = view.forecast, _scale(view)
    recent = view.history_time_s >= _span_s(view)[0]
    past = utc(view.history_time_s[recent])
    axes.plot(past, scale * view.history_value[recent], color=HISTORY, lw=1.2, label="measured")
    ahead = utc(made.time_s)
    band = f"{made.coverage:.0%} band"
    lower, upper = scale * made.lower[0], scale * made.upper[0]
    axes.fill_between(ahead, lower, upper, color=AHEAD, alpha=0.2, lw=0, label=band)
    axes.plot(ahead, scale * made.mean[0], color=AHEAD, lw=1.6, label=f"forecast ({made.model[0]})")
    axes.axvline(utc(np.array([made.made_at_s]))[0], color="#888888", lw=0.8, ls=":")


def _draw_limit(axes: Any, view: ForecastView, *, small: bool) -> None:
    if math.isnan(view.limit):
        return
    scale, unit = _scale(view)
    limit = scale * view.limit
    axes.axhline(limit, color=LIMIT, lw=1.4, ls="--", label=f"limit {limit:.4g} {unit}".rstrip())
    if view.expected_s is None:
        return
    when = utc(np.array([view.expected_s]))[0]
    axes.plot([when], [limit], "o", color=CROSSING, ms=5 if small else 9, zorder=5)
    axes.axvline(when, color=CROSSING, lw=1.0, ls="-.", label="expected crossing")
    # Beside the line and away from the limit, where the curves are not.
    begin_s, end_s = _span_s(view)
    left = view.expected_s > (begin_s + end_s) / 2
    low, high = _range(view)
    below = limit > (low + high) / 2
    axes.annotate(
        f"{when:%H:%M:%S} UTC" + ("" if small else f"\nprobability {view.probability:.0%}"),
        (when, low if below else high),
        xytext=(-8 if left else 8, 8 if below else -8),
        textcoords="offset points",
        ha="right" if left else "left",
        va="bottom" if below else "top",
        color=CROSSING,
        fontweight="bold",
        fontsize=8 if small else 10,
    )


def _name(view: ForecastView) -> str:
    where = "" if view.target == Target() else f" of {view.target}"
    return f"{view.metric}{where}"


def _skill(view: ForecastView) -> str:
    skill = float(view.forecast.skill[0])
    return f"skill against naive {skill:.2f}" if math.isfinite(skill) else ""


def _in_short(view: ForecastView) -> str:
    """Return what a small picture says beside its name."""
    skill = float(view.forecast.skill[0])
    scored = f"skill {round(skill, 2) + 0.0:.2f}" if math.isfinite(skill) else ""
    likely = f"p = {view.probability:.2f}" if math.isfinite(view.probability) else ""
    return ", ".join(filter(None, (likely, scored)))


def _quantity(view: ForecastView) -> str:
    known = catalogued(view.metric)
    text = known.text if known else short(view.metric, MOST_OF_A_NAME)
    unit = _scale(view)[1]
    return f"{text}, {unit}" if unit else text


def _span_s(view: ForecastView) -> tuple[float, float]:
    """Return from when to when to draw: up to the horizon, or as far again as the crossing is.

    History that would leave what is ahead too narrow to read is cut.
    """
    now_s, end_s = view.forecast.made_at_s, float(view.forecast.time_s[-1])
    if view.expected_s is not None:
        least_s = now_s + 10 * float(view.forecast.time_s[0] - now_s)
        end_s = min(end_s, max(least_s, now_s + FURTHER * (view.expected_s - now_s)))
    longest_s = (end_s - now_s) * (1 - AHEAD_SHARE) / AHEAD_SHARE
    return max(float(view.history_time_s[0]), now_s - longest_s), end_s


def _range(view: ForecastView) -> tuple[float, float]:
    """Return the readings to draw: history, limit and forecast, and the band as far as it fits."""
    scale, (begin_s, end_s) = _scale(view)[0], _span_s(view)
    ahead = view.forecast.time_s <= end_s
    shown = view.history_value[view.history_time_s >= begin_s]
    values = np.concatenate([shown, view.forecast.mean[0][ahead], [view.limit]])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = (high - low) or abs(high) or 1.0
    lowest, highest = view.forecast.lower[0][ahead].min(), view.forecast.upper[0][ahead].max()
    low, high = max(low - room / 2, min(low, lowest)), min(high + room / 2, max(high, highest))
    return scale * (low - MARGIN * room), scale * (high + MARGIN * room)


def _scale(view: ForecastView) -> tuple[float, str]:
    """Return what to multiply readings with, and the unit that they are in then."""
    if view.unit == "ratio":
        return 100.0, "%"
    if view.unit == "bytes":
        most = float(np.nanmax(np.abs(view.history_value)))
        power = min(len(_BYTES) - 1, max(0, int(math.log2(max(most, 1.0)) // 10)))
        return 2.0 ** (-10 * power), _BYTES[power]
    return (1e-6, "MHz") if view.unit == "Hz" else (1.0, view.unit)
