"""Each choice does what it says: on a small cluster, with a fault at a known place."""

from dataclasses import replace

import numpy as np
import pytest

from core.choice import Choice
from core.situation import Fact
from core.target import Target
from sim.engine.words import NONE, Hold, Phase
from sim.scenario import COOLING, LEAK, XID_79
from sim.terms import Shield
from tests.deciding import (
    FREE,
    HOUR_S,
    JOBS,
    SCRIPT,
    begun,
    choose,
    has,
    lane_with,
    on,
    passed_s,
    runs,
    wait_until,
    wrongly_blamed,
)


def test_a_swapped_node_that_is_sound_returns_once_it_is_checked() -> None:
    lane = wrongly_blamed(1, validate_s=1800.0)
    wrong = int(lane.tables.troubles[0]["node"])
    assert wrong in has(lane)
    choose(lane, Choice.SWAP)

    row, order = lane.tables.nodes[wrong], lane.orders[0]
    assert wrong not in has(lane)
    assert row["hold"] == Hold.AGENT
    assert lane.account().wrong_drains == 1
    moved_s = float(lane.tables.jobs[0]["since_s"]) - lane.scenario.start_s
    wait_until(lane, moved_s + 1700.0)
    assert row["hold"] == Hold.AGENT
    wait_until(lane, moved_s + 1900.0)
    assert row["hold"] == Hold.NOBODY
    assert row["pool"]
    assert np.isfinite(order["back_s"])


def test_a_swapped_node_that_is_broken_returns_once_it_is_repaired_and_checked() -> None:
    lane = begun(lane_with(on(1, XID_79, lasts_s=6 * HOUR_S), on(2, LEAK, onset_s=30 * HOUR_S)))
    choose(lane, Choice.SWAP)
    account = lane.account()
    assert (account.drains, account.wrong_drains) == (1, 0)

    back_s = float(lane.orders[0]["back_s"]) - lane.scenario.start_s
    assert 8 * HOUR_S < back_s < 9.5 * HOUR_S
    assert lane.facts[Fact.REPAIR_S] < 86400.0
    assert lane.facts[Fact.NODES_OUT] == 0
    assert lane.facts[Fact.SPARES] == 2


def test_a_node_swapped_and_rebooted_returns_as_it_comes_up() -> None:
    lane = begun(lane_with(on(1, XID_79, lasts_s=6 * HOUR_S), on(2, LEAK, onset_s=6 * HOUR_S)))
    choose(lane, Choice.SWAP_AND_REPAIR)

    assert float(lane.orders[0]["back_s"]) - lane.scenario.start_s < 3 * HOUR_S
    assert lane.tables.nodes[1]["boots"] == 1
    assert lane.facts[Fact.REBOOT_S] != 720.0
    assert runs(lane)


def test_a_rebooted_node_keeps_its_job() -> None:
    lane = begun(lane_with(on(1, "gpu_row_remap")))
    before = has(lane)
    assert not choose(lane, Choice.REBOOT)

    assert runs(lane)
    assert has(lane) == before
    assert lane.tables.nodes[1]["boots"] == 1
    assert lane.account().drains == 0
    assert np.isfinite(lane.tables.faults[0]["mended_s"])
    assert bool(lane.orders[0]["worked"])


def test_a_person_mends_the_fault_starts_the_job_and_costs_a_page() -> None:
    lane = begun(lane_with(on(1, XID_79), people_s=7200.0))
    called_s = passed_s(lane)
    assert choose(lane, Choice.ESCALATE)  # the incident is not his alone: it is looked at again
    assert not lane.open[Choice.ESCALATE]
    assert lane.open[Choice.SWAP]
    while lane.step(Choice.WAIT):
        continue

    account = lane.account()
    mended_s = float(lane.tables.faults[0]["mended_s"]) - lane.scenario.start_s
    assert 3600.0 <= mended_s - called_s <= 10_800.0
    assert account.pages == 1
    assert account.priced_gpu_s == account.lost_gpu_s + lane.terms.site.page_gpu_s
    assert account.recovered == 1
    assert runs(lane)


