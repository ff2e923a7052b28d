"""GPUs are read through nvidia-ml-py itself, from a library of ours that plays the driver."""

from collections.abc import Callable

import pytest

from agent.collect.nvml import GpuProcess, NvmlReader, inventory
from agent.collect.nvml.queries import CLOCK_EVENTS, FIELDS, LINK_FIELDS, QUERIES
from agent.collect.reading import Reading, Snapshot
from agent.lab.nvml.scenario import GPU_IS_LOST, UNKNOWN_ERROR, VERSION_MISMATCH, Scenario
from core.clock import ManualClock
from core.details import DETAILS
from core.target import TargetKind
from core.units import CATALOG

FAN = "nvmlDeviceGetFanSpeed"
POWER = "nvmlDeviceGetPowerUsage"
ASKED = {
    *(part.metric for query in QUERIES for part in query.parts),
    *(field.metric for field in (*FIELDS, *LINK_FIELDS)),
}
FOLLOWS = {
    "gpu_memory_used_ratio",
    "gpu_nvlink_errors_total",
    "gpu_nvlinks_up",
    "gpu_temperature_slowdown_margin_celsius",
    "gpu_temperature_shutdown_margin_celsius",
    "gpu_throttle_ratio",
}
BESIDE = {
    "gpu_answers",
    "gpu_info",
    "gpu_minor",
    "gpu_clock_event",
    "gpu_fabric_state",
    "gpu_fabric_health",
    "gpu_processes",
    "gpu_mig_enabled",
}
# No fan on this board; the links of an H100 do not count what those of a B200 do.
LACKING = {
    "gpu_fan_speed_ratio",
    "gpu_nvlink_receive_errors_total",
    "gpu_nvlink_recoveries_failed_total",
    "gpu_nvlink_effective_errors_total",
    "gpu_nvlink_symbol_errors_total",
}


def of(found: Snapshot, gpu: int, metric: str) -> list[Reading]:
    """Return a metric's readings of a GPU by its number."""
    start = f"GPU-{gpu:08d}"
    return [r for r in found.readings if r.metric == metric and r.target.gpu.startswith(start)]


def value(found: Snapshot, gpu: int, metric: str) -> float:
    (reading,) = of(found, gpu, metric)
    return reading.value


def reasons(found: Snapshot, gpu: int, metric: str) -> set[str]:
    start = f"GPU-{gpu:08d}"
    return {m.reason for m in found.missing if m.metric == metric and start in m.target.gpu}


async def twice(reader: NvmlReader, clock: ManualClock, apart_s: float = 10.0) -> Snapshot:
    reader.snapshot()
    await clock.advance(apart_s)
    return reader.snapshot()


async def test_every_gpu_shows_all_that_is_asked(nvml: Scenario, clock: ManualClock) -> None:
    found = await twice(NvmlReader("n1", clock=clock), clock)

    assert found.problems == ()
    for gpu in range(8):
        shown = {r.metric for r in found.readings if f"GPU-{gpu:08d}" in r.target.gpu}
        assert shown == (ASKED | FOLLOWS | BESIDE) - LACKING
        assert len(of(found, gpu, "gpu_nvlink_state")) == 18
        assert len(of(found, gpu, "gpu_clock_event")) == len(CLOCK_EVENTS)
    assert {m.metric for m in found.missing} == LACKING
    assert reasons(found, 3, "gpu_fan_speed_ratio") == {f"{FAN}: Not Supported"}


async def test_values_are_in_base_units(nvml: Scenario, clock: ManualClock) -> None:
    found = await twice(NvmlReader("n1", clock=clock), clock)

    assert value(found, 5, "gpu_utilization_ratio") == pytest.approx(0.97)
    assert value(found, 5, "gpu_power_watts") == pytest.approx(671)
    assert value(found, 5, "gpu_sm_clock_hz") == 1755e6
    assert value(found, 5, "gpu_memory_used_ratio") == pytest.approx(0.835, abs=1e-3)
    assert value(found, 5, "gpu_memory_temperature_celsius") == 71
    assert value(found, 5, "gpu_temperature_slowdown_offset_celsius") == -2
    assert value(found, 5, "gpu_temperature_slowdown_margin_celsius") == 31
    assert value(found, 5, "gpu_energy_joules_total") == pytest.approx(2 * 671)


