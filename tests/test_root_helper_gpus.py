"""The root helper sets GPUs through NVML itself, within bounds, and gives back what was there."""

from pathlib import Path
from typing import Any

import pytest

from agent.lab.nvml.scenario import Scenario
from tests.root_helper import ask, desk_at


@pytest.fixture
def gpu(nvml: Scenario) -> str:
    """The UUID of the second of eight GPUs; nothing is set on it yet."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(1)
    uuid = str(pynvml.nvmlDeviceGetUUID(handle))
    pynvml.nvmlShutdown()
    return uuid


def read(call: str, gpu: str, *arguments: Any) -> int:
    """Return what the driver says of a GPU now."""
    import pynvml

    pynvml.nvmlInit()
    found = getattr(pynvml, call)(pynvml.nvmlDeviceGetHandleByUUID(gpu), *arguments)
    pynvml.nvmlShutdown()
    return int(found)


def watts(gpu: str) -> int:
    return read("nvmlDeviceGetPowerManagementLimit", gpu) // 1000


def test_power_is_limited_and_what_was_there_comes_back(
    tmp_path: Path, nvml: Scenario, gpu: str
) -> None:
    nvml.say("gpu 1 power_limit 650000")  # a person's own limit, not the board's
    first = ask(desk_at(tmp_path), "power_limit", "a", gpu=gpu, watts=500)
    second = ask(desk_at(tmp_path), "power_limit", "b", gpu=gpu, watts=450)
    during = watts(gpu)
    back = ask(desk_at(tmp_path), key="c", **second["inverse"])

    assert (first["before"], second["before"], during) == (650_000, 650_000, 450)
    assert (back["ok"], watts(gpu)) == (True, 650)


def test_power_out_of_bounds_is_refused_with_the_bounds(
    tmp_path: Path, nvml: Scenario, gpu: str
) -> None:
    low = ask(desk_at(tmp_path), "power_limit", "a", gpu=gpu, watts=100)
    high = ask(desk_at(tmp_path, most_watts=600), "power_limit", "b", gpu=gpu, watts=650)
    tight = ask(desk_at(tmp_path, least_watts=400), "power_limit", "c", gpu=gpu, watts=300)

    assert {each["code"] for each in (low, high, tight)} == {"out_of_bounds"}
    assert "not within 200000 to 700000 mW" in low["error"]
    assert watts(gpu) == 700


def test_clocks_are_held_and_freed(tmp_path: Path, nvml: Scenario, gpu: str) -> None:
    import pynvml

    desk = desk_at(tmp_path)
    held = ask(desk, "clock_lock", "a", gpu=gpu, percent=70)
    during = read("nvmlDeviceGetClockInfo", gpu, pynvml.NVML_CLOCK_SM)
    nvml.say("gpu 1 clock_event_reasons 2")  # by our own lock: no reason to refuse the next
    lower = ask(desk, "clock_lock", "b", gpu=gpu, percent=60)
    back = ask(desk, key="c", **lower["inverse"])

    assert (held["ok"], during, lower["ok"], back["ok"]) == (True, 1386, True, True)
    assert read("nvmlDeviceGetClockInfo", gpu, pynvml.NVML_CLOCK_SM) == 1980
    theirs = ask(desk, "clock_lock", "d", gpu=gpu, percent=70)
    assert theirs["code"] == "held_by_others"
    assert ask(desk, "clock_lock", "e", gpu=gpu, percent=20)["code"] == "out_of_bounds"


def test_a_gpu_is_reset_only_while_nobody_holds_it(
    tmp_path: Path, nvml: Scenario, gpu: str
) -> None:
    told = tmp_path / "told"
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {told}\n')
    program.chmod(0o755)
    desk = desk_at(tmp_path, nvidia_smi=(str(program),))

    held = ask(desk, "gpu_reset", "a", gpu=gpu)
    assert (held["code"], "process 4101 holds it" in held["error"]) == ("gpu_in_use", True)
    assert not told.exists()

    nvml.unsay("gpu 1 process 4101 70204260352")
    free = ask(desk, "gpu_reset", "b", gpu=gpu)
    assert (free["ok"], free["inverse"]) == (True, None)
    assert told.read_text() == f"--gpu-reset -i {gpu}\n"


def test_an_order_that_the_driver_refuses_changes_nothing_and_holds_nothing(
    tmp_path: Path, nvml: Scenario, gpu: str
) -> None:
    nvml.say("gpu 1 fails nvmlDeviceSetPowerManagementLimit 4")
    desk = desk_at(tmp_path)
    refused = ask(desk, "power_limit", "a", gpu=gpu, watts=500)
    unknown = ask(desk, "power_limit", "b", gpu="GPU-00000000", watts=500)
    back = ask(desk, "power_limit", "c", gpu=gpu, restore=True)

    assert (refused["code"], "NVMLError_NoPermission" in refused["error"]) == (
        "action_failed",
        True,
    )
    assert (unknown["code"], back["code"]) == ("action_failed", "nothing_held")
    assert watts(gpu) == 700


def test_a_driver_that_hangs_holds_up_orders_about_gpus_alone(
    tmp_path: Path, nvml: Scenario, gpu: str
) -> None:
    nvml.say("gpu 1 hangs nvmlDeviceGetPowerManagementLimit")
    desk = desk_at(tmp_path, deadline_s=0.05)
    hung = ask(desk, "power_limit", "a", gpu=gpu, watts=500)
    other = ask(desk, "loader_hint", "b", job="7", loaders=2)
    still = ask(desk, "power_limit", "c", gpu=gpu, watts=500)
    nvml.unsay("gpu 1 hangs nvmlDeviceGetPowerManagementLimit")

    assert (hung["code"], still["code"], other["ok"]) == ("action_failed", "action_failed", True)
    assert "the driver hangs" in hung["error"]
    assert watts(gpu) == 700