def test_nobody_is_paged_twice_for_one_job() -> None:
    lane = begun(lane_with(on(1, XID_79), on(2, COOLING, onset_s=7100.0), people_s=4 * HOUR_S))
    choose(lane, Choice.ESCALATE)
    asked, due = set(), True
    while due and passed_s(lane) < 3 * HOUR_S:
        asked.add(int(lane.tables.core[0]["decision"]))
        assert not lane.open[Choice.ESCALATE]
        due = lane.step(Choice.WAIT)

    assert asked == {0, 1}
    assert lane.tables.core[0]["pages"] == 1


def test_a_person_who_is_not_needed_any_more_need_not_come() -> None:
    lane = begun(lane_with(on(1, XID_79), on(2, XID_79, onset_s=9000.0), people_s=8 * HOUR_S))
    choose(lane, Choice.ESCALATE)
    choose(lane, Choice.SWAP)  # the job runs again without the node

    assert passed_s(lane) < 3 * HOUR_S
    assert lane.open[Choice.ESCALATE]
    assert lane.account().pages == 1


def test_a_job_that_has_failed_is_looked_at_in_the_next_cycle() -> None:
    lane = begun(lane_with(on(1, XID_79)))
    due = True
    while due and lane.facts[Fact.JOB_STOPPED] == 0:
        due = lane.step(Choice.WAIT)

    assert due
    assert lane.facts[Fact.PHASE_S] <= 60.0


def test_what_stands_may_be_started_again_sooner_than_what_runs() -> None:
    shield = replace(FREE, cooldown_s=7200.0)
    lane = begun(lane_with(on(1, XID_79), shield=shield))
    while lane.facts[Fact.JOB_STOPPED] == 0:
        assert lane.step(Choice.WAIT)
    choose(lane, Choice.RESTART)  # in vain: the GPU is gone
    ended_s = float(lane.orders[0]["ended_s"])
    while not lane.open[Choice.RESTART]:
        assert lane.step(Choice.WAIT)

    assert 300.0 <= float(lane.tables.core[0]["now_s"]) - ended_s < 900.0


def test_a_job_that_shrank_grows_again_when_its_node_is_back() -> None:
    script = replace(SCRIPT, nodes=6, spares=0)  # none to grow on
    lane = begun(lane_with(on(1, XID_79, lasts_s=2 * HOUR_S), script=script))
    assert not choose(lane, Choice.SHRINK)

    account = lane.account()
    assert sorted(has(lane)) == [0, 1, 2, 3]
    assert lane.tables.jobs[0]["restarts"] == 2
    # While it ran on fewer nodes it asked for all: what it lacked counts as lost.
    assert account.losses_gpu_s["waiting"] > 8 * HOUR_S


def test_a_shrunk_job_lacks_a_node_until_then() -> None:
    script = replace(SCRIPT, nodes=6, spares=0)  # none to grow on
    faults = (on(1, XID_79, lasts_s=20 * HOUR_S), on(2, LEAK, onset_s=3 * HOUR_S))
    lane = begun(lane_with(*faults, script=script))
    assert lane.facts[Fact.CAN_SHRINK] == 0.5
    assert lane.facts[Fact.SHRUNK] == 0
    choose(lane, Choice.SHRINK)

    assert len(has(lane)) == 3
    assert lane.facts[Fact.SHRUNK] == 0.25
    assert runs(lane)


def test_a_node_is_borrowed_of_a_less_urgent_job_that_shrinks() -> None:
    jobs = (JOBS[0], replace(JOBS[1], least_nodes=1))
    script = replace(SCRIPT, nodes=6, spares=0, jobs=jobs)
    lane = begun(lane_with(on(1, XID_79, lasts_s=3 * HOUR_S), script=script))
    assert not lane.open[Choice.SWAP]
    assert lane.facts[Fact.ABOVE] == pytest.approx(1 / 3)
    assert not choose(lane, Choice.BORROW)

    assert len(has(lane)) == 4
    assert has(lane)[1] == 4
    assert len(has(lane, 1)) == 2  # it has grown again on the node that came back
    assert 1 in has(lane, 1)
    assert runs(lane, 1)


