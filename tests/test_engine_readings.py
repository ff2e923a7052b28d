"""Readings made from the rows of a few nodes: plausible, the same in any portion, and quick."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.types import Floats, Window
from core.units import CATALOG
from sim.dense import dense
from sim.engine import record
from sim.engine.gpu_readings import Gauge
from sim.engine.tables import Tables
from sim.engine.words import NONE, JobKind
from sim.names import Names
from sim.scenario import JobSpec, Scenario
from sim.telemetry import GPU_METRICS, METRICS, windows
from tests.sim_tables import BEGAN_S, HOUR_S, at, hand_made, runs, settle

NODES = 4


def names_of(w: Tables) -> Names:
    count = len(w.nodes)
    scenario = Scenario("made", nodes=count, racks=1, spares=0, jobs=(JobSpec("llm", nodes=2),))
    gpu_node, gpu_slot = np.repeat(np.arange(count), 8), np.tile(np.arange(8), count)
    return Names(scenario, 1, (), gpu_node, gpu_slot, 1, 1)


@pytest.fixture
def made() -> Tables:
    """Four nodes of which two have run a training since the first hour; now is a day later."""
    w = hand_made(nodes=NODES)
    w.jobs["service"] = NONE
    runs(w, 0, range(2), since_s=BEGAN_S + HOUR_S)
    return w


def grid(start_s: float, count: int, step_s: float = 60.0) -> Floats:
    times: Floats = start_s + step_s * np.arange(count, dtype=np.float64)
    return times


def one(w: Tables, metric: str, times: Floats) -> Floats:
    (window,) = windows(w, names_of(w), (metric,), times)
    return window.value


def changed(w: Tables, node: int, after_s: float, **fields: object) -> None:
    """Change a node at a time after the beginning; nothing of it comes later."""
    then_s = float(w.core[0]["now_s"])
    at(w, BEGAN_S + after_s)
    for name, value in fields.items():
        w.nodes[name][node] = value
    record.keep_node(w, node)
    at(w, then_s)


def test_every_metric_is_plausible_and_of_its_scope(made: Tables) -> None:
    for window in windows(made, names_of(made), METRICS, grid(BEGAN_S + HOUR_S - 1800, 120)):
        metric, value = CATALOG[window.metric], window.value
        wrong = ~np.isnan(value) & ~((value >= metric.low) & (value <= metric.high))
        assert not wrong.any(), window.metric
        assert np.isfinite(value).any(), window.metric
        assert all(target.kind is metric.scope for target in window.targets)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 119), step=st.sampled_from([1.0, 15.0, 60.0, 3600.0]))
def test_a_window_in_two_halves_is_the_whole(cut: int, step: float) -> None:
    w = hand_made(nodes=2, hours=200)
    w.jobs["service"] = NONE
    runs(w, 0, range(2), since_s=BEGAN_S + HOUR_S)
    times, names = grid(BEGAN_S + HOUR_S - 30 * step, 120, step), names_of(w)
    both = [windows(w, names, METRICS, part) for part in (times[:cut], times[cut:])]
    first, second = ({window.metric: window for window in part} for part in both)

    for window in windows(w, names, METRICS, times):
        halves = [
            rows(part.get(window.metric), window, count)
            for part, count in ((first, cut), (second, 120 - cut))
        ]
        np.testing.assert_array_equal(window.value, np.concatenate(halves, axis=1))


def rows(part: Window | None, whole: Window, count: int) -> Floats:
    """Return the whole's series in a part; NaN for a rank that did not run within it."""
    of = {} if part is None else dict(zip(part.targets, part.value, strict=True))
    assert set(of) <= set(whole.targets)
    return np.array([of.get(target, np.full(count, np.nan)) for target in whole.targets])


def test_dense_is_lazy_bit_for_bit(made: Tables) -> None:
    start_s = BEGAN_S + HOUR_S - 600
    blocks = list(dense(made, start_s=start_s, end_s=start_s + 1800, gauges=tuple(Gauge)))
    lazy = windows(made, names_of(made), tuple(GPU_METRICS), blocks[0].time_s)

    assert len(blocks) == 1
    for window in lazy:
        place = int(GPU_METRICS[window.metric])
        found = blocks[0].value[:, place].reshape(8 * NODES, -1)
        np.testing.assert_array_equal(window.value.astype(np.float32), found, window.metric)


