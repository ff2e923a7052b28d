"""Forecasts every series of a table in worker processes, in chunks, and ranks them."""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from agent.even_grid import Values
from agent.pace import pace_of, paced, unpaced
from agent.view import ForecastView
from core.errors import WorkerFailed
from core.exporters import OWN_PREFIX
from core.target import Target
from core.types import Floats, Forecast, Ints
from core.units import CATALOG, Bad, Metric
from detectors.forecast.task import Crossings, FleetForecast, ForecastTask, Model

FORECAST = "detectors.forecast.fleet:forecast"
# Series to a call: it takes the time limit and the memory of a worker, and a call that fails
# takes no more than these with it. Prophet's own package is some thousand times slower.
CHUNK = {Model.POOL: 2048, Model.FLEET_PROPHET: 2048, Model.PROPHET: 32}
# What series are of that bear no name of the catalogue.
OTHER = "value"


class Workers(Protocol):
    """Who runs a heavy function elsewhere, such as ``agent.workers.WorkerPool``."""

    async def run(self, function: str, argument: object) -> Any:
        """Return what ``module:function`` makes of the argument; WorkerFailed says why not."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every series.

    limit: None: the catalogue's where a series has a name of it, else none
    bad:   the side of the limit that counts; None: the one where few readings are
    """

    horizon_s: float
    coverage: float = 0.8
    limit: float | None = None
    bad: Bad | None = None
    sustain_s: float = 60.0
    model: Model = Model.POOL


