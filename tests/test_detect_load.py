"""What a GPU's load explains is no fault: a slow clock of an idle one, the warmth of a busy one."""

from collections.abc import Sequence

import numpy as np

from core.target import Target
from core.types import Anomaly, Floats, Severity, Window
from detectors.anomaly.detector import AnomalyDetector, AnomalySettings
from detectors.anomaly.turnover import Turnover
from detectors.load import LOAD, mean_load
from detectors.peer import Peers
from detectors.progress.slowdown import GOODPUT, Slowdowns
from tests.fleet import NOW_S, STEP_S, gpus, times, topology, window

CLOCK, HEAT = "gpu_sm_clock_hz", "gpu_temperature_celsius"
JOB = topology(4, jobs={"88": range(4)})
ODD = 5


def noisy(level: float, share: float = 0.002) -> Floats:
    noise = np.random.default_rng(0).normal(0, share * level, (16, 41))
    return np.asarray(level + noise)


def odd_ones(metric: str, value: Floats, load: Floats) -> set[str]:
    windows = {metric: window(metric, gpus(4), value), LOAD: window(LOAD, gpus(4), load)}
    found = Peers().look(windows, topology=JOB, now_s=NOW_S).anomalies
    return {one.target.gpu for one in found}


def test_the_clock_of_an_idle_gpu_is_not_held_against_its_peers() -> None:
    clock, load = noisy(1.98e9), noisy(0.95)
    clock[ODD, -10:] = 345e6
    assert odd_ones(CLOCK, clock, load) == {gpus(4)[ODD].gpu}

    load[ODD, -10:] = 0.0
    assert odd_ones(CLOCK, clock, load) == set()


def test_a_gpu_that_was_busier_may_be_warmer() -> None:
    heat, load = noisy(40.0), noisy(0.2)
    heat[ODD] += 20
    assert odd_ones(HEAT, heat, load) == {gpus(4)[ODD].gpu}

    load[ODD, :24] = 0.95  # for six of ten minutes; it cools since
    assert odd_ones(HEAT, heat, load) == set()


def test_a_few_degrees_are_none_however_cool_the_peers() -> None:
    heat = noisy(28.0)
    heat[ODD] += 8

    assert odd_ones(HEAT, heat, noisy(0.1)) == set()


def test_gpus_without_a_job_have_no_peers_where_jobs_are_known() -> None:
    heat = noisy(30.0)
    heat[ODD] += 30
    windows = {HEAT: window(HEAT, gpus(4), heat)}

    on = [topology(4, jobs={"88": [0]}), JOB, topology(4)]
    found = [Peers().look(windows, topology=one, now_s=NOW_S).anomalies for one in on]
    assert [len(anomalies) for anomalies in found] == [0, 1, 1]


def test_load_is_looked_up_by_target_and_unknown_where_there_is_none() -> None:
    load = window(LOAD, gpus(1), np.arange(4 * 41).reshape(4, 41) / 200.0)
    targets = (*reversed(gpus(1)), Target(node="node-9", gpu="GPU-9-9"))

    mean = mean_load(load, targets, NOW_S - STEP_S)

    np.testing.assert_allclose(mean, [163 / 200 - 0.0025, 0.6075, 0.4025, 0.1975, np.nan])
    assert np.isnan(mean_load(load, targets, NOW_S + 1)).all()


def warnings_of_a_clock_that_falls(load: float) -> list[Anomaly]:
    """After six hours at full clock."""
    detector, said = AnomalyDetector(AnomalySettings(24.0)), list[Anomaly]()
    steps = 6 * 240
    random = np.random.default_rng(1)
    clock = 1.98e9 + random.normal(0, 2e6, (16, steps + 120))
    clock[:, steps:] = 345e6 + random.normal(0, 1e6, (16, 120))
    busy = np.full(clock.shape, 0.95)
    busy[:, steps:] = load
    start_s = times(1)[0]
    for last in range(40, clock.shape[1], 8):
        span = slice(last - 40, last + 1)
        time_s = start_s + STEP_S * np.arange(span.start, span.stop)
        windows = {
            CLOCK: Window(CLOCK, tuple(gpus(4)), time_s, clock[:, span]),
            LOAD: Window(LOAD, tuple(gpus(4)), time_s, busy[:, span]),
        }
        found = detector.look(windows, topology=None, now_s=float(time_s[-1]))
        clocks = [one for one in found.anomalies if one.metric == CLOCK]
        said += [one for one in clocks if one.severity is Severity.WARNING]
    return said


def test_a_clock_that_falls_is_worth_a_warning_under_load_only() -> None:
    assert warnings_of_a_clock_that_falls(0.95)
    assert not warnings_of_a_clock_that_falls(0.0)


def test_what_begins_with_another_job_is_expected() -> None:
    turnover = Turnover()
    busy, first, second = (Target(node=f"node-{n}", gpu=f"GPU-{n}-0") for n in (0, 1, 2))
    turnover.note(topology(4, jobs={"88": [0, 1]}), NOW_S)
    assert not turnover.explains(busy, NOW_S)

    turnover.note(None, NOW_S + 15)
    turnover.note(topology(4, jobs={"88": [0, 2]}), NOW_S + 30)

    assert not turnover.explains(busy, NOW_S + 30)
    for target in (first, second, Target(node="node-2"), Target(node="node-1", port="p0")):
        assert turnover.explains(target, NOW_S)
        assert turnover.explains(target, NOW_S + 1800)
        assert not turnover.explains(target, NOW_S + 2 * 3600)
        assert not turnover.explains(target, NOW_S - 600)


def goodput_alarms(jobs: dict[str, Sequence[int]]) -> int:
    """After half an hour of good work of one job there is none."""
    detector, said = Slowdowns(), 0
    value = np.full((1, 240), 0.97) + np.random.default_rng(2).normal(0, 0.002, (1, 240))
    value[:, 120:] = 0.0
    for last in range(40, 240, 4):
        time_s = NOW_S + STEP_S * np.arange(last - 40.0, last + 1.0)
        now = np.asarray(value[:, last - 40 : last + 1], dtype=np.float64)
        good = Window(GOODPUT, (Target(job="88"),), time_s, now)
        on = topology(4, jobs={"88": [0]} if last < 120 else {**jobs})
        found = detector.look({GOODPUT: good}, topology=on, now_s=float(time_s[-1]))
        said += len(found.anomalies)
    return said


def test_a_job_that_has_ended_has_not_become_slower() -> None:
    assert goodput_alarms({"88": [0]})
    assert not goodput_alarms({"99": [0]})