def test_part_of_the_nodes_reads_as_in_the_whole(made: Tables) -> None:
    times, names = grid(BEGAN_S + 2 * HOUR_S, 30), names_of(made)
    whole = {w.metric: w for w in windows(made, names, METRICS, times)}

    for window in windows(made, names, METRICS, times, nodes=("node-01",)):
        assert {target.node for target in window.targets} == {"node-01"}
        of = dict(zip(whole[window.metric].targets, whole[window.metric].value, strict=True))
        np.testing.assert_array_equal(window.value, [of[target] for target in window.targets])


def test_an_unknown_node_is_named(made: Tables) -> None:
    with pytest.raises(InputError, match=r"node 'node-9': .* node-00 to node-03"):
        windows(made, names_of(made), METRICS, grid(BEGAN_S, 2), nodes=("node-9",))


def test_readings_have_the_steps_of_the_real_ones(made: Tables) -> None:
    times = grid(BEGAN_S + 2 * HOUR_S, 60)
    percents = one(made, "gpu_utilization_ratio", times) * 100
    celsius = one(made, "gpu_temperature_celsius", times)
    clocks = one(made, "gpu_sm_clock_hz", times)[:16]
    milliwatts = one(made, "gpu_power_watts", times) * 1000

    for value, step in ((percents, 1), (celsius, 1), (clocks, 1.5e7), (milliwatts, 1)):
        whole = value[np.isfinite(value)] / step
        assert whole == pytest.approx(np.rint(whole), abs=1e-6)


def test_power_noise_wanders_over_minutes(made: Tables) -> None:
    """Neighbours in a minute resemble each other; those half an hour apart do not."""
    watts = one(made, "gpu_power_watts", grid(BEGAN_S + 2 * HOUR_S, 1200))[16:]
    odd = watts - np.nanmean(watts, axis=1, keepdims=True)
    close = np.nanmean(odd[:, 1:] * odd[:, :-1]) / np.nanvar(watts, axis=1).mean()
    apart = np.nanmean(odd[:, 30:] * odd[:, :-30]) / np.nanvar(watts, axis=1).mean()

    assert 0.4 < close < 0.7
    assert abs(apart) < 0.1


def test_a_stale_exporter_repeats_itself(made: Tables) -> None:
    changed(made, 0, 2 * HOUR_S, stale_s=BEGAN_S + 2 * HOUR_S)
    watts = one(made, "gpu_power_watts", grid(BEGAN_S + 2 * HOUR_S + 60, 60))

    assert len(np.unique(watts[0][np.isfinite(watts[0])])) == 1
    assert len(np.unique(watts[8])) > 30


def test_a_skewed_clock_shifts_what_is_read(made: Tables) -> None:
    times = grid(BEGAN_S + 3 * HOUR_S, 30)
    before = one(made, "gpu_power_watts", times - 120)[0]
    changed(made, 0, 2 * HOUR_S, skew_s=120.0)
    after = one(made, "gpu_power_watts", times)[0]

    seen = np.isfinite(before) & np.isfinite(after)
    assert seen.sum() > 25
    np.testing.assert_array_equal(after[seen], before[seen])


def test_a_silent_exporter_says_nothing_and_is_not_up(made: Tables) -> None:
    changed(made, 0, 2 * HOUR_S, silent=True)
    times = grid(BEGAN_S + 3 * HOUR_S, 30)

    assert np.isnan(one(made, "gpu_power_watts", times)[:8]).all()
    assert np.nanmax(one(made, "node_up", times)[0]) == 0


