"""Any two columns of times and numbers are forecast, and what was done to them is said."""

import json

import numpy as np
import pytest

from agent.forecast_file import FileForecast, forecast_series
from agent.forecast_table import Question
from core.codec import from_json, to_json
from core.errors import InputError
from core.types import Floats
from tests.forecast_series import START_S, grid
from tests.forecast_workers import InProcess

HOUR_S = 3600.0


@pytest.fixture
def pool() -> InProcess:
    return InProcess()


def asked(limit: float | None, *, hours: float = 2.0) -> Question:
    return Question(horizon_s=hours * HOUR_S, limit=limit)


async def forecast(
    time_s: Floats, value: Floats, question: Question, pool: InProcess
) -> FileForecast:
    found, _ = await forecast_series(
        time_s,
        value,
        question,
        pool=pool,
        name="value",
    )
    return found


def ramp(length: int = 200, *, step_s: float = 60.0) -> tuple[Floats, Floats]:
    noise = np.random.default_rng(0).normal(0, 0.004, length)
    return grid(length, step_s), 0.2 + 0.0025 * np.arange(length) + noise


async def test_a_tidy_column_is_dated_with_its_interval(pool: InProcess) -> None:
    time_s, value = ramp()

    said = await forecast(time_s, value, asked(0.9), pool)

    assert said.expected_s == pytest.approx(START_S + 280 * 60, rel=0.1, abs=600)
    assert said.earliest_s is not None
    assert said.latest_s is not None
    assert said.expected_s is not None
    assert said.earliest_s <= said.expected_s <= said.latest_s
    assert said.probability is not None
    assert said.probability > 0.9
    assert said.model
    assert said.skill > 0.3
    assert (said.crosses, said.notes) == ("above", ())


async def test_an_untidy_column_gives_nearly_the_same(pool: InProcess) -> None:
    time_s, value = ramp()
    rng = np.random.default_rng(1)
    keep = rng.permutation(200)[:180]
    keep = np.concatenate([keep, keep[:5], [199]])
    untidy_s = np.concatenate([time_s[keep], [np.nan, START_S]])
    untidy = np.concatenate([value[keep], [0.5, np.inf]])

    tidied = await forecast(untidy_s, untidy, asked(0.9), pool)

    assert tidied.expected_s == pytest.approx(START_S + 280 * 60, rel=0.1, abs=900)
    said = " | ".join(tidied.notes)
    assert "2 rows without a usable time or value passed over" in said
    assert "not in order of time: sorted" in said
    assert "with a time seen before averaged" in said
    assert "without a row left as a gap" in said


async def test_the_answer_is_json_and_comes_back(pool: InProcess) -> None:
    said = await forecast(*ramp(60), asked(None, hours=1), pool)

    text = json.dumps(to_json(said), allow_nan=False)

    assert to_json(from_json(FileForecast, json.loads(text))) == to_json(said)
    assert (said.probability, said.expected_s, said.crosses) == (None, None, "")


async def test_too_few_rows_say_how_many_are_needed(pool: InProcess) -> None:
    for length, need in ((0, "half an hour"), (1, "half an hour"), (7, "at least 24")):
        with pytest.raises(InputError, match=f"found {length} usable readings, need {need}"):
            await forecast(*ramp(length), asked(0.9), pool)


async def test_milliseconds_are_not_taken_for_seconds(pool: InProcess) -> None:
    time_s, value = ramp()

    with pytest.raises(InputError, match="Give times in seconds"):
        await forecast(1000 * time_s, value, asked(0.9), pool)


async def test_a_limit_under_the_readings_is_met_from_above(pool: InProcess) -> None:
    time_s, value = ramp()

    said = await forecast(time_s, 1 - value, asked(0.1), pool)

    assert said.crosses == "below"
    assert said.expected_s == pytest.approx(START_S + 280 * 60, rel=0.1, abs=600)
