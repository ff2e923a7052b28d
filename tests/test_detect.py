"""All detectors together: what they see in one look, and what they must survive."""

import numpy as np
import pytest

from core.types import Window
from core.units import CATALOG
from detectors.detect import DetectSettings, detectors, plausible
from detectors.detector import Symptoms
from tests.fleet import NOW_S, gpus, nodes, topology, window


def look(*windows: Window) -> Symptoms:
    seen = plausible({each.metric: each for each in windows})
    found = Symptoms()
    for detector in detectors(DetectSettings()).values():
        found += detector.look(seen, topology=topology(8, jobs={"88": [0, 1]}), now_s=NOW_S)
    return found


def test_each_detector_has_its_say() -> None:
    memory = np.full((8, 41), 0.5)
    memory[1] = 0.97
    memory[3, -20:] = np.nan
    celsius = 62 + np.random.default_rng(0).normal(0, 0.8, (32, 41))
    celsius[2] += 22
    xid = np.zeros((32, 41))
    xid[2, -1] = 79

    seen = look(
        window("node_memory_used_ratio", nodes(8), memory),
        window("gpu_temperature_celsius", gpus(8), celsius),
        window("gpu_xid_code", gpus(8), xid),
    )

    assert {(a.detector, a.target.node) for a in seen.anomalies} == {
        ("static", "node-1"),
        ("peer", "node-0"),
    }
    assert {(e.kind, e.code) for e in seen.events} == {
        ("xid", "79"),
        ("exporter_silent", "no_readings"),
    }


def test_a_silent_node_is_seen_when_all_of_it_is_silent() -> None:
    memory = np.full((8, 41), 0.5)
    memory[3, -20:] = np.nan

    (event,) = look(window("node_memory_used_ratio", nodes(8), memory)).events

    assert (event.kind, event.target.node) == ("silent", "node-3")


def test_a_healthy_fleet_is_calm() -> None:
    rng = np.random.default_rng(0)
    windows = [
        window(name, gpus(8), np.abs(level * (1 + 0.01 * rng.standard_normal((32, 41)))))
        for name, level in (
            ("gpu_temperature_celsius", 62),
            ("gpu_sm_clock_hz", 1.7e9),
            ("gpu_memory_used_ratio", 0.8),
        )
    ]

    assert look(*windows) == Symptoms()


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf, 1e300, -1e300])
@pytest.mark.parametrize("metric", sorted(CATALOG))
def test_no_reading_breaks_a_detector(metric: str, fill: float) -> None:
    value = np.full((8, 41), fill)
    value[:4, ::3] = 0.5

    assert isinstance(look(window(metric, gpus(2), value)), Symptoms)
    assert isinstance(look(window(metric, gpus(2), value[:, :1])), Symptoms)
    assert look(window(metric, gpus(0), np.empty((0, 41)))) == Symptoms()


def test_a_metric_nobody_knows_is_passed_over() -> None:
    assert look(window("made_up_ratio", nodes(3), np.full((3, 41), 5.0))) == Symptoms()


def test_the_same_look_sees_the_same() -> None:
    value = np.random.default_rng(1).uniform(0.9, 1.0, (8, 41))
    seen = [look(window("node_memory_used_ratio", nodes(8), value)) for _ in range(2)]

    assert seen[0] == seen[1]
    assert seen[0].anomalies