@dataclass(frozen=True, slots=True, eq=False)
class TableForecast:
    """The answer for S series, in the order they were given.

    forecast: one row a series; NaN and model "" where there is none
    value, limit: (S,) newest reading and limit; readings: (S,) usable ones of the ``needed``
    below:    (S,) whether the limit counts when a series falls below it
    crossings: (S,) each
    notes:    row -> what the models said; failures: what went wrong with whole chunks
    """

    names: tuple[str, ...]
    forecast: Forecast
    value: Floats
    readings: Ints
    needed: int
    limit: Floats
    below: np.ndarray[tuple[int], np.dtype[np.bool_]]
    crossings: Crossings
    notes: dict[int, tuple[str, ...]]
    failures: tuple[str, ...] = ()

    @property
    def made(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return (S,) whether there is a forecast."""
        return np.array([model != "" for model in self.forecast.model], bool)

    @property
    def crossed(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return (S,) whether a series is beyond its limit already."""
        return np.asarray(self.crossings.expected_s <= self.forecast.made_at_s)

    def worst(self, count: int) -> Ints:
        """Return rows, the worst first: likeliest and soonest to cross, else least predictable.

        After those come the ones beyond their limit already, which is no forecast; series without a
        limit are ranked by their skill.
        """
        probability = np.nan_to_num(self.crossings.probability, nan=-1.0)
        probability[self.crossed] = -0.5
        expected = np.nan_to_num(self.crossings.expected_s, nan=np.inf)
        skill = np.nan_to_num(self.forecast.skill, nan=np.inf)
        may = np.where(probability > 0, 2, np.where(self.crossed, 1, 0))
        order = np.lexsort((skill, expected, -probability, -may))
        return np.asarray(order[self.made[order]][:count])

    def view(self, row: int, time_s: Floats, value: Floats) -> ForecastView:
        """Put one series' forecast beside the readings (T,) it was made from, for a plot."""
        made = self.forecast
        one = Forecast(
            metric=self.names[row],
            targets=made.targets[row : row + 1],
            made_at_s=made.made_at_s,
            time_s=made.time_s,
            mean=made.mean[row : row + 1],
            lower=made.lower[row : row + 1],
            upper=made.upper[row : row + 1],
            coverage=made.coverage,
            model=made.model[row : row + 1],
            skill=made.skill[row : row + 1],
        )
        probability = float(self.crossings.probability[row])
        expected_s = float(self.crossings.expected_s[row])
        known = catalogued(self.names[row])
        return ForecastView(
            target=Target(),
            metric=self.names[row],
            unit=known.unit if known else "",
            history_time_s=time_s,
            history_value=value,
            forecast=one,
            limit=float(self.limit[row]),
            expected_s=expected_s if math.isfinite(expected_s) and probability > 0 else None,
            probability=probability,
        )


def catalogued(name: str) -> Metric | None:
    """Return the catalogue's metric a column is named after, as Prometheus may write it."""
    return CATALOG.get(name.partition("{")[0].removeprefix(OWN_PREFIX))


async def forecast_table(
    names: tuple[str, ...],
    time_s: Floats,
    value: Values,
    asked: Question,
    *,
    pool: Workers,
    at_once: int = 1,
    progress: Callable[[int], None] = lambda series: None,
) -> TableForecast:
    """Forecast S series on an even grid, ``at_once`` chunks of them beside each other.

    names: S; time_s: (T,); value: (S, T) with NaN for gaps; progress: told of each chunk's size
    A chunk that fails leaves its series without a forecast; WorkerFailed where all do.
    """
    gathered, pace = _Gathered(names), pace_of(asked.horizon_s, asked.model)
    tasks = _tasks(names, time_s, value, asked)

    async def ask() -> None:
        # All of us take from one iterator, so no more chunks than are worked on are in memory.
        for rows, task in tasks:
            try:
                answer = await pool.run(FORECAST, paced(task, pace))
                gathered.add(rows, task, unpaced(answer, pace))
            except WorkerFailed as error:
                gathered.failed.append((len(rows), error))
            progress(len(rows))

    await asyncio.gather(*(ask() for _ in range(at_once)))
    return gathered.joined()


def _tasks(
    names: tuple[str, ...], time_s: Floats, value: Values, asked: Question
) -> Iterator[tuple[Ints, ForecastTask]]:
    """Divide the series by metric, for its range and limit, and then into chunks."""
    kinds: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        known = catalogued(name)
        kinds.setdefault(known.name if known else OTHER, []).append(row)
    for kind, members in kinds.items():
        rows, known = np.array(members), CATALOG.get(kind)
        limit = asked.limit
        if limit is None:
            limit = known.limit if known else math.nan
        bad = asked.bad or _side(value[rows], limit)
        for start in range(0, len(rows), CHUNK[asked.model]):
            part = rows[start : start + CHUNK[asked.model]]
            yield (
                part,
                ForecastTask(
                    metric=kind,
                    targets=(Target(),) * len(part),
                    time_s=time_s,
                    value=value[part],
                    horizon_s=asked.horizon_s,
                    coverage=asked.coverage,
                    limit=limit,
                    bad=bad,
                    low=known.low if known else -np.inf,
                    high=known.high if known else np.inf,
                    sustain_s=asked.sustain_s,
                    model=asked.model,
                ),
            )


def _side(value: Values, limit: float) -> Bad:
    """Take the side of the limit where fewer of all readings are for the bad one."""
    above, known = int((value > limit).sum()), int(np.isfinite(value).sum())
    return Bad.LOW if 2 * above > known else Bad.HIGH


class _Gathered:
    """The chunks' answers, put back into the order of the series as they come."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.failed: list[tuple[int, WorkerFailed]] = []
        self.bands = np.empty((3, len(names), 0), np.float32)
        # value, limit, probability, expected_s, earliest_s, latest_s, skill
        self.numbers = np.full((7, len(names)), np.nan)
        self.readings = np.zeros(len(names), np.int64)
        self.below = np.zeros(len(names), bool)
        self.models = [""] * len(names)
        self.notes: dict[int, tuple[str, ...]] = {}
        self.first: FleetForecast | None = None

    def add(self, rows: Ints, task: ForecastTask, answer: FleetForecast) -> None:
        made, seen = answer.forecast, answer.crossings
        if self.first is None:
            self.first = answer
            self.bands = np.full((3, len(self.names), len(made.time_s)), np.nan, np.float32)
        self.bands[:, rows] = made.mean, made.lower, made.upper
        self.numbers[:, rows] = (
            answer.value,
            answer.limit,
            seen.probability,
            seen.expected_s,
            seen.earliest_s,
            seen.latest_s,
            made.skill,
        )
        self.readings[rows] = answer.readings
        self.below[rows] = task.bad is Bad.LOW
        for row, model in zip(rows.tolist(), made.model, strict=True):
            self.models[row] = model
        self.notes |= {int(rows[at]): said for at, said in answer.notes.items()}

    def joined(self) -> TableForecast:
        if self.first is None:
            raise self.failed[0][1]
        first, count = self.first.forecast, len(self.names)
        value, limit, probability, expected_s, earliest_s, latest_s, skill = self.numbers
        return TableForecast(
            names=self.names,
            forecast=Forecast(
                metric=first.metric,
                targets=(Target(),) * count,
                made_at_s=first.made_at_s,
                time_s=first.time_s,
                mean=self.bands[0],
                lower=self.bands[1],
                upper=self.bands[2],
                coverage=first.coverage,
                model=tuple(self.models),
                skill=skill,
            ),
            value=value,
            readings=self.readings,
            needed=self.first.needed,
            limit=limit,
            below=self.below,
            crossings=Crossings(probability, expected_s, earliest_s, latest_s),
            notes=self.notes,
            failures=tuple(
                f"{number} series were not forecast. {error}" for number, error in self.failed
            ),
        )
