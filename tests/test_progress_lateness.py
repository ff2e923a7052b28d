"""A service that answers far later than it did is told, young or old; its usual swing is not."""

import numpy as np
import pytest

from agent.evaluations.play import Play
from core.types import Anomaly, Floats, Severity, Window
from detectors.progress import Lateness
from sim.library import scenario
from sim.world import World
from tests.job_readings import of_jobs, watch

LATENCY, QUEUE = "job_latency_p99_s", "job_queue_depth"
STEP_S, YOUNG, LATE = 15.0, 40, 40


def service(metric: str, value: Floats) -> Window:
    return of_jobs(metric, value, every_s=STEP_S, jobs=("chat",))


def usual(count: int, *, seed: int = 0, spread: float = 0.05) -> Floats:
    """(T,) seconds around one and a half."""
    return np.asarray(1.5 * np.exp(np.random.default_rng(seed).normal(0, spread, count)))


def told(*windows: Window, least: Severity = Severity.WARNING) -> dict[int, Anomaly]:
    """Column -> the anomaly of the only service, where it is as severe."""
    return {
        column: anomalies[0]
        for column, anomalies in watch(Lateness(), windows).items()
        if anomalies[0].severity.rank >= least.rank
    }


@pytest.mark.parametrize("known", [YOUNG, 1600], ids=["ten minutes", "hours"])
def test_a_jump_that_lasts_is_a_warning_within_three_minutes(known: int) -> None:
    value = np.concatenate([usual(known), np.full(LATE, 62.7)])

    found = told(service(LATENCY, value))

    first = min(found)
    assert known < first <= known + 12
    assert found[first].target.job == "chat"
    assert found[max(found)].value == pytest.approx(62.7, rel=0.1)
    assert found[max(found)].text.startswith(
        "job chat answers late: its 99th percentile request latency is "
    )
    assert found[first].upper < found[first].value


def test_a_slow_minute_is_none_and_what_is_back_is_over() -> None:
    slow_minute = np.concatenate([usual(YOUNG), np.full(4, 62.7), usual(YOUNG, seed=1)])
    half_an_hour = np.concatenate([usual(YOUNG), np.full(120, 62.7), usual(YOUNG, seed=1)])

    assert not told(service(LATENCY, slow_minute))
    assert YOUNG + 120 <= max(told(service(LATENCY, half_an_hour))) < YOUNG + 130


def test_half_as_late_again_is_a_swing_of_the_load_and_sooner_is_good() -> None:
    later = np.concatenate([usual(400), 1.5 * usual(400, seed=1)])
    sooner = np.concatenate([usual(400), 0.2 * usual(400, seed=1)])

    assert not told(service(LATENCY, later))
    assert not told(service(LATENCY, sooner))


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_told_of_in_no_day(seed: int) -> None:
    assert not told(service(LATENCY, usual(5760, seed=seed, spread=0.3)))


def test_a_service_late_for_a_day_is_taken_as_it_is() -> None:
    value = np.concatenate([usual(YOUNG), 62.7 * usual(6200, seed=1) / 1.5])

    found = told(service(LATENCY, value))

    assert YOUNG + 5700 <= max(found) <= YOUNG + 5760


def test_a_queue_counts_where_no_latency_is_told_and_a_few_requests_are_none() -> None:
    nobody, some = np.zeros(YOUNG), np.full(LATE, 9.0)
    many = np.concatenate([nobody, np.full(LATE, 52_000.0)])

    assert not told(service(QUEUE, np.concatenate([nobody, some])))
    found = told(service(QUEUE, many))
    assert found[max(found)].text.startswith("job chat keeps requests waiting: its requests that")
    assert not told(service(LATENCY, usual(len(many))), service(QUEUE, many))


def test_a_surge_of_requests_is_one_warning_of_a_young_cluster() -> None:
    script = scenario("inference-surge")
    world = World.build(script, seed=3)
    play = Play(world)

    play.run(1500.0)

    (one,) = play.seen.values()
    assert one.severity is Severity.WARNING
    assert 0 < one.opened_s - script.start_s - script.faults[0].onset_s <= 300
    assert one.title.startswith("Job chat answers late")
