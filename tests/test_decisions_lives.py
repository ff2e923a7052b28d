"""Whole lives by choices of chance: bounds hold, what is told is calibrated, no job forgotten."""

from dataclasses import replace

import numpy as np
import pytest

from core.choice import Choice
from core.situation import Fact
from core.target import Target
from sim.engine.tables import Table
from sim.engine.words import Phase
from sim.lanes import Lane
from sim.scenario import XID_79, FaultSpec, JobSpec, Scenario, Site
from sim.terms import Shield, Terms, even_remedies
from tests.deciding import DAY_S, FREE, HOUR_S, SCRIPT, begun, choose, lane_with, on, wait_until

BUSY = Scenario(
    name="busy",
    nodes=24,
    racks=4,
    spares=3,
    jobs=(
        JobSpec("a", nodes=10, priority=20, least_nodes=5),
        JobSpec("b", nodes=6, priority=10),
        JobSpec("c", nodes=4, least_nodes=2),
    ),
    history_s=0.0,
    telemetry="surrogate",
    site=Site(blame=0.8, false_alarms=2.0, warn_recall=0.8, people_s=7200.0),
    profile="rsc1",
    rate_scale=300.0,
)
MOVES = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH, Choice.SHRINK, Choice.BORROW)
IN_PLACE = (Choice.RESTART, Choice.ROLL_BACK, Choice.TUNE)
BACK_OFF_S = 300.0  # of a job that stands still


def lived(lane: Lane, seed: int, days: float = 2.0) -> Table:
    """Live a life by choices of chance, seldom waiting; return its orders."""
    random, alive = np.random.default_rng(seed), lane.reset(seed, duration_s=days * DAY_S)
    while alive:
        assert lane.open[Choice.WAIT]
        assert np.isfinite(lane.facts).all()
        assert lane.facts[: Fact.NO_FAULT + 1].sum() == pytest.approx(1.0, abs=1e-6)
        choices = np.flatnonzero(lane.open)[-4:]
        alive = lane.step(int(choices[random.integers(len(choices))]))
    return lane.orders


@pytest.mark.parametrize(
    "shield",
    [
        Shield(),
        Shield(max_nodes_out=3, max_ratio_out=1.0, max_nodes_out_per_rack=1, cooldown_s=600.0),
        Shield(max_ratio_out=0.5, min_spares_left=2, max_actions_per_hour=5, min_probability=0.3),
    ],
)
def test_no_order_of_chance_passes_a_bound(shield: Shield) -> None:
    lane = Lane(BUSY, Terms(even_remedies(), shield=shield))
    most = min(shield.max_nodes_out, max(1, int(shield.max_ratio_out * BUSY.nodes)))
    taken = 0
    for seed in range(6):
        orders = lived(lane, seed)
        acts = orders[orders["choice"] != Choice.ESCALATE]
        taken += int(acts["taken"].sum())
        assert orders["out"].max(initial=0) <= most
        assert orders["rack"].max(initial=0) <= shield.max_nodes_out_per_rack
        put = acts[(acts["put"] >= BUSY.nodes - BUSY.spares) & acts["worked"]]
        swaps = put[put["choice"] != Choice.BORROW]
        assert swaps["spares"].min(initial=99) >= shield.min_spares_left
        for at_s in acts["time_s"]:
            within = (acts["time_s"] > at_s - HOUR_S) & (acts["time_s"] <= at_s)
            assert within.sum() <= shield.max_actions_per_hour
        _check_rests(acts, "job", IN_PLACE, shield.cooldown_s)
        _check_rests(acts, "node", (*MOVES, Choice.REBOOT), shield.cooldown_s)
    assert taken > 5


def _check_rests(orders: Table, of: str, choices: tuple[Choice, ...], rest_s: float) -> None:
    """Check that nothing was disturbed so within a time since it was before."""
    some = orders[np.isin(orders["choice"], choices)]
    for target in np.unique(some[of]):
        mine = some[some[of] == target]
        waits_s = mine["time_s"][1:] - mine["ended_s"][:-1]
        stood = mine["stood"][1:] & np.isin(mine["choice"][1:], IN_PLACE)
        assert (waits_s >= np.where(stood, min(rest_s, BACK_OFF_S), rest_s)).all()