def test_faults_of_parts_show_where_they_are(made: Tables) -> None:
    rate, codes = np.zeros(8), np.zeros(8)
    rate[3], codes[3] = 0.5, 63
    changed(made, 0, 2 * HOUR_S, ecc_rate=rate, xid=codes, network=0.0, replays=1.0)
    times = grid(BEGAN_S + 3 * HOUR_S, 30)

    corrected = one(made, "gpu_ecc_corrected_total", times)
    assert np.nanmax(corrected[3]) - np.nanmin(corrected[3]) == pytest.approx(29 * 30, abs=31)
    assert np.nanmax(corrected[4]) < 10
    assert set(one(made, "gpu_xid_code", times)[3].tolist()) - {63.0} <= {np.nan}
    assert (np.nanmin(one(made, "port_up", times), axis=1) == 0).sum() == 1
    assert (np.nanmax(one(made, "port_link_down_total", times), axis=1) == 1).sum() == 1
    assert np.nanmax(one(made, "gpu_pcie_replay_total", times)[0]) > 3600


def test_a_node_hour_takes_less_than_a_millisecond(made: Tables) -> None:
    """8 GPUs, 12 metrics, 60 readings; it takes about 0.06 ms of one core."""
    times, names = grid(BEGAN_S + 2 * HOUR_S, 60), names_of(made)
    metrics = tuple(GPU_METRICS)[:12]
    windows(made, names, metrics, times, nodes=("node-00",))

    before_s = time.process_time()
    for _ in range(50):
        windows(made, names, metrics, times, nodes=("node-00",))
    assert time.process_time() - before_s < 50 * 1e-3


def test_a_busy_cluster_reads_as_a_recorded_one(shared_data: Path) -> None:
    """Kolmogorov-Smirnov distances to Acme's Kalos: A100s, 27 % idle, 9.5 % held and unused.

    Utilisation and power follow the recorded quantiles; temperatures do not use them, and the
    recorded cluster's air differs more from place to place than one hall's: it stays at 0.25.
    """
    w = busy_cluster(nodes=600)
    times, names = grid(BEGAN_S + 2 * HOUR_S, 48, 1800.0), names_of(w)
    far = {
        metric: distance(one(w, metric, times) * scale, shared_data, curve)
        for metric, curve, scale in (
            ("gpu_utilization_ratio", "util_gpu_kalos", 100.0),
            ("gpu_power_watts", "gpu_power_kalos", 1.0),
            ("gpu_temperature_celsius", "gpu_temp_kalos", 1.0),
        )
    }

    assert names.nodes
    assert far["gpu_utilization_ratio"] < 0.08
    assert far["gpu_power_watts"] < 0.10
    assert far["gpu_temperature_celsius"] < 0.30


def busy_cluster(*, nodes: int) -> Tables:
    """Return A100s in air of 21 to 25 degC with generated jobs of a node each."""
    random = np.random.default_rng(5)
    w = hand_made(nodes=nodes, gpu="a100", hours=30)
    w.jobs["service"] = NONE
    w.nodes["resistance"] = 0.078 * np.clip(random.normal(1, 0.15, (nodes, 8)), 0.7, 1.4)
    air = 23 + np.clip(random.normal(0, 1.5, nodes), -4, 4)
    w.nodes["inlet"] = w.nodes["inlet_goal"] = air
    at(w, BEGAN_S + 1)
    for node in range(nodes):
        settle(w, range(node, node + 1))
        record.keep_node(w, node)
    at(w, BEGAN_S + 30 * HOUR_S)
    for node, luck in enumerate(random.random(nodes).tolist()):
        if luck >= 0.27:
            kind = JobKind.INTERACTIVE if luck < 0.365 else JobKind.TRAINING
            since_s = BEGAN_S + HOUR_S
            runs(w, node, range(node, node + 1), since_s=since_s, kind=kind, named=False)
    return w


def distance(value: Floats, data: Path, curve: str) -> float:
    """Return the greatest difference between two cumulative shares."""
    table = pd.read_csv(data / "telemetry" / "acme_cdf.csv.gz")
    recorded = table[(table["file"] == curve) & (table["curve"] == 0)]
    points = recorded.groupby("x")["cdf_pct"].max()
    found = np.sort(np.round(value[np.isfinite(value)], 3))
    shares = np.searchsorted(found, points.index.to_numpy(), side="right") / len(found)
    return float(np.abs(shares - points.to_numpy() / 100).max())
