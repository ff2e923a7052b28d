"""Anomalies on single series: what is found, how it is told, and what is learned from it."""

import numpy as np
import pytest

from core.target import Target
from core.types import Anomaly, Floats, Severity, Window
from core.units import CATALOG
from detectors.anomaly import AnomalyDetector, AnomalySettings, pool, rank, scores
from detectors.anomaly.detector import watched
from tests.fleet import NOW_S, STEP_S, nodes, swinging

METRIC = "node_inlet_temperature_celsius"
NEEDED = 1000  # readings: a series has to be known for four hours
KNOWN_STEPS = NEEDED + 280  # a fleet of a hundred has its own threshold an hour later
COLUMNS = 40
OFTEN = AnomalySettings(false_alarms_per_day=1.0)


def history(count: int = 4, *, steps: int = NEEDED, seed: int = 0) -> Floats:
    """(S, T) readings around 25 degrees."""
    return 25 + 0.5 * np.random.default_rng(seed).standard_normal((count, steps))


def watch(
    value: Floats, detector: AnomalyDetector | None = None, *, metric: str = METRIC
) -> list[tuple[Anomaly, ...]]:
    """Let a detector see readings (S, T) that end now, forty columns at a look; return each."""
    detector = detector or AnomalyDetector(OFTEN)
    targets = tuple(nodes(len(value)))
    time_s = NOW_S - STEP_S * np.arange(value.shape[1] - 1, -1, -1, dtype=np.float64)
    seen = []
    for end in range(COLUMNS, value.shape[1] + 1):
        part = slice(end - COLUMNS, end)
        window = Window(metric, targets, time_s[part], value[:, part])
        now_s = float(time_s[end - 1])
        seen.append(detector.look({metric: window}, topology=None, now_s=now_s).anomalies)
    return seen


def test_a_reading_unlike_any_before_is_found_at_once() -> None:
    value = history()
    value[2, -1] = 60.0

    (one,) = watch(value)[-1]

    assert (one.target.node, one.metric, one.detector) == ("node-2", METRIC, "anomaly")
    assert (one.start_s, one.end_s, one.value) == (NOW_S, NOW_S, 60.0)
    assert one.lower < 25 < one.upper < 30
    assert one.score > 0.5
    assert one.text == (
        "air at the inlet of node-2 is out of the ordinary: 60 °C, usually "
        f"{one.lower:.4g} °C to {one.upper:.4g} °C, for 0 s"
    )


def test_a_single_odd_reading_is_no_more_than_info() -> None:
    value = history()
    value[2, -1] = 60.0

    assert {a.severity for a in watch(value)[-1]} == {Severity.INFO}


def test_what_lasts_is_large_and_bad_is_a_warning() -> None:
    value = history(120, steps=KNOWN_STEPS)
    value[2, -24:] += 12.0

    one = next(a for a in watch(value)[-1] if a.target.node == "node-2")

    assert (one.target.node, one.severity) == ("node-2", Severity.WARNING)
    assert one.end_s - one.start_s >= 300


@pytest.mark.parametrize(
    ("sigma", "severity"), [(0.13, Severity.INFO), (0.01, Severity.WARNING)], ids=["470", "6000"]
)
def test_a_jump_of_hundreds_of_sigmas_is_told_of_a_lone_series(
    sigma: float, severity: Severity
) -> None:
    value = 1.3 + sigma * np.random.default_rng(1).standard_normal((1, KNOWN_STEPS))
    value[0, -24:] = 62.7

    (one,) = watch(value, AnomalyDetector(), metric="job_latency_p99_s")[-1]

    assert one.severity is severity


def test_a_few_requests_that_wait_for_the_first_time_are_no_news() -> None:
    value = np.zeros((2, NEEDED + 24))
    value[0, -24:] = 3.0
    value[1, -24:] = 52_000.0

    told = watch(value, AnomalyDetector(), metric="job_queue_depth")[-1]

    assert {(one.target.node, one.severity) for one in told} == {("node-1", Severity.WARNING)}


def test_what_lasts_in_the_good_direction_is_info() -> None:
    value = history(120, steps=KNOWN_STEPS)
    value[2, -24:] -= 12.0

    assert {a.severity for a in watch(value)[-1]} == {Severity.INFO}


