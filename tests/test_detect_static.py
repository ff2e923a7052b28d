"""A reading beyond its limit is said once it lasts, and until it is clearly back."""

import numpy as np
import pytest

from core.types import Anomaly, Floats, Severity
from core.units import Bad
from detectors import static
from detectors.static import StaticLimits
from tests.fleet import NOW_S, STEP_S, nodes, window

METRIC = "node_memory_used_ratio"  # limit 0.95


def found(
    value: Floats, *, limit: float | None = None, now_s: float = NOW_S
) -> tuple[Anomaly, ...]:
    limits = {} if limit is None else {METRIC: limit}
    windows = {METRIC: window(METRIC, nodes(len(value)), value)}
    return StaticLimits(limits).look(windows, topology=None, now_s=now_s).anomalies


def test_an_excess_is_said_with_its_start_and_limit() -> None:
    value = np.full((3, 41), 0.5)
    value[1, -5:] = 0.97

    (one,) = found(value)

    assert (one.target.node, one.metric, one.detector) == ("node-1", METRIC, "static")
    assert (one.start_s, one.end_s) == (NOW_S - 4 * STEP_S, NOW_S)
    assert (one.value, one.upper, one.severity) == (0.97, 0.95, Severity.WARNING)
    assert one.text == ("memory not available to programs of node-1 is 97 %, limit 95 %, for 1 min")


def test_a_single_reading_beyond_is_not_yet_an_excess() -> None:
    value = np.full((1, 41), 0.5)
    value[0, -1] = 0.99

    assert found(value) == ()


def test_a_reading_that_trembles_around_the_limit_is_one_excess() -> None:
    value = np.full((1, 41), 0.5)
    value[0, -10:] = [0.96, 0.94, 0.96, 0.945, 0.96, 0.94, 0.95, 0.94, 0.96, 0.94]

    (one,) = found(value)

    assert one.start_s == NOW_S - 9 * STEP_S


def test_an_excess_ends_inside_of_the_release_level() -> None:
    value = np.full((1, 41), 0.97)
    value[0, -1] = 0.92

    assert found(value) == ()


def test_much_too_much_is_critical() -> None:
    (one,) = found(np.full((1, 41), 0.99))

    assert one.severity is Severity.CRITICAL
    assert one.score == pytest.approx(0.9)


def test_an_own_limit_wins_and_nan_switches_it_off() -> None:
    value = np.full((1, 41), 0.85)

    assert len(found(value, limit=0.8)) == 1
    assert found(np.full((1, 41), 0.99), limit=float("nan")) == ()


def test_a_stale_series_says_nothing_about_now() -> None:
    value = np.full((1, 41), 0.97)
    value[0, -20:] = np.nan

    assert found(value) == ()


def test_a_gap_does_not_end_an_excess() -> None:
    value = np.full((1, 41), 0.97)
    value[0, -10:-1] = np.nan

    assert len(found(value)) == 1


def test_where_low_is_bad_the_limit_is_below() -> None:
    value = np.full((2, 41), 0.9)
    value[1] = 0.2

    start, _ = static.beyond(value, 0.5, bad=Bad.LOW, release_ratio=0.02)

    assert start.tolist() == [-1, 0]


@pytest.mark.parametrize("shape", [(0, 41), (3, 0), (0, 0)])
def test_an_empty_window_has_no_anomaly(shape: tuple[int, int]) -> None:
    assert found(np.empty(shape)) == ()
