"""Exporters show names, labels, types and numbers as the real ones do, and what it costs."""

import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from core.target import Target
from core.types import Action, Floats
from sim.exporter import EVERY_S, Exporters, Raw
from sim.exporter_families import DCGM, JOBS, NODE
from sim.library import scenario
from sim.scenario import FaultSpec, JobSpec, Scenario
from sim.sums_of_time import SumsOfTime
from sim.world import World
from tests.real import program

FAULTS = (
    FaultSpec("gpu_fallen_off_bus", Target(node="node-03", gpu="0"), 60),
    FaultSpec("cooling_degraded", Target(node="node-12"), 60),
)


def world_after(seconds: float, **changes: object) -> World:
    script = replace(scenario("quiet"), faults=FAULTS, history_s=7200.0)
    world = World.build(replace(script, **changes), seed=1)  # type: ignore[arg-type]
    world.advance(world.scenario.start_s + seconds)
    return world


def answered(exporters: Exporters, kind: str) -> Mapping[str, str]:
    """Return the pages of a tick at which all of the first four nodes answer."""
    pages = exporters.pages(kind)
    while kind != JOBS and not {f"node-{number:02d}" for number in range(4)} <= pages.keys():
        exporters.world.advance(exporters.world.now_s + EVERY_S)
        pages = exporters.pages(kind)
    return pages


def test_a_gpu_has_dcgm_exporters_names_and_labels() -> None:
    world = world_after(600)
    lines = answered(Exporters(world), DCGM)["node-03"].splitlines()

    uuids = world.topology().gpus_of_node("node-03")
    watts = [line for line in lines if line.startswith("DCGM_FI_DEV_POWER_USAGE{")]
    assert "# TYPE DCGM_FI_DEV_POWER_USAGE gauge" in lines
    assert "# TYPE DCGM_FI_DEV_THERMAL_VIOLATION counter" in lines
    assert len(watts) == 7  # the first has fallen off the bus
    assert watts[0].startswith(
        f'DCGM_FI_DEV_POWER_USAGE{{gpu="1",UUID="{uuids[1]}",pci_bus_id="00000000:2A:00.0",'
        'device="nvidia1",modelName="NVIDIA H100",Hostname="node-03"} '
    )


def test_a_silent_exporter_has_no_page_and_a_stale_one_repeats_itself() -> None:
    silent, stale, sound = "node-05", "node-06", "node-07"
    faults = (
        FaultSpec("exporter_dropout", Target(node=silent), 60, lasts_s=900.0),
        FaultSpec("exporter_stale", Target(node=stale), 60, lasts_s=900.0),
    )
    world = world_after(300, faults=faults)
    exporters = Exporters(world)
    ticks = exporters.tick - np.arange(8, dtype=np.int64)[::-1]
    up, power = exporters.raw("up", ticks), exporters.raw("DCGM_FI_DEV_POWER_USAGE", ticks)

    assert silent not in exporters.pages(NODE).keys() | exporters.pages(DCGM).keys()
    assert set(values_of(up, silent).ravel().tolist()) == {0.0}
    repeated, moving = values_of(power, stale), values_of(power, sound)
    assert np.nanmax(np.ptp(repeated[:, ~np.isnan(repeated[0])], axis=1)) == 0.0
    assert np.nanmin(np.ptp(moving[:, ~np.isnan(moving[0])], axis=1)) > 0.0


def values_of(raw: Raw, node: str) -> Floats:
    """Return the (S, T) samples of what a node's exporters show."""
    mine = [
        row
        for row, labels in enumerate(raw.labels)
        if labels["instance"].rpartition(":")[0] == node
    ]
    value: Floats = raw.value[mine]
    return value


def test_a_node_has_node_exporters_names() -> None:
    lines = answered(Exporters(world_after(600)), NODE)["node-02"].splitlines()

    starts = {line.rpartition(" ")[0] for line in lines}
    assert {
        'node_cpu_seconds_total{cpu="0",mode="idle"}',
        "node_memory_MemAvailable_bytes",
        "node_pressure_memory_waiting_seconds_total",
        "node_vmstat_oom_kill",
        'node_filesystem_avail_bytes{device="/dev/md0",fstype="xfs",mountpoint="/scratch"}',
        'gpumedic_node_inlet_temperature_celsius{node="node-02"}',
    } <= starts
    assert len([line for line in lines if line.startswith("# TYPE")]) == len(
        {line for line in lines if line.startswith("# TYPE")}
    )


