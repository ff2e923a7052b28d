"""Every series of a table is forecast, ranked by what is worst, written and drawn."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from agent import forecast_table as tables
from agent.even_grid import Values
from agent.forecast_report import json_lines, row_of, write_bands, write_plots
from agent.forecast_table import OTHER, Question, TableForecast, forecast_table
from core.errors import InputError, WorkerFailed
from core.types import Floats
from core.units import Bad
from detectors.forecast.task import Model
from tests.forecast_series import grid
from tests.forecast_workers import InProcess

HOUR_S = 3600.0
ASKED = Question(horizon_s=2 * HOUR_S, limit=0.9)
# Rows of ``table``: what is worst, what is too short, and the rest.
LEAK, SLOW_LEAK, SHORT, NAMES = 3, 5, 7, tuple(f"n{row}" for row in range(9))


def table(*, minutes: int = 480) -> tuple[Floats, Values]:
    """Nine series of readings a minute: two leak, one has begun just now, the others are quiet."""
    rng = np.random.default_rng(2)
    value = 0.4 + rng.normal(0, 0.004, (9, minutes))
    minute = np.arange(minutes)
    value[LEAK] += 0.0035 * np.maximum(0, minute - minutes + 120)
    value[SLOW_LEAK] += 0.0028 * np.maximum(0, minute - minutes + 120)
    value[SHORT, :-5] = np.nan
    return grid(minutes, 60.0), value.astype(np.float32)


async def forecast(
    asked: Question = ASKED, *, pool: InProcess | None = None, names: tuple[str, ...] = NAMES
) -> TableForecast:
    pool = pool or InProcess()
    return await forecast_table(names, *table(), asked, pool=pool)


async def test_the_likeliest_and_soonest_to_cross_come_first() -> None:
    found = await forecast()

    assert found.worst(2).tolist() == [LEAK, SLOW_LEAK]
    assert SHORT not in found.worst(9)
    assert len(found.worst(9)) == 8
    assert found.crossings.probability[LEAK] > 0.7
    assert found.crossings.expected_s[LEAK] < found.crossings.expected_s[SLOW_LEAK]
    quiet = np.delete(found.crossings.probability, [LEAK, SLOW_LEAK, SHORT])
    assert quiet.max() < 0.1


async def test_what_is_beyond_its_limit_comes_after_what_will_be() -> None:
    time_s, value = table()
    value[0] = 0.95

    found = await forecast_table(
        NAMES,
        time_s,
        value,
        ASKED,
        pool=InProcess(),
    )

    assert found.crossed.tolist() == [row == 0 for row in range(9)]
    assert found.crossings.probability[0] == 1
    worst = found.worst(9).tolist()
    assert worst[:2] == [LEAK, SLOW_LEAK]
    assert all(found.crossings.probability[row] > 0 for row in worst[: worst.index(0)])


async def test_a_series_that_just_began_has_no_forecast_and_costs_the_others_none() -> None:
    found = await forecast()

    assert found.made.tolist() == [row != SHORT for row in range(9)]
    assert np.isnan(found.forecast.mean[SHORT]).all()
    assert found.readings[SHORT] == 5 < found.needed
    assert np.isfinite(np.delete(found.forecast.mean, SHORT, axis=0)).all()


async def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await forecast()
    monkeypatch.setitem(tables.CHUNK, Model.POOL, 4)
    told: list[int] = []
    pool = InProcess()

    cut = await forecast_table(
        NAMES,
        *table(),
        ASKED,
        pool=pool,
        at_once=2,
        progress=told.append,
    )

    assert sorted(told) == [1, 4, 4]
    assert len(pool.asked) == 3
    np.testing.assert_allclose(cut.forecast.mean, whole.forecast.mean, rtol=1e-4)
    np.testing.assert_allclose(cut.crossings.probability, whole.crossings.probability, atol=0.02)


async def test_a_chunk_that_fails_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tables.CHUNK, Model.POOL, 4)

    found = await forecast(pool=InProcess(failing=frozenset({1})))

    assert found.made.tolist() == [False] * 4 + [True] * 3 + [False] + [True]
    assert found.failures[0].startswith("4 series were not forecast. Running detectors.forecast")
    with pytest.raises(WorkerFailed, match="needs more memory"):
        await forecast(pool=InProcess(failing=frozenset({1, 2, 3})))


async def test_a_name_of_the_catalogue_brings_its_range_and_limit() -> None:
    pool = InProcess()
    names = ('gpumedic_node_memory_used_ratio{node="a"}', "gpu_temperature_celsius", *NAMES[2:])

    found = await forecast(Question(horizon_s=HOUR_S), pool=pool, names=names)

    asked = {task.metric: task for task in pool.asked}
    assert asked.keys() == {"node_memory_used_ratio", "gpu_temperature_celsius", OTHER}
    assert (asked["node_memory_used_ratio"].limit, asked["node_memory_used_ratio"].high) == (
        0.95,
        1,
    )
    assert found.limit[:3].tolist() == pytest.approx([0.95, 87, np.nan], nan_ok=True)


async def test_the_bad_side_is_where_few_readings_are() -> None:
    pool = InProcess()
    await forecast(Question(horizon_s=HOUR_S, limit=0.2), pool=pool)
    await forecast(Question(horizon_s=HOUR_S, limit=0.2, bad=Bad.HIGH), pool=pool)

    assert [task.bad for task in pool.asked] == [Bad.LOW, Bad.HIGH]


async def test_without_a_limit_the_least_predictable_come_first() -> None:
    found = await forecast(Question(horizon_s=HOUR_S))

    skill = found.forecast.skill[found.worst(9)]
    assert np.isnan(found.crossings.probability).all()
    assert np.isfinite(skill).any()
    assert (np.diff(skill[np.isfinite(skill)]) >= 0).all()


async def test_the_json_has_all_series_a_line_each() -> None:
    found = await forecast()

    lines = list(json_lines(found, found.worst(9), {"horizon_s": 7200.0}))
    told = json.loads("".join(lines))

    assert len(lines) == 8 + 2
    assert told["horizon_s"] == 7200.0
    assert [each["name"] for each in told["series"][:2]] == ["n3", "n5"]
    assert told["series"][0] == row_of(found, LEAK)
    assert (told["series"][0]["crosses"], told["series"][0]["limit"]) == ("above", 0.9)
    assert {"probability", "expected_s", "skill", "model"} <= told["series"][0].keys()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
async def test_the_bands_are_written_a_row_a_series_and_time(tmp_path: Path, ending: str) -> None:
    found = await forecast()
    path = tmp_path / f"bands.{ending}"

    write_bands(found, path)

    read: Any = {"csv": pyarrow.csv.read_csv, "parquet": pyarrow.parquet.read_table}
    written = read[ending](path).to_pydict()
    steps = len(found.forecast.time_s)
    assert list(written) == ["series", "time", "mean", "lower", "upper"]
    assert len(written["mean"]) == 8 * steps
    assert written["series"][steps] == "n1"
    assert written["time"][0].timestamp() == pytest.approx(found.forecast.time_s[0], abs=1e-3)
    np.testing.assert_allclose(written["upper"][:steps], found.forecast.upper[0], rtol=1e-5)


async def test_bands_need_a_known_ending_and_a_folder(tmp_path: Path) -> None:
    found = await forecast()

    with pytest.raises(InputError, match=r"neither \.parquet nor \.csv"):
        write_bands(found, tmp_path / "bands.txt")
    with pytest.raises(InputError, match="Name a file in a folder you may write"):
        write_bands(found, tmp_path / "nowhere" / "bands.csv")


async def test_the_worst_are_drawn_into_one_picture_or_one_each(tmp_path: Path) -> None:
    found = await forecast()
    rows = found.worst(3).tolist()
    one, folder = tmp_path / "worst.png", tmp_path / "plots"

    assert write_plots(found, *table(), rows=rows, path=one) == (one,)
    files = write_plots(found, *table(), rows=rows, path=folder)

    assert [path.name for path in files[:2]] == ["001-n3.png", "002-n5.png"]
    assert sorted(folder.iterdir()) == sorted(files)
    width, height = struct.unpack(">II", one.read_bytes()[16:24])
    assert width > height > 500
    with pytest.raises(InputError, match=r"only \.png is drawn"):
        write_plots(found, *table(), rows=rows, path=tmp_path / "worst.svg")