def test_a_new_regime_is_told_and_then_taken_as_it_is() -> None:
    value = history(steps=NEEDED + 600)
    value[1, NEEDED:] += 8.0

    looks = watch(value)
    told = ["node-1" in {a.target.node for a in seen} for seen in looks]

    assert told[NEEDED - COLUMNS + 1]
    assert not any(told[-240:])
    assert sum(told) <= 260


def test_learning_from_anomalies_ends_them_sooner() -> None:
    value = history(steps=NEEDED + 300)
    value[1, NEEDED:] += 8.0

    def told(learn_anomalies: bool) -> int:
        settings = AnomalySettings(false_alarms_per_day=1.0, learn_anomalies=learn_anomalies)
        return sum(bool(seen) for seen in watch(value, AnomalyDetector(settings)))

    assert told(True) < told(False)


def test_a_constant_series_is_calm_and_its_first_move_is_found() -> None:
    value = np.full((2, NEEDED), 25.0)
    value[0, -1] = 28.0

    looks = watch(value)

    assert not any(looks[:-1])
    assert [a.target.node for a in looks[-1]] == ["node-0"]


def test_rounding_of_a_constant_series_is_no_news() -> None:
    value = np.full((2, NEEDED), 25.0)
    value[0, -1] = 25.00001

    assert not any(watch(value))


def test_a_series_that_is_hardly_known_is_not_judged() -> None:
    value = history(steps=300)
    value[2, -1] = 60.0

    assert not any(watch(value))


def test_a_series_that_says_nothing_more_has_no_anomaly_now() -> None:
    value = history(steps=NEEDED + 30)
    value[2, NEEDED] = 60.0
    value[2, NEEDED + 1 :] = np.nan

    looks = watch(value)

    assert looks[NEEDED - COLUMNS + 1]
    assert not looks[-1]


def test_readings_outside_of_the_forecast_are_found_by_it() -> None:
    swing, forecast = swinging(METRIC, steps=3000)
    detector = AnomalyDetector(OFTEN)
    detector.expect({METRIC: forecast})

    with_it = watch(swing.value, detector)[-1]

    assert [(a.target.node, a.detector) for a in with_it] == [("node-0", "band")]


def test_targets_may_come_go_and_change_places() -> None:
    value = history()
    together, apart = AnomalyDetector(OFTEN), AnomalyDetector(OFTEN)
    watch(value, together)
    targets = tuple(nodes(4))
    time_s = NOW_S - STEP_S * np.arange(value.shape[1] - 1, -1, -1, dtype=np.float64)
    for end in range(COLUMNS, value.shape[1] + 1):
        part = slice(end - COLUMNS, end)
        order = list(np.random.default_rng(end).permutation(4))
        window = Window(METRIC, tuple(targets[k] for k in order), time_s[part], value[order, part])
        apart.look({METRIC: window}, topology=None, now_s=float(time_s[end - 1]))
    odd = Window(METRIC, targets[2:3], np.array([NOW_S + STEP_S]), np.array([[60.0]]))

    seen = [
        each.look({METRIC: odd}, topology=None, now_s=NOW_S + STEP_S).anomalies
        for each in (together, apart)
    ]

    assert [a.target.node for a in seen[0]] == ["node-2"]
    assert seen[0] == seen[1]


def test_a_new_fleet_is_learned_from_whole_windows() -> None:
    value = history()
    targets = tuple(nodes(4))
    time_s = NOW_S - STEP_S * np.arange(value.shape[1] - 1, -1, -1, dtype=np.float64)
    at_once, bit_by_bit = AnomalyDetector(OFTEN), AnomalyDetector(OFTEN)
    watch(value, bit_by_bit)

    at_once.look({METRIC: Window(METRIC, targets, time_s, value)}, topology=None, now_s=NOW_S)

    one, other = at_once.state(), bit_by_bit.state()
    assert all(np.array_equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("rate", [0.0, -1.0, 25.0, float("nan")])
def test_a_rate_that_cannot_be_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="false_alarms_per_day"):
        AnomalySettings(false_alarms_per_day=rate)


def test_gauges_with_a_bad_direction_are_watched_and_counters_flags_and_twins_are_not() -> None:
    names = {name for name, metric in CATALOG.items() if watched(metric)}

    assert {"gpu_temperature_celsius", "gpu_sm_clock_hz", "volume_read_latency_s"} <= names
    assert not names & {"gpu_power_watts", "port_up", "gpu_pcie_replay_total"}
    assert not names & {"gpu_memory_used_bytes", "rank_step_time_s"}


