"""What is told of a table's forecast: rows for people, JSON, a file of bands, and plots."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.even_grid import Values
from agent.forecast_table import TableForecast
from core.errors import InputError
from core.types import Floats, Ints

if TYPE_CHECKING:
    import pyarrow

# Series whose bands are turned into rows of a file at once.
PART = 2048
PLOT_ENDING = ".png"


def row_of(found: TableForecast, row: int) -> dict[str, Any]:
    """Return one series as JSON has it, without its band; None for what is not known."""
    seen, limited = found.crossings, bool(np.isfinite(found.limit[row]))
    numbers = {
        "value": found.value[row],
        "limit": found.limit[row],
        "probability": seen.probability[row],
        "expected_s": seen.expected_s[row],
        "earliest_s": seen.earliest_s[row],
        "latest_s": seen.latest_s[row],
        "skill": found.forecast.skill[row],
    }
    return {
        "name": found.names[row],
        "readings": int(found.readings[row]),
        **{name: _finite(float(number)) for name, number in numbers.items()},
        "crosses": ("below" if found.below[row] else "above") if limited else "",
        "model": found.forecast.model[row],
        "notes": list(found.notes.get(row, ())),
    }


def json_lines(found: TableForecast, order: Ints, about: dict[str, Any]) -> Iterator[str]:
    """Yield one JSON document, a line a series: ``about``, and all series in an order."""
    head = json.dumps(about, allow_nan=False)
    yield f'{head[:-1]}, "series": [\n'
    for number, row in enumerate(order.tolist(), 1):
        end = "\n" if number == len(order) else ",\n"
        yield json.dumps(row_of(found, row), allow_nan=False) + end
    yield "]}\n"


def write_bands(found: TableForecast, path: Path) -> None:
    """Write mean, lower and upper of every forecast as Parquet or CSV, a row a series and time.

    InputError where the ending is neither, or the file cannot be written.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  # heavy
    from pyarrow import csv  # noqa: PLC0415  # heavy

    writers = {".parquet": pq.ParquetWriter, ".csv": csv.CSVWriter}
    open_writer = writers.get(path.suffix)
    if open_writer is None:
        raise InputError(
            f"writing the forecasts to {path}: its ending is neither .parquet nor .csv. Name a "
            "file with one of them."
        )
    rows = np.flatnonzero(found.made)
    try:
        with open_writer(str(path), _bands(found, rows[:0]).schema) as writer:
            for start in range(0, len(rows), PART):
                writer.write_table(_bands(found, rows[start : start + PART]))
    except OSError as error:
        raise InputError(
            f"writing the forecasts to {path}: {error.strerror or error}. Name a file in a folder "
            "you may write."
        ) from error


def _bands(found: TableForecast, rows: Ints) -> "pyarrow.Table":
    import pyarrow as pa  # noqa: PLC0415  # heavy

    made, steps = found.forecast, len(found.forecast.time_s)
    time_us = np.tile(np.rint(1e6 * made.time_s).astype(np.int64), len(rows))
    names = pa.array([found.names[row] for row in rows], pa.string())
    columns = {
        "series": names.take(pa.array(np.repeat(np.arange(len(rows)), steps))),
        "time": pa.array(time_us, pa.timestamp("us", "UTC")),
    }
    bands = {"mean": made.mean, "lower": made.lower, "upper": made.upper}
    return pa.table(columns | {name: pa.array(band[rows].ravel()) for name, band in bands.items()})


def write_plots(
    found: TableForecast, time_s: Floats, value: Values, *, rows: Sequence[int], path: Path
) -> tuple[Path, ...]:
    """Draw some series: into one PNG, small, or one each into a folder; return the files."""
    from agent.plot import forecast_png, forecasts_png  # noqa: PLC0415  # heavy

    if path.suffix not in ("", PLOT_ENDING) and not path.is_dir():
        raise InputError(
            f"Writing the plot to {path}: only {PLOT_ENDING} is drawn. Name a file that ends in "
            "it, or a folder."
        )
    views = [found.view(row, time_s, value[row].astype(np.float64)) for row in rows]
    try:
        if path.suffix == PLOT_ENDING:
            path.write_bytes(forecasts_png(views))
            return (path,)
        path.mkdir(parents=True, exist_ok=True)
        files = []
        for number, view in enumerate(views, 1):
            files.append(path / f"{number:03d}{_file_name(view.metric)}{PLOT_ENDING}")
            files[-1].write_bytes(forecast_png(view))
    except OSError as error:
        raise InputError(
            f"Writing the plot to {path}: {error.strerror}. Name a file that ends in "
            f"{PLOT_ENDING}, or a folder, where you may write."
        ) from error
    return tuple(files)


def _file_name(name: str) -> str:
    """Return a name as part of a file's, "" where nothing of it is left."""
    kept = "".join(letter if letter.isalnum() or letter in "_-." else "-" for letter in name)
    return f"-{kept.strip('-')[:80]}" if kept.strip("-") else ""


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
