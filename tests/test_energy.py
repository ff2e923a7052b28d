"""The energy of a life: what GPUs draw idle, under a job, held back, and not at all when down."""

from dataclasses import replace

import pytest

from sim.engine.thermal import POWER_EXPONENT
from sim.engine.words import GPUS, Load
from sim.lanes import Lane
from tests.deciding import HOUR_S, SCRIPT, begun, lane_with, on, passed_s, wait_until

HOURS = 6.0


def energy_j(lane: Lane) -> float:
    return lane.account().energy_j


def watts(lane: Lane, load: Load | None = None) -> float:
    """Return what one GPU draws at full clock; None: idle."""
    row = lane.tables.types[0]
    return float(row["idle_watts"] if load is None else row["load_watts"][load])


def test_an_empty_cluster_draws_what_idle_gpus_draw() -> None:
    lane = lane_with(script=replace(SCRIPT, jobs=()))
    assert not lane.reset(1, duration_s=HOURS * HOUR_S)

    expected = SCRIPT.nodes * GPUS * watts(lane) * HOURS * HOUR_S
    assert energy_j(lane) == pytest.approx(expected, rel=1e-6)


def test_a_job_draws_what_computing_takes() -> None:
    lane = lane_with()
    assert not lane.reset(1, duration_s=HOURS * HOUR_S)

    busy = sum(job.nodes for job in SCRIPT.jobs)
    each = busy * watts(lane, Load.COMPUTING) + (SCRIPT.nodes - busy) * watts(lane)
    assert energy_j(lane) == pytest.approx(GPUS * each * HOURS * HOUR_S, rel=1e-3)


def test_clocks_that_are_held_down_draw_less() -> None:
    lane = lane_with()
    nodes = lane._fresh.nodes
    nodes["cap"] = 0.8
    assert not lane.reset(1, duration_s=HOURS * HOUR_S)

    busy, share = sum(job.nodes for job in SCRIPT.jobs), 0.8**POWER_EXPONENT
    dynamic = watts(lane, Load.COMPUTING) - watts(lane)
    each = SCRIPT.nodes * watts(lane) + busy * dynamic * share
    assert energy_j(lane) == pytest.approx(GPUS * each * HOURS * HOUR_S, rel=0.02)


def test_a_node_that_is_down_draws_nothing() -> None:
    lane = begun(lane_with(on(1, "host_board", lasts_s=20 * HOUR_S)))
    node = lane.tables.nodes[1]
    assert not node["up"]
    assert node["watts"] == 0

    began_s, before_j = passed_s(lane), energy_j(lane)
    assert energy_j(lane) == before_j  # to look changes nothing
    wait_until(lane, began_s + HOUR_S)
    up = SCRIPT.nodes - 1
    low, high = (up * GPUS * each * HOUR_S for each in (watts(lane), watts(lane, Load.COMPUTING)))
    assert low < energy_j(lane) - before_j < high