def test_the_names_of_a_gpu_and_of_its_driver(nvml: Scenario) -> None:
    reader = NvmlReader("n1")
    reader.snapshot()

    gpu = reader.gpus[3]
    assert (gpu.index, gpu.pci, gpu.serial) == (3, "00000000:5D:00.0", "1653023050003")
    assert (gpu.name, gpu.vbios) == ("NVIDIA H100 80GB HBM3", "96.00.89.00.01")
    assert gpu.processes == (GpuProcess(4103, 70204260352, "compute"),)
    assert (reader.driver.driver, reader.driver.cuda) == ("580.95.05", "13.0")
    assert gpu.recovery == 0


def test_every_reading_is_in_a_catalogue() -> None:
    known = {name for name, metric in CATALOG.items() if metric.scope is TargetKind.GPU}
    ours = ASKED | FOLLOWS | BESIDE

    assert ours <= known | set(DETAILS)
    assert not set(DETAILS) & set(CATALOG)


def test_nvml_is_opened_once_and_what_is_unsupported_asked_once(
    nvml: Scenario, nvml_calls: Callable[[str], int]
) -> None:
    reader = NvmlReader("n1")
    before = nvml_calls("nvmlInitWithFlags"), nvml_calls(FAN), nvml_calls(POWER)

    for _ in range(4):
        reader.snapshot()

    after = nvml_calls("nvmlInitWithFlags"), nvml_calls(FAN), nvml_calls(POWER)
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 8, 32]


def test_errors_that_rise_are_seen(nvml: Scenario) -> None:
    nvml.set(2, "field 3", "+7")
    nvml.set(2, "field 4", 1)
    reader = NvmlReader("n1")

    counts = [value(reader.snapshot(), 2, "gpu_ecc_corrected_total") for _ in range(3)]

    assert counts[1] - counts[0] == counts[2] - counts[1] == 7
    assert value(reader.snapshot(), 2, "gpu_ecc_uncorrected_total") == 1
    assert value(reader.snapshot(), 3, "gpu_ecc_corrected_total") == 0


def test_what_stands_still_is_the_same_reading_and_what_changes_is_another(nvml: Scenario) -> None:
    """Most of a GPU's readings are counts of errors: making them anew each second costs most."""
    nvml.say("gpu 3 field 165.0-17 1", "gpu 3 field 143 0")
    reader = NvmlReader("n1")
    reader.snapshot()
    before = reader.snapshot()
    nvml.say("gpu 3 field 165.5 2", "gpu 3 field 143 -1")

    after = reader.snapshot()
    links = list(
        zip(of(before, 3, "gpu_nvlink_state"), of(after, 3, "gpu_nvlink_state"), strict=True)
    )
    remapped = [r.value for r in of(after, 3, "gpu_rows_remapped")]

    assert [old is new for old, new in links] == [place != 5 for place in range(18)]
    assert links[5][1].value == 2.0
    assert -1.0 in remapped
    assert of(after, 3, "gpu_energy_joules_total") != of(before, 3, "gpu_energy_joules_total")


async def test_a_hot_gpu_shows_why_its_clocks_are_held_and_how_long(
    nvml: Scenario, clock: ManualClock
) -> None:
    nvml.set(1, "temperature", 90)
    nvml.set(1, "margin", -3)
    nvml.set(1, "clock_event_reasons", "0x60")
    nvml.set(1, "field 270", "+2500000000")

    found = await twice(NvmlReader("n1", clock=clock), clock)

    held = {r.labels[0][1] for r in of(found, 1, "gpu_clock_event") if r.value}
    assert held == {"sw_thermal", "hw_thermal"}
    assert value(found, 1, "gpu_throttle_ratio") == pytest.approx(0.25)
    assert value(found, 1, "gpu_temperature_slowdown_margin_celsius") == -1
    assert value(found, 2, "gpu_throttle_ratio") == 0


