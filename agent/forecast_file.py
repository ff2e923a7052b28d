"""Forecasts one series from a file: puts any times and values on a grid and says what it did."""

import math
from dataclasses import dataclass

from agent.even_grid import Tidied, tidy
from agent.forecast_table import Question, TableForecast, Workers, forecast_table
from agent.view import ForecastView
from core.errors import InputError
from core.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class FileForecast:
    """The answer for one column; ``core.codec.to_json`` makes it JSON.

    readings:   usable ones, on a grid of ``step_s`` seconds
    crosses:    ``above`` or ``below``, the side of the limit that counts; "" without a limit
    probability, expected_s, earliest_s, latest_s: of the crossing within the horizon, its median
                and 80 % interval; None without a limit or where it is not expected
    skill:      1 - error / error of the better naive on the back-test
    notes:      what was done to the rows, and what the models said
    """

    name: str
    readings: int
    step_s: float
    made_at_s: float
    value: float
    horizon_s: float
    limit: float | None
    crosses: str
    probability: float | None
    expected_s: float | None
    earliest_s: float | None
    latest_s: float | None
    model: str
    skill: float
    coverage: float
    notes: tuple[str, ...]
    time_s: Floats
    mean: Floats
    lower: Floats
    upper: Floats


async def forecast_series(
    time_s: Floats, value: Floats, asked: Question, *, pool: Workers, name: str
) -> tuple[FileForecast, ForecastView]:
    """Forecast one series; the second value is for a plot.

    time_s, value: (N,) rows in any order, with NaN, gaps and duplicates as they come
    InputError says what is missing; WorkerFailed where the fit itself went wrong.
    """
    rows = tidy(time_s, value[None], name=name)
    if len(rows.time_s) < 2:
        raise InputError(
            f"Forecasting {name}: found {len(rows.time_s)} usable readings, need half an hour of "
            "them. Give it a file with more."
        )
    found = await forecast_table((name,), rows.time_s, rows.value, asked, pool=pool)
    if not found.made[0]:
        readings, needed = int(found.readings[0]), found.needed
        raise InputError(
            f"Forecasting {name}: found {readings} usable readings, need at least {needed}. "
            f"Give it a file with {needed - readings} more."
        )
    return _answer(name, rows, found, asked), found.view(0, rows.time_s, rows.value[0])


def _answer(name: str, rows: Tidied, found: TableForecast, asked: Question) -> FileForecast:
    made, seen = found.forecast, found.crossings
    probability, limit = float(seen.probability[0]), float(found.limit[0])
    limited = math.isfinite(limit)
    crossed = limited and probability > 0 and math.isfinite(seen.expected_s[0])
    return FileForecast(
        name=name,
        readings=int(found.readings[0]),
        step_s=float(rows.time_s[1] - rows.time_s[0]),
        made_at_s=made.made_at_s,
        value=float(found.value[0]),
        horizon_s=asked.horizon_s,
        limit=limit if limited else None,
        crosses=("below" if found.below[0] else "above") if limited else "",
        probability=probability if limited else None,
        expected_s=float(seen.expected_s[0]) if crossed else None,
        earliest_s=float(seen.earliest_s[0]) if crossed else None,
        latest_s=float(seen.latest_s[0]) if crossed else None,
        model=made.model[0],
        skill=float(made.skill[0]),
        coverage=made.coverage,
        notes=(*rows.notes, *found.notes.get(0, ())),
        time_s=made.time_s,
        mean=made.mean[0],
        lower=made.lower[0],
        upper=made.upper[0],
    )
