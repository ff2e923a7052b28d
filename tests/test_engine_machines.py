"""Nodes in the engine: temperatures and clocks, what is carried to now, reboots, service."""

import numpy as np
import pytest

from sim.engine import machines, placement, repair, thermal
from sim.engine.tables import Tables
from sim.engine.words import Hold, Load, Use
from tests.fault_world import Plan, advanced, begin, fault_world, known_faults, runs
from tests.small_world import BEGAN_S, Size, small_world


def at(w: Tables, passed_s: float) -> None:
    w.core[0]["now_s"] = BEGAN_S + passed_s


def test_a_loaded_gpu_warms_up_with_its_lag_to_what_its_power_leads_to() -> None:
    w = small_world(Size())
    w.nodes["celsius"] = 30.0

    machines.set_load(w, 0, Load.COMPUTING)
    at(w, 90.0)
    machines.carry(w, 0)

    goal = 24.0 + 0.06 * 600.0
    assert w.nodes[0]["goal"][0] == pytest.approx(goal)
    assert w.nodes[0]["celsius"][0] == pytest.approx(goal + (30.0 - goal) * np.exp(-1), rel=1e-5)
    assert (w.nodes[0]["clock"] == 1.0).all()
    assert w.nodes[0]["memory"] == machines.BUSY_MEMORY


def test_clocks_fall_until_the_temperature_holds() -> None:
    w = small_world(Size())
    machines.set_load(w, 0, Load.COMPUTING)
    w.nodes[0]["heat"], w.nodes[0]["celsius"] = 2.0, 89.0

    machines.changed(w, 0)

    clock = float(w.nodes[0]["clock"][0])
    assert thermal.SLOWEST_CLOCK < clock < 1.0
    assert w.nodes[0]["goal"][0] == pytest.approx(86.0, abs=0.01)
    assert thermal.slowdown(clock) > 1.0
    assert thermal.next_check_s(w, 0) > 0


def test_what_grows_is_carried_to_now_and_stops_where_it_is_full() -> None:
    w = small_world(Size())
    row = w.nodes[0]
    row["scratch_slope"], row["memory_slope"] = 0.001, 0.01
    row["ecc_rate"][2], row["replays"] = 0.5, 2.0

    at(w, 100.0)
    machines.carry(w, 0)
    machines.carry(w, 0)

    assert (row["scratch"], row["memory"]) == (pytest.approx(0.52), 1.0)
    assert (row["ecc_count"][2], row["replay_count"]) == (50.0, 200.0)


def test_a_node_out_of_service_is_counted_as_down_and_may_not_be_used() -> None:
    w = small_world(Size())

    machines.take_out(w, 3, Hold.AGENT)
    machines.take_out(w, 3, Hold.PERSON)
    assert not machines.ready(w, 3)
    assert w.nodes[3]["hold"] == Hold.AGENT
    assert w.core[0]["use_gpus"][Use.DOWN] == 8
    machines.give_back(w, 3)

    assert machines.ready(w, 3)
    assert w.core[0]["use_gpus"].tolist() == [64, 0, 0, 0]


def test_a_reboot_takes_its_time_empties_scratch_and_revives_most_gpus() -> None:
    w = fault_world(
        [Plan("volume_filling", 1), *(Plan("gpu_fallen_off_bus", node, 0) for node in range(64))],
        size=Size(nodes=64),
    )
    begin(w)
    w = advanced(w, 5500.0)
    assert w.nodes[1]["scratch"] >= machines.FULL

    for node in range(64):
        repair.reboot(w, node)
    assert not w.nodes["up"].any()
    assert w.core[0]["free_nodes"] == 0
    w = advanced(w, 5500.0 + 479.0)
    assert not w.nodes["up"].any()
    w = advanced(w, 5500.0 + 901.0)

    assert w.nodes["up"].all()
    assert w.nodes[1]["scratch"] == machines.SCRATCH_USED
    # Binomial(64, 0.74) lies within 35 to 59 but once in 1,000.
    assert 35 <= int(w.nodes["alive"][:, 0].sum()) <= 59
    assert np.isnan(known_faults(w)["mended_s"]).sum() == 64 - w.nodes["alive"][:, 0].sum()


def test_a_warm_node_slows_its_job_and_mended_lets_it_run_as_before() -> None:
    w = fault_world([Plan("cooling_degraded", 1, lasts_s=7200.0)])
    job = runs(w, 0, 2)
    begin(w)
    before = float(w.jobs[job]["step_s"])

    w = advanced(w, 3600.0)
    slow = float(w.jobs[job]["step_s"])
    w = advanced(w, 9000.0)

    assert slow > 1.05 * before
    assert w.jobs[job]["step_s"] == pytest.approx(before)


def test_a_boot_under_way_is_void_once_power_is_lost() -> None:
    w = fault_world([Plan("rack_power", 0, at_s=60.0, lasts_s=3600.0)])
    begin(w)
    w = advanced(w, 1.0)
    repair.reboot(w, 0)

    w = advanced(w, 3600.0)
    assert not w.nodes[0]["up"]
    w = advanced(w, 60.0 + 3600.0 + 901.0)

    assert w.nodes["up"].all()
    assert placement.find_one(w, 8) >= 0