def test_what_is_said_of_how_long_a_fault_stays_is_calibrated() -> None:
    script = replace(BUSY, profile="none", rates=(("gpu_hang", 1.0), ("gpu_row_remap", 0.5)))
    said, true = [], []
    lane = Lane(script, Terms(even_remedies()))
    for seed in range(40):
        lane.reset(seed, duration_s=0.4 * DAY_S)
        while lane.step(Choice.WAIT):
            continue
        rows = lane.tables.troubles[: int(lane.tables.core[0]["troubles_n"])]
        rows = rows[rows["fault"] >= 0]
        said.extend(rows["persistent"].tolist())
        true.extend((~lane.tables.faults[rows["fault"]]["restart_mends"]).tolist())
    likely = np.array(said) > 0.5

    assert len(said) > 200
    assert set(np.round(said, 2)) <= set(np.round(np.arange(0.0, 1.005, 0.01), 2))
    assert np.mean(likely == np.array(true)) == pytest.approx(0.89, abs=0.05)
    assert np.mean(np.maximum(said, 1 - np.array(said))) == pytest.approx(0.89, abs=0.02)


def test_every_job_that_a_rack_without_power_stops_is_told_of() -> None:
    jobs = (JobSpec("one", nodes=2), JobSpec("two", nodes=2))
    fault = FaultSpec("rack_power", Target(node="node-00"), onset_s=7200.0, lasts_s=HOUR_S)
    lane = begun(lane_with(fault, script=replace(SCRIPT, jobs=jobs)))
    wait_until(lane, 4 * HOUR_S)

    rows = lane.tables.troubles[: int(lane.tables.core[0]["troubles_n"])]
    assert set(rows["number"].tolist()) == {0, 1}


def test_an_incident_is_over_when_its_job_has_been_struck_by_another_fault() -> None:
    faults = (on(1, XID_79), on(2, XID_79, onset_s=3 * HOUR_S))
    lane = begun(lane_with(*faults))
    choose(lane, Choice.SWAP)
    assert lane.facts[Fact.MOVES_TRIED] == 0
    assert lane.facts[Fact.OTHERS_OPEN] == 0
    assert lane.tables.troubles[0]["open"] == 0


def test_a_precursor_is_told_of_before_its_fault_and_the_incident_goes_on_with_it() -> None:
    rates = (("gpu_row_remap_failed", 2.0),)
    script = replace(SCRIPT, rates=rates, site=replace(SCRIPT.site, warn_recall=1.0))
    lane = Lane(script, Terms(even_remedies(), shield=FREE))
    foretold = swapped = 0
    for seed in range(8):
        alive = lane.reset(seed, duration_s=DAY_S)
        while alive:
            row = lane.tables.troubles[int(lane.tables.core[0]["decision"])]
            foretold += int(row["warning"])
            if row["warning"]:
                assert 0 < lane.facts[Fact.BREACH] <= 0.84
                assert lane.facts[Fact.JOB_RUNS] == 1
            if row["warning"] and lane.open[Choice.SWAP]:
                swapped += 1
                alive = lane.step(Choice.SWAP)
                continue
            alive = lane.step(Choice.ESCALATE if lane.open[Choice.ESCALATE] else Choice.WAIT)
    assert foretold >= swapped > 3
    assert lane.account().faults > 0


def test_crews_take_as_many_times_longer_as_the_site_says() -> None:
    away_s = []
    for scale in (1.0, 3.0):
        script = replace(SCRIPT, rates=((XID_79, 0.5),))
        lane = lane_with(script=script, repair_scale=scale)
        alive = lane.reset(5, duration_s=60 * DAY_S)
        while alive and not lane.open[Choice.SWAP]:
            alive = lane.step(Choice.WAIT)
        lane.step(Choice.SWAP)
        fault = lane.tables.faults[int(lane.tables.troubles[lane.orders[0]["trouble"]]["fault"])]
        away_s.append(float(fault["lasts_s"]))
    assert away_s[1] == pytest.approx(3 * away_s[0])


def test_what_is_noticed_later_is_noticed_as_many_times_later() -> None:
    times = []
    for scale in (1.0, 4.0):
        lane = begun(lane_with(on(1, XID_79), notice_scale=scale))
        times.append(float(lane.tables.core[0]["now_s"]) - lane.scenario.start_s - 7200.0)
    assert times[1] == pytest.approx(4 * times[0], abs=0.01)


def test_a_job_that_waits_is_not_decided_about() -> None:
    script = replace(SCRIPT, nodes=6, spares=0)
    lane = begun(lane_with(on(1, XID_79), script=script))
    choose(lane, Choice.BORROW)
    assert lane.tables.jobs[1]["phase"] == Phase.PENDING
    assert not lane.step(Choice.WAIT) or lane.facts[Fact.JOB_NODES] > 0
