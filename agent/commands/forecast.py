"""``gpumedic forecast``: when a series in a file crosses its limit."""

import asyncio
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.console import AsJson, at, err, lasting, print_json, say, tell
from agent.commands.options import seconds
from core.units import Bad

if TYPE_CHECKING:
    from agent.collect.csv_series import CsvSeries
    from agent.forecast_file import FileForecast
    from agent.view import ForecastView

FIT_LIMIT_S = 300.0
FIT_MEMORY_BYTES = 4 << 30


class Side(StrEnum):
    """The side of the limit that is bad."""

    ABOVE = "above"
    BELOW = "below"


def _finite(number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no limit: give a number such as 0.9")
    return number


def forecast(
    file: Annotated[Path, typer.Option("--file", help="A CSV file: times and values.")],
    column: Annotated[str, typer.Option("--column", help="The column with the values.")] = "value",
    time_column: Annotated[
        str | None, typer.Option("--time", help="The column with the times; found if left out.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", callback=_finite, help="Crossing it is the news.")
    ] = None,
    side: Annotated[
        Side | None,
        typer.Option(help="The bad side of the limit. [default: where fewer readings are]"),
    ] = None,
    horizon: Annotated[str, typer.Option("--horizon", help="How far ahead, such as 2h.")] = "2h",
    coverage: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Share of readings the band should hold.")
    ] = 0.8,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw it into this PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast a column of a CSV file: when it crosses a limit, how surely, by which model."""
    from agent.collect.csv_series import read_csv_series
    from core.codec import to_json

    horizon_s = seconds(horizon, "--horizon")
    if horizon_s <= 0:
        raise typer.BadParameter(f"{horizon!r} looks no time ahead", param_hint="--horizon")
    _need_prophet()
    series = read_csv_series(file, column, time_column=time_column)
    with err.status("Fitting and back-testing ..."):
        found, view = asyncio.run(
            _fit(series, column, limit, side=side, horizon_s=horizon_s, coverage=coverage)
        )
    if plot is not None:
        _draw(view, plot)
    if as_json:
        print_json({**to_json(found), **_moments(found), "notes": [*series.notes, *found.notes]})
    else:
        _print(found, (*series.notes, *found.notes))


def _need_prophet() -> None:
    """Say so before a worker does, where the base install is all there is."""
    import importlib.util

    if importlib.util.find_spec("prophet") is None:
        raise ModuleNotFoundError(name="prophet")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Start here")(forecast)


async def _fit(
    series: "CsvSeries",
    column: str,
    limit: float | None,
    *,
    side: Side | None,
    horizon_s: float,
    coverage: float,
) -> "tuple[FileForecast, ForecastView]":
    from agent.forecast_file import forecast_series
    from agent.workers import WorkerPool

    async with WorkerPool(1, time_limit_s=FIT_LIMIT_S, memory_bytes=FIT_MEMORY_BYTES) as pool:
        return await forecast_series(
            series.time_s,
            series.value,
            limit=limit,
            horizon_s=horizon_s,
            pool=pool,
            name=column,
            coverage=coverage,
            bad=None if side is None else Bad.HIGH if side is Side.ABOVE else Bad.LOW,
        )


def _draw(view: "ForecastView", path: Path) -> None:
    from agent.plot import forecast_png
    from core.errors import InputError

    try:
        path.write_bytes(forecast_png(view))
    except OSError as error:
        raise InputError(
            f"Writing the plot to {path}: {error.strerror}. Name a file in a folder you may write."
        ) from error
    tell(f"plot: {path}")


def _moments(found: "FileForecast") -> dict[str, str | None]:
    """Return the times people read beside the seconds machines do."""
    seconds_of = {
        "made_at": found.made_at_s,
        "expected": found.expected_s,
        "earliest": found.earliest_s,
        "latest": found.latest_s,
    }
    return {name: None if time_s is None else at(time_s) for name, time_s in seconds_of.items()}


def _print(found: "FileForecast", notes: Sequence[str]) -> None:
    """Say in sentences what the JSON says in keys."""
    lines = [f"{found.name} is {found.value:.4g} at {at(found.made_at_s)}."]
    if found.limit is not None and found.probability is not None:
        lines.append(
            f"It goes {found.crosses} {found.limit:g} within {lasting(found.horizon_s)} "
            f"with p = {found.probability:.2f}."
        )
    if found.expected_s is not None and found.earliest_s is not None:
        ahead = lasting(found.expected_s - found.made_at_s)
        interval = f"{at(found.earliest_s)} to {at(found.latest_s or found.expected_s)}"
        lines.append(f"Expected at {at(found.expected_s)}, in {ahead} (80 %: {interval}).")
    skill = "not scored" if math.isnan(found.skill) else f"{found.skill:+.2f}"
    lines.append(f"Model: {found.model}; skill against seasonal naive {skill} (1 is perfect).")
    for line in lines:
        say(line)
    for note in notes:
        say(f"note: {note}", style="dim")
