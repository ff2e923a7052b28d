"""Recorded telemetry as it is read, and how it is divided into what is learned from and scored."""

from pathlib import Path

import numpy as np
import pytest

from agent.evaluations.recorded import (
    GENTD26_METRICS,
    gentd26,
    is_dev,
    mscm,
    mscm_panel,
    nab,
    nab_panel,
)


@pytest.mark.parametrize("metric", GENTD26_METRICS)
def test_pods_are_minutes_of_a_day(shared_data: Path, metric: str) -> None:
    panel = gentd26(shared_data, metric)
    assert panel.step_s == 60
    assert panel.value.shape == (len(panel.names), len(panel.time_s))
    assert np.isfinite(panel.value).sum(axis=1).min() > 120
    if metric.endswith("_ratio"):
        assert np.nanmin(panel.value) >= 0
        assert np.nanmax(panel.value) <= 1


def test_no_series_is_both_learned_from_and_scored(shared_data: Path) -> None:
    for panel in (gentd26(shared_data, "gpu_utilization_ratio"), nab_panel(shared_data)):
        dev, held = panel.dev().names, panel.hold_out().names
        assert dev
        assert held
        assert sorted(dev + held) == sorted(panel.names)


def test_a_pod_is_divided_by_its_own_hash_and_others_by_their_names() -> None:
    assert is_dev("00800b6d2c")
    assert is_dev("4f00000000")
    assert not is_dev("2080000000")
    assert not is_dev("1080000000")
    assert is_dev("ec2_cpu_utilization_24ae8d")
    assert not is_dev("rds_cpu_utilization_e47b3b")


def test_label_windows_hold_about_a_tenth_of_a_series(shared_data: Path) -> None:
    labelled = [series for series in nab(shared_data) if len(series.windows)]
    assert all(0.05 < series.inside.mean() < 0.15 for series in labelled)


def test_adjacent_labels_are_one_window(shared_data: Path) -> None:
    series = max(mscm(shared_data), key=lambda one: one.inside.sum())
    assert 0 < len(series.windows) < series.inside.sum() / 10


def test_series_begin_at_their_own_first_reading(shared_data: Path) -> None:
    for panel in (nab_panel(shared_data), mscm_panel(shared_data)):
        assert np.isfinite(panel.value[:, 0]).all()
