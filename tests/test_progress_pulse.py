"""The rhythm of a GPU's power tells a step's time; where there is none, nothing is said."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.collect.nvml import NvmlReader
from agent.lab.nvml.scenario import Scenario
from agent.progress.pulse import PulseReader, rhythm_s
from core.types import Floats
from detectors.progress.pulse import period_s

EVERY_S = 0.1
T_S = np.arange(120.0) * EVERY_S


def steps(period: float, *, busy: float = 0.7, noise: float = 0.0, seed: int = 0) -> Floats:
    """Watts of a GPU that computes for a share of each step and waits for the rest."""
    waves = np.where((T_S / period) % 1.0 < busy, 650.0, 350.0)
    return np.asarray(waves + np.random.default_rng(seed).normal(0.0, noise, len(T_S)))


@pytest.mark.parametrize("noise", [0.0, 40.0])
@pytest.mark.parametrize("busy", [0.5, 0.7])
@pytest.mark.parametrize("period", [0.5, 0.73, 1.1, 2.0, 3.4])
def test_a_steps_time_is_found(period: float, busy: float, noise: float) -> None:
    assert period_s(steps(period, busy=busy, noise=noise), EVERY_S) == pytest.approx(
        period, rel=0.1
    )


@given(st.integers(0, 1000))
def test_noise_has_no_rhythm(seed: int) -> None:
    watts = 500 + np.random.default_rng(seed).normal(0.0, 60.0, len(T_S))

    assert math.isnan(period_s(watts, EVERY_S))


@pytest.mark.parametrize(
    "watts",
    [
        np.full(120, 70.0),
        70 + 0.5 * np.sin(T_S),
        np.linspace(100, 700, 120),
        steps(9.0),
        np.where(T_S < 6, 100.0, 700.0),
        steps(1.0)[:10],
        np.where(T_S[5] == T_S, np.nan, steps(1.0)),
    ],
    ids=["idle", "meter", "rising", "too long", "begins", "too short", "gap"],
)
def test_what_does_not_repeat_itself_has_no_period(watts: Floats) -> None:
    assert math.isnan(period_s(watts, EVERY_S))


def test_uneven_samples_are_laid_even() -> None:
    jitter = np.random.default_rng(1).uniform(-0.02, 0.02, len(T_S))
    time_s = T_S + jitter
    watts = np.where((time_s / 1.2) % 1.0 < 0.7, 650.0, 350.0)

    assert rhythm_s(time_s, watts) == pytest.approx(1.2, rel=0.05)
    assert math.isnan(rhythm_s(np.zeros(2), np.zeros(2)))
    assert math.isnan(rhythm_s(np.zeros(0), np.zeros(0)))


def test_the_drivers_samples_are_read_and_a_gpu_without_is_not_asked_again(
    nvml: Scenario, nvml_calls: Callable[[str], int]
) -> None:
    nvml.set(0, "power_period", 1200)
    nvml.set(0, "power_swing", 300_000)
    driver = NvmlReader("n1")
    driver.snapshot()
    reader = PulseReader("n1", lambda: driver.gpus)

    before = nvml_calls("nvmlDeviceGetSamples")
    first = reader.snapshot().readings
    once = nvml_calls("nvmlDeviceGetSamples") - before
    reader.snapshot()
    twice = nvml_calls("nvmlDeviceGetSamples") - before

    assert [(r.metric, r.target.gpu) for r in first] == [
        ("gpu_power_period_s", driver.gpus[0].uuid)
    ]
    assert first[0].value == pytest.approx(1.2, rel=0.05)
    assert (once, twice - once) == (2 + 7, 2)  # two calls a GPU, one where it says no
