"""What would be better though nothing is broken: capacity ahead, room, a better interval."""

from dataclasses import replace
from itertools import count

import pytest

from core.cluster import ClusterState, JobState
from remediation.capacity.look import Need, Outlook, Wishes
from remediation.capacity.needs import (
    DEMAND,
    INTERVAL,
    ROOM,
    SPARES,
    WAITED_S,
    needs,
)
from remediation.capacity.planned import LEAD_S, PLANNED, SAVE_S
from remediation.capacity.power import FULL_POWER, MOST_NODES, POWER
from remediation.capacity.provision import Ahead, Prices
from remediation.catalogue import first_obstacle
from remediation.guards import Maintenance
from remediation.policies.interval import best_interval_s
from tests.test_provision import out
from tests.test_rebalance import EACH, cluster, name, running, said, waiting

NOW_S = 10_000.0


def seen(state: ClusterState, **fields: object) -> tuple[Need, ...]:
    numbers = count()
    look = replace(Outlook(state, NOW_S, watched_days=2.0), **fields)  # type: ignore[arg-type]
    found = needs(look, new_id=lambda: f"p{next(numbers)}")
    assert all(first_obstacle(need.actions, state) is None for need in found)
    return found


def in_pieces() -> ClusterState:
    """Return two jobs of half a node each, on two nodes, and one that waits for a whole one."""
    jobs = (running("a", [0], EACH // 2), running("b", [1], EACH // 2), waiting(1))
    return cluster(2, *jobs)


def saving(interval_s: float, *, stall_s: float = 20.0, nodes: int = 4) -> ClusterState:
    job: JobState = running(
        "train", list(range(nodes)), interval_s=interval_s, stall_s=stall_s, step=1.0
    )
    return cluster(nodes, job)


def test_what_will_be_wanted_is_ordered_a_quarter_of_an_hour_ahead() -> None:
    state = out(cluster(4), 3, checked_s=9_000.0)
    ahead = (Ahead(900.0, 24.0, 32.0), Ahead(1800.0, 24.0, 32.0))

    (need,) = seen(state, ahead=ahead)

    assert (need.fault, said(need.actions)) == (DEMAND, [("uncordon", name(3))])
    assert "32 GPUs are to be had" in need.reason
    assert seen(state, ahead=(Ahead(800.0, 24.0, 32.0),)) == ()
    assert seen(state, ahead=(Ahead(1800.0, 16.0, 24.0),)) == ()


def test_spares_that_are_kept_stay() -> None:
    state = cluster(4, spares=1)
    ahead = (Ahead(1800.0, 24.0, 32.0),)

    assert seen(state, ahead=ahead, wishes=Wishes(Prices(spares_kept=1))) == ()
    assert said(seen(state, ahead=ahead)[0].actions) == [("release_spare", name(3))]


def test_free_nodes_that_nothing_is_foreseen_for_become_the_spares_that_are_wanted() -> None:
    (need,) = seen(cluster(3), ahead=(Ahead(900.0, 8.0, 8.0),), wishes=Wishes(Prices(spares=1)))

    assert (need.fault, said(need.actions)) == (SPARES, [("keep_as_spare", name(2))])
    assert need.reason.startswith("1 ready spares are asked for")
    assert seen(cluster(3), ahead=(Ahead(900.0, 8.0, 8.0),)) == ()


def test_a_job_that_waits_for_pieces_has_them_moved_together() -> None:
    (need,) = seen(in_pieces())

    assert (need.fault, need.target.job) == (ROOM, "large")
    assert [kind for kind, _ in said(need.actions)] == ["move_job"]


def test_nobody_is_moved_for_a_job_that_has_just_come_or_that_too_few_gpus_are_free_for() -> None:
    state = in_pieces()
    fresh = replace(state.jobs[2], since_s=NOW_S - WAITED_S / 2)

    assert seen(replace(state, jobs=(*state.jobs[:2], fresh))) == ()
    assert seen(replace(state, jobs=(*state.jobs[:2], waiting(2)))) == ()


def test_nobody_is_stopped_and_no_spare_is_used_for_room() -> None:
    jobs = (running("low", [0], priority=0), waiting(1, priority=9))

    assert seen(cluster(1, *jobs)) == ()
    assert seen(cluster(2, *jobs, spares=1)) == ()
    assert seen(cluster(1, *jobs), wishes=Wishes(use_spares=True)) == ()


def test_spares_beyond_those_to_be_kept_are_room_where_the_site_says_so() -> None:
    state = cluster(3, running("low", [0], priority=0), waiting(1, priority=9), spares=2)

    (need,) = seen(state, wishes=Wishes(Prices(spares_kept=1), use_spares=True))
    assert [kind for kind, _ in said(need.actions)] == ["release_spare"]
    assert "spares are released: 1" in need.reason
    assert seen(state, wishes=Wishes(Prices(spares_kept=2), use_spares=True)) == ()


def test_less_urgent_jobs_give_room_where_the_site_says_so() -> None:
    state = cluster(1, running("low", [0], priority=0), waiting(1, priority=9))

    (need,) = seen(state, wishes=Wishes(stop_others=True))
    assert said(need.actions) == [("preempt_job", "low")]
    assert f"less urgent jobs give {EACH}" in need.reason
    as_urgent = cluster(1, running("low", [0], priority=9), waiting(1, priority=9))
    assert seen(as_urgent, wishes=Wishes(stop_others=True)) == ()


def works(node: int, *, in_s: float) -> Wishes:
    """Return that people work on a node from then on for an hour."""
    start_s = NOW_S + in_s
    return Wishes(windows=(Maintenance(frozenset({name(node)}), start_s, start_s + 3600.0, "dc"),))


def test_a_job_leaves_nodes_that_people_are_about_to_work_on() -> None:
    state = cluster(3, running("a", [0, 1]))

    (need,) = seen(state, wishes=works(1, in_s=LEAD_S))
    assert (need.fault, said(need.actions)) == (PLANNED, [("drain", name(1))])
    assert "dc work on" in need.reason
    assert seen(state, wishes=works(1, in_s=LEAD_S + 1)) == ()
    assert seen(state, wishes=works(1, in_s=-60.0)) == ()
    assert seen(state, wishes=works(2, in_s=LEAD_S)) == ()


def test_a_job_that_has_nowhere_to_go_is_saved_before_people_come() -> None:
    state = cluster(2, running("a", [0, 1]))

    assert seen(state, wishes=works(1, in_s=SAVE_S + 1)) == ()
    (need,) = seen(state, wishes=works(1, in_s=SAVE_S))
    assert said(need.actions) == [("checkpoint_now", "a")]


def test_power_is_saved_within_the_slowdown_that_the_site_allows() -> None:
    state = cluster(2, running("a", [0, 1]))

    assert seen(state) == ()
    (need,) = seen(state, wishes=Wishes(most_slowdown=0.05))
    assert (need.fault, said(need.actions)) == (
        POWER,
        [("limit_power", name(0)), ("limit_power", name(1))],
    )
    assert need.actions[0].param("watts") == 609.0  # 100 + 600 x 0.933^2.4
    held = tuple(replace(node, power_watts=609.0) for node in state.nodes)
    assert seen(replace(state, nodes=held), wishes=Wishes(most_slowdown=0.05)) == ()
    large = cluster(MOST_NODES + 1, running("a", list(range(MOST_NODES + 1))))
    assert seen(large, wishes=Wishes(most_slowdown=0.05)) == ()


def test_power_that_was_limited_is_freed_where_nobody_wants_that_any_more() -> None:
    state = cluster(2, running("a", [0, 1]))
    held = replace(state, nodes=tuple(replace(n, power_watts=609.0) for n in state.nodes))

    (need,) = seen(held, limited={name(0): 609.0, name(1): 500.0})
    assert (need.fault, said(need.actions)) == (FULL_POWER, [("limit_power", name(0))])
    assert need.actions[0].param("watts") == 0.0
    assert seen(held) == ()


@pytest.mark.parametrize("times", [0.05, 0.5, 0.9, 1.0, 1.4, 3.0, 20.0])
def test_an_interval_far_from_the_best_is_set_to_it(times: float) -> None:
    rate = 24.0  # faults a day, all of which fail the job: one an hour
    best_s = best_interval_s(20.0, 3600.0)

    found = seen(saving(times * best_s), faults_a_day=rate)

    assert bool(found) == (times in (0.05, 0.5, 3.0, 20.0))
    for need in found:
        (action,) = need.actions
        assert (need.fault, action.kind) == (INTERVAL, "set_checkpoint_interval")
        assert action.param("interval_s") == pytest.approx(best_s, rel=0.05)
        assert "too seldom" in need.title if times > 1 else "too often" in need.title


def test_an_interval_by_which_nothing_is_lost_is_left_alone() -> None:
    """A week without a failure: three times the best interval loses less than one per cent."""
    best_s = best_interval_s(1.0, 7 * 86_400.0)

    assert seen(saving(3 * best_s, stall_s=1.0), faults_a_day=1 / 7) == ()


def test_nothing_is_said_of_intervals_before_faults_were_counted_for_a_day() -> None:
    state = saving(30_000.0)

    assert seen(state, faults_a_day=10.0)
    assert seen(state, faults_a_day=10.0, watched_days=0.5) == ()


def test_a_job_that_has_a_part_of_the_cluster_has_a_part_of_its_faults() -> None:
    whole = saving(30_000.0)
    small = replace(whole, jobs=(replace(whole.jobs[0], gpus=EACH, nodes=(name(0),)),))

    (of_whole,), (of_small,) = (seen(each, faults_a_day=10.0) for each in (whole, small))

    wanted = [need.actions[0].param("interval_s") for need in (of_whole, of_small)]
    assert wanted[0] < wanted[1]  # type: ignore[operator]


def test_each_need_has_a_plan_id_of_its_own() -> None:
    base = saving(30_000.0, nodes=2)
    second = replace(base.jobs[0], id="other")
    found = seen(replace(base, jobs=(*base.jobs, second)), faults_a_day=10.0)

    assert len({need.plan_id for need in found}) == len(found) == 2
    assert all(need.actions[0].key.startswith(f"{need.plan_id}:") for need in found)