def test_an_older_gpu_has_its_margins_from_its_limits(nvml: Scenario) -> None:
    lines = nvml.path.read_text().splitlines()
    old = [each for each in lines if " margin " not in each and " field 19" not in each]
    Scenario(nvml.path, old)

    found = NvmlReader("n1").snapshot()

    assert value(found, 0, "gpu_temperature_slowdown_margin_celsius") == 89 - 58
    assert value(found, 0, "gpu_temperature_shutdown_margin_celsius") == 92 - 58


def test_an_older_driver_has_the_clocks_reasons_by_their_former_name(nvml: Scenario) -> None:
    nvml.say("gpu * fails nvmlDeviceGetCurrentClocksEventReasons 13")

    found = NvmlReader("n1").snapshot()

    assert [r.labels[0][1] for r in of(found, 0, "gpu_clock_event") if r.value] == ["power_cap"]


def test_a_gpu_off_the_bus_costs_its_own_readings_until_it_is_back(nvml: Scenario) -> None:
    reader = NvmlReader("n1")
    reader.snapshot()

    nvml.say(lost := f"gpu 3 fails * {GPU_IS_LOST}")
    found, trouble = reader.snapshot(), reader.gpus[3].trouble
    nvml.unsay(lost)
    back = reader.snapshot()

    (problem,) = found.problems
    assert (problem.code, "GPU 3 (00000000:5D:00.0)" in problem.text) == ("gpu_lost", True)
    assert trouble == "nvmlDeviceGetMigMode: GPU is lost"
    assert reader.gpus[3].trouble == ""
    assert [value(found, gpu, "gpu_answers") for gpu in range(8)] == [1, 1, 1, 0, 1, 1, 1, 1]
    assert of(found, 3, "gpu_power_watts") == []
    assert value(found, 4, "gpu_power_watts") == pytest.approx(671)
    assert back.problems == ()
    assert value(back, 3, "gpu_power_watts") == pytest.approx(671)


def test_a_gpu_that_was_never_there_is_named_by_its_number(nvml: Scenario) -> None:
    nvml.say(f"gpu 6 fails * {GPU_IS_LOST}")
    reader = NvmlReader("n1")

    found = reader.snapshot()

    assert [problem.text for problem in found.problems] == [
        "GPU 6 does not answer: nvmlDeviceGetHandleByIndex: GPU is lost. See dmesg for its Xid."
    ]
    assert [gpu.uuid == "" for gpu in reader.gpus].index(True) == 6


def test_a_call_that_fails_now_is_made_again(nvml: Scenario) -> None:
    nvml.say(fails := f"gpu 0 fails {POWER} {UNKNOWN_ERROR}")
    reader = NvmlReader("n1")

    found = reader.snapshot()
    nvml.unsay(fails)

    assert reasons(found, 0, "gpu_power_watts") == {f"{POWER}: Unknown Error"}
    assert value(found, 0, "gpu_temperature_celsius") == 58
    assert value(reader.snapshot(), 0, "gpu_power_watts") == pytest.approx(671)


def test_a_call_that_hangs_costs_what_comes_after_it_on_that_gpu(
    nvml: Scenario, nvml_calls: Callable[[str], int]
) -> None:
    nvml.say(hangs := f"gpu 5 hangs {POWER}")
    reader = NvmlReader("n1", deadline_s=0.2)
    before = nvml_calls(POWER)

    found, again = reader.snapshot(), reader.snapshot()
    trouble, calls = reader.gpus[5].trouble, nvml_calls(POWER) - before
    nvml.unsay(hangs)
    patient = NvmlReader("n1").snapshot()

    for each in (found, again):
        assert [problem.code for problem in each.problems] == ["gpu_hung"]
        assert value(each, 5, "gpu_memory_used_bytes") > 0
        assert of(each, 5, "gpu_power_watts") == []
        assert value(each, 6, "gpu_power_watts") == pytest.approx(671)
    assert trouble == f"{POWER}: no answer within 0.2 s, the driver hangs in it"
    assert calls == 1 + 2 * 7  # the thread that hangs is the only one
    assert value(patient, 5, "gpu_power_watts") == pytest.approx(671)


