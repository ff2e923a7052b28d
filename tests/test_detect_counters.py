"""One count or one bit can be news: each rule fires on its sign and stays calm without it."""

import numpy as np
import pytest

from core.target import Target
from core.types import Anomaly, Event, Floats, Severity
from detectors.faults.counters import Counters
from tests.fleet import NOW_S, STEP_S, gpus, nodes, window


def found(
    metric: str, value: Floats, targets: list[Target] | None = None, *, event_span_s: float = 120.0
) -> tuple[tuple[Anomaly, ...], tuple[Event, ...]]:
    on = targets or gpus(2)[: len(value)]
    seen = Counters(event_span_s).look(
        {metric: window(metric, on, value)}, topology=None, now_s=NOW_S
    )
    return seen.anomalies, seen.events


def steady(level: float, rows: int = 3) -> Floats:
    return np.full((rows, 41), level, dtype=np.float64)


@pytest.mark.parametrize(
    ("metric", "kind", "severity"),
    [
        ("gpu_ecc_uncorrected_total", "ecc_uncorrected", Severity.CRITICAL),
        ("node_oom_kills_total", "oom_kill", Severity.WARNING),
        ("port_link_down_total", "link_down", Severity.WARNING),
    ],
)
def test_a_counter_that_grows_is_an_event(metric: str, kind: str, severity: Severity) -> None:
    value = steady(7)
    value[1, -3:] += 2

    anomalies, (event,) = found(metric, value)

    assert anomalies == ()
    assert (event.kind, event.severity) == (kind, severity)
    assert (event.target, event.time_s) == (gpus(1)[1], NOW_S - 2 * STEP_S)
    assert event.text.startswith("2 × ")


def test_a_restart_of_the_source_is_no_error() -> None:
    value = steady(7)
    value[1, -3:] = 0

    assert found("gpu_ecc_uncorrected_total", value) == ((), ())


def test_an_old_count_is_not_told_again() -> None:
    value = steady(7)
    value[1, 10:] += 1

    assert found("gpu_ecc_uncorrected_total", value) == ((), ())
    assert len(found("gpu_ecc_uncorrected_total", value, event_span_s=3600.0)[1]) == 1


@pytest.mark.parametrize(
    ("metric", "per_s", "fires"),
    [
        ("gpu_pcie_replay_total", 6 / 60, False),
        ("gpu_pcie_replay_total", 12 / 60, True),
        ("gpu_nvlink_errors_total", 90.0, False),
        ("gpu_nvlink_errors_total", 150.0, True),
        ("port_errors_total", 0.5, False),
        ("port_errors_total", 4.0, True),
        ("gpu_ecc_corrected_total", 5 / 60, False),
        ("gpu_ecc_corrected_total", 20 / 60, True),
    ],
)
def test_a_rate_over_its_norm_is_an_anomaly(metric: str, per_s: float, fires: bool) -> None:
    value = 1000.0 + steady(0)
    value[2] += per_s * STEP_S * np.arange(41)

    anomalies, events = found(metric, value)

    assert events == ()
    assert [one.target for one in anomalies] == ([gpus(1)[2]] if fires else [])
    assert all(one.value == pytest.approx(per_s) for one in anomalies)


@pytest.mark.parametrize(
    ("metric", "good", "kind", "code"),
    [
        ("gpu_rows_remap_pending", 0, "row_remap", "pending"),
        ("gpu_rows_remap_failed", 0, "row_remap", "failed"),
        ("port_up", 1, "link_down", ""),
        ("node_up", 1, "silent", ""),
        ("volume_readonly", 0, "volume_readonly", ""),
    ],
)
def test_a_flag_that_turns_is_an_event_and_stays_an_anomaly(
    metric: str, good: int, kind: str, code: str
) -> None:
    value = steady(good)
    value[1, -4:] = 1 - good

    (held,), (turned,) = found(metric, value)

    assert (turned.kind, turned.code, turned.time_s) == (kind, code, NOW_S - 3 * STEP_S)
    assert (held.start_s, held.end_s, held.score) == (NOW_S - 3 * STEP_S, NOW_S, 1.0)


def test_clocks_held_back_for_heat_are_an_anomaly() -> None:
    value = steady(0.1)
    value[1, 10:] = 0.9
    value[2, -5:] = 1.0

    (slowed,), events = found("gpu_throttle_ratio", value)

    assert events == ()
    assert (slowed.target, slowed.start_s) == (gpus(1)[1], NOW_S - 30 * STEP_S)


def test_a_flag_bad_from_the_start_has_no_known_beginning() -> None:
    anomalies, events = found("gpu_rows_remap_pending", steady(1, rows=1))

    assert len(anomalies) == 1
    assert events == ()


def test_a_flag_that_is_good_again_is_over() -> None:
    value = steady(1)
    value[1, 20:30] = 0

    assert found("port_up", value) == ((), ())


def test_an_xid_that_appears_is_an_event_with_its_meaning() -> None:
    value = steady(0)
    value[1, -2:] = 79
    value[2, -3:] = [np.nan, 45, 45]

    _, events = found("gpu_xid_code", value)

    assert [(e.code, e.severity) for e in events] == [
        ("79", Severity.CRITICAL),
        ("45", Severity.INFO),
    ]
    assert events[0].text == (
        "Xid 79 on node-0/GPU-0-1: GPU has fallen off the bus; restart the node"
    )


def test_an_xid_that_was_there_before_is_no_news() -> None:
    value = steady(31)
    value[1, :20] = np.nan

    assert found("gpu_xid_code", value) == ((), ())


def test_a_second_xid_after_a_first_is_news() -> None:
    value = steady(31, rows=1)
    value[0, -1] = 79

    _, events = found("gpu_xid_code", value)

    assert [e.code for e in events] == ["79"]


def test_gaps_and_empty_windows_are_calm() -> None:
    for metric in ("gpu_ecc_uncorrected_total", "port_up", "gpu_xid_code", "port_errors_total"):
        assert found(metric, np.full((3, 41), np.nan)) == ((), ())
        assert found(metric, np.empty((0, 41)), nodes(0)) == ((), ())