def test_a_less_urgent_job_that_cannot_shrink_waits() -> None:
    script = replace(SCRIPT, nodes=6, spares=0)
    faults = (on(1, XID_79, lasts_s=3 * HOUR_S), on(2, LEAK, onset_s=3 * HOUR_S))
    lane = begun(lane_with(*faults, script=script))
    choose(lane, Choice.BORROW)
    assert lane.tables.jobs[1]["phase"] == Phase.PENDING
    assert lane.facts[Fact.WAITING_GPUS] == 16

    wait_until(lane, 8 * HOUR_S)
    assert runs(lane, 1)


def test_two_nodes_are_swapped_in_one_stop() -> None:
    lane = wrongly_blamed(1)
    assert lane.facts[Fact.OTHER_BLAMED] > 0
    wrong = int(lane.tables.troubles[0]["node"])
    choose(lane, Choice.SWAP_BOTH)

    assert not {1, wrong} & set(has(lane))
    assert lane.tables.jobs[0]["restarts"] == 1
    assert lane.orders[0]["taken"] == 2
    assert (lane.orders[0]["node"], lane.orders[0]["other"]) == (wrong, 1)


def test_a_job_rolls_back_to_the_checkpoint_before_the_newest() -> None:
    lane = begun(lane_with(on(1, LEAK, onset_s=2 * HOUR_S)))
    row = lane.tables.jobs[0]
    before_s = passed_s(lane)
    choose(lane, Choice.ROLL_BACK)

    assert row["saved_s"] - lane.scenario.start_s < before_s - 2 * row["interval_s"] + 700.0
    assert lane.orders[0]["choice"] == Choice.ROLL_BACK


def test_loaders_are_doubled_where_loading_is_blamed() -> None:
    fault = replace(on(1, "loader_starved"), target=Target(job="big"))
    lane = begun(lane_with(fault))
    assert lane.tables.troubles[0]["placed"] == 0
    assert not lane.open[Choice.SWAP]
    choose(lane, Choice.TUNE)

    assert lane.tables.jobs[0]["loaders"] == 2.0
    assert lane.tables.jobs[0]["restarts"] == 1


def test_a_checkpoint_is_saved_and_the_job_runs_on() -> None:
    lane = begun(lane_with(on(1, LEAK, onset_s=HOUR_S)))
    before = float(lane.facts[Fact.UNSAVED_S])
    choose(lane, Choice.CHECKPOINT)

    assert lane.facts[Fact.UNSAVED_S] < min(before, 60.0)
    assert lane.tables.jobs[0]["restarts"] == 0
    assert lane.tables.troubles[0]["restarts"] == 0


def test_a_restart_ends_what_lives_in_processes() -> None:
    lane = begun(lane_with(on(1, LEAK, onset_s=HOUR_S)))
    assert not choose(lane, Choice.RESTART)

    assert np.isfinite(lane.tables.faults[0]["mended_s"])
    assert lane.tables.jobs[0]["restarts"] == 1
    assert bool(lane.orders[0]["worked"])


def test_a_plan_for_one_incident_keeps_others_from_its_job() -> None:
    lane = begun(lane_with(on(1, "gpu_row_remap"), on(2, LEAK, onset_s=7100.0)))
    choose(lane, Choice.REBOOT)

    assert bool(lane.orders[0]["worked"])
    assert lane.tables.jobs[0]["handled"] == NONE


def test_a_node_that_is_still_broken_is_blamed_anew_and_may_be_taken_out() -> None:
    faults = (on(1, XID_79), on(2, LEAK, onset_s=10 * HOUR_S))
    shield = Shield(max_nodes_out=8, max_ratio_out=1.0, cooldown_s=0.0, min_probability=0.5)
    found = 0
    for seed in range(20, 50):
        lane = begun(lane_with(*faults, shield=shield, blame=0.7), seed=seed)
        first = int(lane.tables.troubles[0]["node"])
        if first == 1 or not lane.open[Choice.SWAP]:
            continue
        choose(lane, Choice.SWAP)
        found += lane.facts[Fact.NODE_BLAMED] >= 0.5 and lane.open[Choice.SWAP]
        assert lane.tables.troubles[0]["moves"] == 1
    assert found >= 1