def test_jobs_and_shared_storage_are_about_no_one_node() -> None:
    lines = Exporters(world_after(600)).pages(JOBS)[""].splitlines()

    steps = [line for line in lines if line.startswith('gpumedic_job_steps_total{job_id="vision"')]
    assert len(steps) == 1
    assert steps[0].startswith('gpumedic_job_steps_total{job_id="vision",instance=""} ')
    assert sum('volume="/shared"' in line for line in lines) == 4
    assert sum('job_id="vision",rank="3"' in line for line in lines) == 3


@pytest.mark.parametrize("kind", [DCGM, NODE, JOBS])
def test_prometheus_own_linter_can_read_every_page(kind: str) -> None:
    """Exit status 3 is for names against the style guide, which these exporters' own are."""
    for page in list(answered(Exporters(world_after(600)), kind).values())[:2]:
        done = subprocess.run(
            [program("promtool"), "check", "metrics"],
            input=page,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 3), done.stderr


def test_a_node_that_is_down_has_no_page() -> None:
    world = world_after(0)
    exporters = Exporters(world)
    world.perform(Action("k", "reboot_node", Target(node="node-15"), (), 900.0, ""))
    world.advance(world.now_s + EVERY_S)

    for kind in (DCGM, NODE):
        assert "node-15" not in answered(exporters, kind)
    up = exporters.raw("up", np.array([exporters.tick]))
    down = {
        labels["instance"]
        for labels, (value,) in zip(up.labels, up.value.tolist(), strict=True)
        if value == 0
    }
    assert len(up.labels) == 32
    assert {"node-15:9100", "node-15:9400"} <= down


def test_counters_of_time_never_fall_and_do_not_depend_on_the_question() -> None:
    exporters = Exporters(world_after(1800))
    last = exporters.tick
    ticks = np.arange(last - 400, last + 1)

    for name in ("DCGM_FI_DEV_THERMAL_VIOLATION", "node_cpu_seconds_total"):
        whole = exporters.raw(name, ticks).value
        alone = Exporters(exporters.world).raw(name, ticks[[7, 250, 399]]).value
        known = np.where(np.isnan(whole), -np.inf, whole)
        assert (np.diff(np.maximum.accumulate(known, axis=1), axis=1) >= 0).all()
        highest = np.maximum.accumulate(known, axis=1)
        assert (known[~np.isnan(whole)] == highest[~np.isnan(whole)]).all()
        np.testing.assert_array_equal(alone, whole[:, [7, 250, 399]])


def test_processors_are_idle_or_busy_all_of_the_time() -> None:
    exporters = Exporters(world_after(900))
    raw = exporters.raw("node_cpu_seconds_total", np.array([exporters.tick]))
    of_node = [
        value
        for labels, (value,) in zip(raw.labels, raw.value.tolist(), strict=True)
        if labels["instance"] == "node-00:9100" and labels["cpu"] == "2"
    ]

    assert len(of_node) == 2
    assert sum(of_node) == pytest.approx(7200 + 900, abs=2 * EVERY_S)


def test_nothing_is_known_before_the_world_and_after_its_now() -> None:
    exporters = Exporters(world_after(0))
    first = int((exporters.world.scenario.start_s - 7200) // EVERY_S)
    ticks = np.array([first - 10, exporters.tick + 10])

    for name in sorted(exporters.names):
        assert np.isnan(exporters.raw(name, ticks).value).all(), name
    assert exporters.raw("nothing", ticks).labels == ()


def test_the_sum_of_a_time_share_is_what_its_readings_add_up_to() -> None:
    world = world_after(600)
    began_s = world.scenario.start_s - 7200
    sums = SumsOfTime(world, "node_cpu_used_ratio", EVERY_S, began_s)
    ticks = np.arange(int(began_s // EVERY_S) + 1, int(world.now_s // EVERY_S) + 1)

    _, (summed, over_s) = sums.at(ticks)

    assert np.nanmax(summed) <= np.nanmax(over_s) <= 7800
    share = summed[8] / over_s[8]  # of a node whose job computes all the time
    assert ((share > 0.2) & (share < 0.4))[~np.isnan(share)][40:].all()


def test_256_nodes_are_scraped_in_little_time() -> None:
    jobs = tuple(JobSpec(f"job-{number}", nodes=60) for number in range(4))
    script = Scenario("big", nodes=256, racks=16, spares=16, jobs=jobs, history_s=600.0)
    world = World.build(script, seed=1)
    exporters = Exporters(world)
    exporters.pages(DCGM), exporters.pages(NODE)
    world.advance(world.now_s + EVERY_S)

    began_s = time.process_time()
    pages = [page for kind in (DCGM, NODE) for page in exporters.pages(kind).values()]
    spent_s = time.process_time() - began_s

    assert len(pages) > 500
    assert spent_s / len(pages) < 0.01