def test_surprise_is_the_rank_in_the_series_own_past() -> None:
    # Whatever the law of the scores, one in a hundred is beyond two decades.
    rng = np.random.default_rng(0)
    state = rank.empty(3, 2)
    high = np.zeros(3)
    for k in range(6000):
        one = np.array([rng.exponential(), rng.lognormal(), abs(rng.standard_normal())])
        surprise, _ = rank.surprise(
            np.tile(one, (2, 1)).astype(np.float32), state, np.zeros(3, np.bool_)
        )
        high += (surprise >= 2) & (k >= 1000)

    assert np.all(np.abs(high / 5000 - 0.01) < 0.005)


def test_further_out_is_rarer_unless_the_series_has_been_far_out_before() -> None:
    state, nobody = rank.empty(2, 1), np.zeros(2, np.bool_)
    for score in np.abs(np.random.default_rng(0).standard_normal((2000, 2))):
        rank.surprise(score[None].astype(np.float32), state, nobody)
    rank.surprise(np.array([[np.nan, 1e5]], np.float32), state, nobody)

    near, _ = rank.surprise(np.full((1, 2), 60.0, np.float32), state, ~nobody)
    far, _ = rank.surprise(np.full((1, 2), 6e4, np.float32), state, ~nobody)

    assert far[0] > near[0] + 2
    assert far[1] == near[1]


def test_the_threshold_lets_as_much_through_as_is_stated() -> None:
    rng = np.random.default_rng(0)
    state = pool.empty()
    for _ in range(48):
        pool.learn(state, rng.exponential(0.4, 2000) + 2, 0.5)
    limit = pool.threshold(state, 0.5)

    through = float((rng.exponential(0.4, 200_000) + 2 >= limit).mean())

    assert 24 * through == pytest.approx(0.5, rel=0.15)


def test_rarer_alarms_need_a_higher_surprise_beyond_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    state = pool.empty()
    for _ in range(48):
        pool.learn(state, rng.exponential(0.4, 5) + 2, 0.5)

    limits = [pool.threshold(state, rate) for rate in (5.0, 0.5, 0.05, 0.005)]

    assert limits == sorted(set(limits))
    # The law's own: 2 + 0.4 ln(24 / rate).
    assert limits[-1] == pytest.approx(2 + 0.4 * np.log(24 / 0.005), rel=0.25)


def test_a_fleet_that_fails_at_once_does_not_deafen() -> None:
    rng = np.random.default_rng(0)
    state = pool.empty()
    for _ in range(48):
        pool.learn(state, rng.exponential(0.4, 500) + 2, 0.1)
    before = pool.threshold(state, 0.1)

    pool.learn(state, np.full(500, 9.0), 0.1)

    assert pool.threshold(state, 0.1) < before + 1.5


def test_a_score_comes_before_its_reading_is_learned() -> None:
    # The same wild reading surprises less the second time: the first was not yet in its own rank.
    memory = scores.empty(1)
    for x in history(1)[0]:
        scores.surprise(np.array([x]), memory)

    first, _ = scores.surprise(np.array([60.0]), memory)
    second, _ = scores.surprise(np.array([60.0]), memory)

    assert first[0] > second[0] > 0


def test_a_job_and_a_rank_keep_their_names_through_a_memory() -> None:
    targets = (Target(job="88"), Target(node="a", gpu="GPU-1", job="88", rank="3"))
    metric = "job_queue_depth"
    window = Window(metric, targets, np.array([NOW_S]), np.ones((2, 1)))
    detector, again = AnomalyDetector(), AnomalyDetector()
    detector.look({metric: window}, topology=None, now_s=NOW_S)

    again.restore(detector.state())

    assert again.state()[f"{metric}/targets"].tolist() == [
        ["", "", "", "", "88", "", "", ""],
        ["a", "GPU-1", "", "", "88", "3", "", ""],
    ]


def test_a_reading_too_large_to_keep_is_none() -> None:
    memory, rng = scores.empty(1), np.random.default_rng(0)
    scores.surprise(np.array([1e300]), memory)
    for _ in range(2000):
        surprise, _ = scores.surprise(rng.normal(5.0, 1.0, 1), memory)

    assert np.isfinite(surprise).all()
    assert memory["baseline"]["level"] == pytest.approx(5.0, abs=0.5)
