"""The fleet's Prophet in torch gives the compiled path's answers, and says what it lacks."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from agent.bench.gpu import gpu_rows
from agent.bench.look_alikes import look_alikes
from detectors.forecast import FleetFit, FleetProphet
from detectors.forecast.prophet.moments import Values
from tests.prophet_series import grid, kkt_violation, series_with_turns

LENGTH, HORIZON_S = 720, 7200.0
TORCH = "torch"  # on the processor: what a GPU would do, step by step


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def both(value: Values, **keywords: Any) -> tuple[FleetFit, FleetFit]:
    """Return the compiled path's fit and torch's."""
    ours, theirs = FleetProphet(**keywords), FleetProphet(**keywords, device=TORCH)
    time_s = grid(value.shape[1])
    return ours.fit(time_s, value), theirs.fit(time_s, value)


def assert_same(one: FleetFit, other: FleetFit, value: Values) -> None:
    """Losses within 1e-6 of themselves, forecasts within 1e-4 standard deviations."""
    np.testing.assert_array_equal(other.status, one.status)
    np.testing.assert_allclose(other.loss, one.loss, rtol=1e-6, atol=1e-6)
    spread = np.where(np.isfinite(value), value, 0.0).std(axis=1, keepdims=True)
    first, second = one.predict(HORIZON_S), other.predict(HORIZON_S)
    for name in ("mean", "lower", "upper"):
        compiled, torched = getattr(first, name), getattr(second, name)
        assert torched.dtype == compiled.dtype
        np.testing.assert_array_equal(np.isnan(torched), np.isnan(compiled))
        assert np.nanmax(np.abs(torched - compiled) / np.maximum(spread, 1e-9)) < 1e-4


MODELS: tuple[Mapping[str, Any], ...] = (
    {"daily": True},
    {"daily": True, "weekly": 3},  # half a day: two optima in the noise lie close together
    {"growth": "flat", "daily": 3},
    {"n_changepoints": 0},
    {"n_changepoints": 60, "changepoint_prior_scale": 0.5},
    {"scaling": "minmax", "ar": False, "changepoint_prior_scale": 0.005},
)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_telemetry_has_the_same_fit_and_forecast(model: Mapping[str, Any]) -> None:
    value = look_alikes(240, grid(LENGTH), seed=0)

    ours, theirs = both(value, **model)

    assert_same(ours, theirs, value)


@pytest.mark.parametrize("length", [2, 3, 5, 27, 33, 100])
def test_few_readings_have_the_same_fit(length: int) -> None:
    value = series_with_turns(6, length, seed=length)

    assert_same(*both(value), value)


def test_lockstep_ends_at_the_optimum() -> None:
    value = series_with_turns(60, LENGTH, seed=5)

    fit = FleetProphet(daily=True, device=TORCH).fit(grid(LENGTH), value)

    assert max(kkt_violation(fit, row, value[row]) for row in range(60)) < 1e-5


@pytest.mark.parametrize("daily", [False, True])
def test_series_without_noise_have_the_same_fit(daily: bool) -> None:
    at = np.arange(1440, dtype=np.float64)
    shapes = at, 3 + 2 * at, np.maximum(0, at - 300), np.sin(at / 50), at > 350, np.sin(at / 200)
    value = np.array(shapes, dtype=np.float64)

    ours, theirs = both(value, daily=daily)

    assert_same(ours, theirs, value)
    assert max(*ours.rounds, *theirs.rounds) < 100


def test_gaps_constants_and_short_series_have_the_same_fit() -> None:
    value = series_with_turns(40, LENGTH)
    value[::3, 100:200] = np.nan
    value[1] = np.nan
    value[2] = 7.0
    value[4] = 0.0
    value[5, 1:] = np.nan
    value[7, 10] = np.inf
    value[8, -1] = np.nan
    value[10] *= 1e12
    value[11, ::2] = np.nan

    ours, theirs = both(value, daily=True)

    assert_same(ours, theirs, value)
    np.testing.assert_allclose(theirs.persistence, ours.persistence, atol=1e-7)
    np.testing.assert_array_equal(theirs.newest, ours.newest)
    np.testing.assert_array_equal(theirs.readings, ours.readings)


def test_chunks_are_put_together_in_order() -> None:
    value = series_with_turns(5000, 40)  # 4,096 at once
    value[::1000, 5:9] = np.nan

    ours, theirs = both(value)

    assert_same(ours, theirs, value)
    assert ours.moments is not None
    assert theirs.moments is not None
    np.testing.assert_array_equal(theirs.moments.gapped, np.arange(0, 5000, 1000))
    np.testing.assert_array_equal(theirs.moments.present, ours.moments.present)


def test_no_series_is_no_trouble() -> None:
    fit = FleetProphet(device=TORCH).fit(grid(50), np.empty((0, 50)))

    assert fit.predict(600).mean.shape == (0, 10)


def test_a_tensor_and_an_array_have_the_same_fit() -> None:
    value = look_alikes(30, grid(LENGTH), seed=1)
    model = FleetProphet(device=TORCH)

    array, tensor = (model.fit(grid(LENGTH), each) for each in (value, torch.from_numpy(value)))

    np.testing.assert_array_equal(tensor.coefficients, array.coefficients)
    assert tensor.predict(600).mean.dtype == np.float32


def test_readings_are_left_as_they_are() -> None:
    value = series_with_turns(5, LENGTH)
    value[0, 7] = np.nan
    before = value.copy()

    for each in (value, torch.from_numpy(value), np.asfortranarray(value)):
        FleetProphet(device=TORCH).fit(grid(LENGTH), each)

    np.testing.assert_array_equal(value, before)


def test_readings_that_may_not_be_written_to_are_taken() -> None:
    value = series_with_turns(5, LENGTH)
    value.flags.writeable = False

    ours, theirs = both(value)

    assert_same(ours, theirs, value)


def test_the_same_data_give_the_same_bits() -> None:
    value, model = series_with_turns(50, LENGTH), FleetProphet(daily=True, device=TORCH)

    first, second = (model.fit(grid(LENGTH), value).predict(3600) for _ in range(2))

    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.upper, second.upper)


def test_a_fit_goes_on_as_any_other() -> None:
    value = series_with_turns(10, LENGTH + 5)
    time_s = grid(LENGTH + 5)
    kept, later = slice(None, LENGTH), slice(LENGTH, None)
    fits = [FleetProphet(device=each).fit(time_s[kept], value[:, kept]) for each in ("cpu", TORCH)]

    ours, theirs = (fit.update(time_s[later], value[:, later]) for fit in fits)
    limits = [fit.breach(12.0, horizon_s=3600).probability for fit in fits]

    assert_same(ours, theirs, value)
    np.testing.assert_allclose(limits[1], limits[0], atol=1e-6)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values have shape \(3, 40\): give \(series, 50\)"):
        FleetProphet(device=TORCH).fit(grid(50), torch.zeros(3, 40))


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "mps", ""])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="give cpu, auto, cuda or one GPU"):
        FleetProphet(device=name)


def test_a_missing_gpu_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"'cuda:99': torch .* finds \d+ GPUs; install"):
        FleetProphet(device="cuda:99")


def test_a_missing_torch_is_named_and_auto_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(RuntimeError, match=r"which is not installed: install gpumedic\[controller"):
        FleetProphet(device="cuda")
    assert FleetProphet(device="auto").fit(grid(50), series_with_turns(2, 50)).device == "cpu"


@pytest.mark.parametrize("model", [{"robust": True}, {"seasonality_mode": "multiplicative"}])
def test_models_that_torch_does_not_fit_are_refused_unless_auto(model: Mapping[str, Any]) -> None:
    value = series_with_turns(2, 200)

    with pytest.raises(ValueError, match="give device cpu, or auto"):
        FleetProphet(device=TORCH, daily=True, **model).fit(grid(200), value)
    assert FleetProphet(device="auto", daily=True, **model).fit(grid(200), value).device == "cpu"


def test_a_fit_on_the_processor_does_not_import_torch() -> None:
    code = (
        "import sys, numpy as np; from detectors.forecast import FleetProphet;"
        "FleetProphet().fit(np.arange(50.0), np.random.rand(2, 50)).predict(5.0);"
        "sys.exit('torch' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_bench_says_that_there_is_no_gpu() -> None:
    rows = gpu_rows()

    assert [row.metric for row in rows] == ["gpu_series_per_s", "gpu_ratio_of_bandwidth"]
    assert {(row.value, row.note) for row in rows} == {(None, "no GPU on this machine")}