def test_a_driver_that_hangs_as_it_is_opened_is_said(nvml: Scenario) -> None:
    nvml.say(hangs := "hangs nvmlInitWithFlags")
    reader = NvmlReader("n1", open_deadline_s=0.05)

    found = reader.snapshot()
    nvml.unsay(hangs)

    assert found.readings == ()
    assert "the driver hangs" in found.problems[0].text


def test_a_driver_that_goes_and_comes_back_is_found_again(
    nvml: Scenario, nvml_calls: Callable[[str], int]
) -> None:
    reader = NvmlReader("n1")
    reader.snapshot()
    nvml.say("driver none")

    going, gone = reader.snapshot(), reader.snapshot()
    asked = nvml_calls(FAN)
    nvml.say("driver 590.10", "generation 2")
    back = reader.snapshot()

    assert "driver_gone" in {problem.code for problem in going.problems}
    assert [problem.code for problem in gone.problems] == ["nvml"]
    assert "no NVIDIA driver" in gone.problems[0].text
    assert [value(gone, gpu, "gpu_answers") for gpu in range(8)] == [0] * 8
    assert back.problems == ()
    assert reader.driver.driver == "590.10"
    assert nvml_calls(FAN) - asked == 8  # what was unsupported may be now


def test_a_driver_loaded_anew_under_us_is_opened_again(nvml: Scenario) -> None:
    reader = NvmlReader("n1")
    reader.snapshot()
    nvml.say("generation 2")

    noticed, back = reader.snapshot(), reader.snapshot()

    assert "driver_gone" in {problem.code for problem in noticed.problems}
    assert back.problems == ()
    assert value(back, 7, "gpu_power_watts") == pytest.approx(671)


def test_another_version_in_the_kernel_says_what_to_do(nvml: Scenario) -> None:
    nvml.say(f"fails nvmlInitWithFlags {VERSION_MISMATCH}")

    (problem,) = NvmlReader("n1").snapshot().problems

    assert "another version" in problem.text
    assert "Restart this service" in problem.text


async def test_letting_go_closes_nvml_for_a_while(
    nvml: Scenario, clock: ManualClock, nvml_calls: Callable[[str], int]
) -> None:
    reader = NvmlReader("n1", clock=clock)
    reader.snapshot()
    closed = nvml_calls("nvmlShutdown")

    reader.let_go(60.0)
    away = reader.snapshot()
    await clock.advance(61.0)
    back = reader.snapshot()

    assert nvml_calls("nvmlShutdown") - closed == 1
    assert [problem.code for problem in away.problems] == ["let_go"]
    assert back.problems == ()


def test_a_divided_gpu_shows_its_instances_and_who_runs_on_them(nvml: Scenario) -> None:
    nvml.set(0, "mig", 1)
    for part in (0, 1):
        nvml.set(0, f"{part}.uuid", f"MIG-{part}")
        nvml.set(0, f"{part}.gpu_instance", part + 1)
        nvml.set(0, f"{part}.compute_instance", 0)
        nvml.set(0, f"{part}.memory", 20 * 2**30)
        nvml.set(0, f"{part}.memory_used", (part + 1) * 2**30)
    reader = NvmlReader("n1")

    found = reader.snapshot()

    assert value(found, 0, "gpu_mig_enabled") == 1
    used = {r.labels[0][1]: r.value for r in of(found, 0, "gpu_instance_memory_used_bytes")}
    assert used == {"MIG-0": 2**30, "MIG-1": 2 * 2**30}
    assert [(i.uuid, i.gpu_instance) for i in reader.gpus[0].instances] == [
        ("MIG-0", 1),
        ("MIG-1", 2),
    ]
    assert reader.gpus[1].instances == ()


def test_what_a_whole_gpu_supports_is_asked_again_when_it_is_divided(
    nvml: Scenario, nvml_calls: Callable[[str], int]
) -> None:
    reader = NvmlReader("n1")
    reader.snapshot()
    before = nvml_calls(FAN)

    nvml.set(0, "mig", 1)
    reader.snapshot()

    assert nvml_calls(FAN) - before == 1


def test_the_inventory_lists_the_gpus(nvml: Scenario) -> None:
    found = inventory()

    assert (found.driver, found.missing) == ("580.95.05", "")
    assert [gpu.memory_bytes for gpu in found.gpus] == [85520809984] * 8
