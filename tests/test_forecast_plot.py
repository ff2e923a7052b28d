"""A forecast's picture shows history, band, limit and crossing, whatever of them there is."""

import struct

import numpy as np
import pytest

from agent.plot import forecast_png, forecasts_png
from agent.view import ForecastView
from core.target import Target
from core.types import Forecast
from tests.forecast_series import fill


def drawn(*, limit: float, expected_s: float | None) -> bytes:
    return forecast_png(view(limit=limit, expected_s=expected_s))


def view(
    *, limit: float, expected_s: float | None, metric: str = "volume_used_ratio"
) -> ForecastView:
    seen = fill(1, share=0.5).series
    ahead_s = seen.time_s[-1] + np.arange(1.0, 61.0)
    mean = np.linspace(seen.value[-1], 1.0, 60)[None]
    forecast = Forecast(
        metric=metric,
        targets=(Target(node="n", volume="/scratch"),),
        made_at_s=float(seen.time_s[-1]),
        time_s=ahead_s,
        mean=mean,
        lower=mean - 0.1,
        upper=mean + 0.1,
        coverage=0.8,
        model=("pool",),
        skill=np.array([0.9]),
    )
    return ForecastView(
        target=forecast.targets[0],
        metric=metric,
        unit="ratio",
        history_time_s=seen.time_s,
        history_value=seen.value,
        forecast=forecast,
        limit=limit,
        expected_s=expected_s,
        probability=0.9,
    )


@pytest.mark.parametrize("limit", [0.95, 0.05, float("nan")])
@pytest.mark.parametrize("ahead_s", [None, 0.0, 40.0])
def test_a_picture_is_a_png_of_the_size_it_says(limit: float, ahead_s: float | None) -> None:
    now_s = float(fill(1, share=0.5).series.time_s[-1])

    png = drawn(limit=limit, expected_s=None if ahead_s is None else now_s + ahead_s)

    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (1200, 600)


def test_a_limit_and_its_crossing_are_drawn() -> None:
    now_s = float(fill(1, share=0.5).series.time_s[-1])

    plain = drawn(limit=float("nan"), expected_s=None)
    limited = drawn(limit=0.9, expected_s=None)
    crossed = drawn(limit=0.9, expected_s=now_s + 40)

    assert len({plain, limited, crossed}) == 3


@pytest.mark.parametrize("count", [1, 2, 7])
def test_several_are_drawn_two_beside_each_other(count: int) -> None:
    views = [
        view(
            limit=0.9 if number else float("nan"), expected_s=None, metric=f"{'long' * 30}{number}"
        )
        for number in range(count)
    ]

    png = forecasts_png(views)

    width, height = struct.unpack(">II", png[16:24])
    rows = -(-count // 2)
    assert width == (780 if count == 1 else 1560)
    assert height == 276 * rows + 48
