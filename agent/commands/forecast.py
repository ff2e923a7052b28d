"""``gpumedic forecast``: when the series in a file cross their limits."""

import asyncio
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.console import AsJson, at, err, print_json, say, write_plot
from agent.commands.options import seconds
from core.durations import lasting

if TYPE_CHECKING:
    from agent.collect.table import Table
    from agent.forecast_file import FileForecast
    from agent.forecast_table import Question
    from agent.view import ForecastView

# What a forecaster cannot do without, and the base install has not.
NEEDS = {"pool": "numba", "fleet-prophet": "numba", "prophet": "prophet"}


class Side(StrEnum):
    """The side of the limit that is bad."""

    ABOVE = "above"
    BELOW = "below"


class ModelName(StrEnum):
    """Which forecaster answers."""

    POOL = "pool"
    FLEET_PROPHET = "fleet-prophet"
    PROPHET = "prophet"


def _finite(number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no limit: give a number such as 0.9")
    return number


def forecast(
    file: Annotated[Path, typer.Option("--file", help="A CSV or Parquet file.")],
    column: Annotated[
        str | None, typer.Option("--column", help="One column. [default: every column of numbers]")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Which ones: 'gpu*', or '/gpu[0-3]$/'.")
    ] = None,
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
    model: Annotated[ModelName, typer.Option(help="Which forecaster.")] = ModelName.POOL,
    worst: Annotated[int, typer.Option(min=1, help="How many series to print and plot.")] = 10,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw into this PNG, or one each into a folder.")
    ] = None,
    bands: Annotated[
        Path | None, typer.Option("--out", help="Write all bands into this .parquet or .csv.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forecast the columns of a CSV or Parquet file: which cross a limit, when, how surely."""
    from agent.collect.table import read_series
    from agent.commands.forecast_many import many

    asked = _question(horizon, coverage, limit, side=side, model=model)
    if column is not None and columns is not None:
        raise typer.BadParameter("give --column or --columns, not both", param_hint="--columns")
    _need(NEEDS[model])
    with err.status(f"Reading {file} ..."):
        table = read_series(file, column=column, columns=columns, time_column=time_column)
    if len(table.names) == 1 and bands is None:
        _one(table, asked, plot=plot, as_json=as_json)
    else:
        many(table, asked, worst=worst, plot=plot, bands=bands, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Start here")(forecast)


def _question(
    horizon: str, coverage: float, limit: float | None, *, side: Side | None, model: ModelName
) -> "Question":
    from agent.forecast_table import Question
    from core.units import Bad
    from detectors.forecast.task import Model

    horizon_s = seconds(horizon, "--horizon")
    if horizon_s <= 0:
        raise typer.BadParameter(f"{horizon!r} looks no time ahead", param_hint="--horizon")
    return Question(
        horizon_s=horizon_s,
        coverage=coverage,
        limit=limit,
        bad=None if side is None else Bad.HIGH if side is Side.ABOVE else Bad.LOW,
        model=Model(model),
    )


def _need(package: str) -> None:
    """Say so before a worker does, where the base install is all there is."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(name=package)


def _one(table: "Table", asked: "Question", *, plot: Path | None, as_json: bool) -> None:
    from core.codec import to_json

    with err.status("Forecasting ..."):
        found, view = asyncio.run(_fit(table, asked))
    if plot is not None:
        from agent.plot import forecast_png

        write_plot(plot, forecast_png(view))
    notes = (*table.notes, *found.notes)
    if as_json:
        print_json({**to_json(found), **_moments(found), "notes": list(notes)})
    else:
        _print(found, notes)


async def _fit(table: "Table", asked: "Question") -> "tuple[FileForecast, ForecastView]":
    from agent.commands.forecast_many import FIT_LIMIT_S, FIT_MEMORY_BYTES
    from agent.forecast_file import forecast_series
    from agent.workers import WorkerPool

    async with WorkerPool(1, time_limit_s=FIT_LIMIT_S, memory_bytes=FIT_MEMORY_BYTES) as pool:
        return await forecast_series(
            table.time_s, table.value[0], asked, pool=pool, name=table.names[0]
        )


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
    lines.append(f"Model: {found.model}; skill against naive {skill} (1 is perfect).")
    for line in lines:
        say(line)
    for note in notes:
        say(f"note: {note}", style="dim")
