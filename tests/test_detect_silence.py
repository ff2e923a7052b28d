"""A node or GPU that stops reporting is a symptom; a source that is down is not a thousand."""

import numpy as np

from core.target import Target
from core.topology import Topology
from core.types import Event, Severity, Window
from detectors.silence import Silence
from tests.fleet import NOW_S, STEP_S, gpus, nodes, ranks, topology, window


def found(*windows: Window, on: Topology | None = None) -> tuple[Event, ...]:
    by_metric = {each.metric: each for each in windows}
    return Silence(120.0).look(by_metric, topology=on, now_s=NOW_S).events


def readings(metric: str, targets: list[Target], quiet: dict[int, int]) -> Window:
    """``quiet``: row -> how many of its newest readings are missing."""
    value = np.full((len(targets), 41), 0.5)
    for row, missing in quiet.items():
        value[row, 41 - missing :] = np.nan
    return window(metric, targets, value)


def test_a_node_that_stopped_is_one_event_with_its_last_time() -> None:
    memory = readings("node_memory_used_ratio", nodes(3), {1: 20})
    power = readings("gpu_power_watts", gpus(3), dict.fromkeys(range(4, 8), 20))

    (event,) = found(memory, power)

    assert event.target == Target(node="node-1")
    assert (event.kind, event.severity) == ("silent", Severity.CRITICAL)
    assert event.time_s == NOW_S - 20 * STEP_S
    assert event.text == "node-1 has reported nothing for 5 min while others do"


def test_a_gpu_that_stopped_on_a_living_node_is_named() -> None:
    memory = readings("node_memory_used_ratio", nodes(2), {})
    power = readings("gpu_power_watts", gpus(2), {5: 20})

    (event,) = found(memory, power)

    assert event.target == Target(node="node-1", gpu="GPU-1-1")


def test_an_exporter_that_stopped_is_not_its_node() -> None:
    memory = readings("node_memory_used_ratio", nodes(3), {1: 20})
    power = readings("gpu_power_watts", gpus(3), {})

    (event,) = found(memory, power)

    assert (event.kind, event.severity) == ("exporter_silent", Severity.WARNING)
    assert event.text == "node-1's own readings stopped 5 min ago; parts of it still report"


def test_one_metric_that_stops_is_no_silent_target() -> None:
    power = readings("gpu_power_watts", gpus(2), {5: 20})
    warmth = readings("gpu_temperature_celsius", gpus(2), {})

    assert found(power, warmth) == ()


def test_a_source_that_is_down_is_not_its_targets_silence() -> None:
    assert found(readings("node_memory_used_ratio", nodes(3), dict.fromkeys(range(3), 20))) == ()


def test_a_short_pause_is_no_silence() -> None:
    assert found(readings("node_memory_used_ratio", nodes(3), {1: 7})) == ()


def test_a_node_silent_since_before_the_window_is_silent_still() -> None:
    (event,) = found(readings("node_memory_used_ratio", nodes(3), {1: 41}))

    assert event.time_s == NOW_S - 40 * STEP_S


def test_a_node_taken_out_of_the_cluster_is_not_silent() -> None:
    quiet = readings("node_memory_used_ratio", nodes(3), {2: 20})

    assert found(quiet, on=topology(2)) == ()
    assert len(found(quiet, on=topology(3))) == 1


def test_a_job_that_ended_and_a_volume_unmounted_are_no_news() -> None:
    steps = readings("rank_step_time_s", ranks("88", 2), {0: 20, 1: 20})
    volumes = [Target(node="node-0", volume="/a"), Target(node="node-0", volume="/b")]

    assert found(steps, on=topology(2)) == ()
    assert found(readings("volume_used_ratio", volumes, {1: 20})) == ()


def test_a_source_that_comes_back_is_given_time_to_name_them_all() -> None:
    """After an outage the first scrapes arrive one by one: nobody is missed at once."""
    outage, back = 40, 2
    value = np.full((50, 80), 0.5)
    value[:, -outage:] = np.nan
    value[:3, -back:] = 0.5

    assert found(window("node_memory_used_ratio", nodes(50), value)) == ()


def test_a_source_that_went_down_is_no_silence_of_those_it_scraped_first() -> None:
    """Scrapes are spread over the interval: at their end some targets are a column ahead."""
    value = np.full((50, 41), 0.5)
    value[:, -7:] = np.nan
    value[:25, -8:] = np.nan

    assert found(window("node_memory_used_ratio", nodes(50), value)) == ()
