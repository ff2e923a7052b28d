"""The audit finds every bound that was crossed in a log of orders, and nothing in a sound one."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.target import Target
from core.types import OutcomeStatus, PlanState
from remediation.evaluation.audit import Order, Site, audit, orders_of_records
from remediation.guards import GuardSettings
from tests.healing import NOW_S, cordon, ended, plan_of, record_of, swap

RACKS = {f"node-{number}": f"r{number // 4}" for number in range(12)}
SWITCHES = {f"node-{number}": f"s{number // 8}" for number in range(12)}
SITE = Site(12, RACKS, SWITCHES)
WIDE = GuardSettings(
    max_nodes_out=12,
    max_ratio_out=1.0,
    max_nodes_out_per_rack=12,
    max_nodes_out_per_switch=12,
    max_actions_per_hour=1000,
    cooldown_s=0.0,
)


def out(node: str, at_s: float, *, back_s: float = math.inf, plan: str = "") -> Order:
    return Order(at_s, plan or f"{node} {at_s}", (node,), (back_s,), frozenset({node}))


def guards_crossed(*orders: Order, **bounds: object) -> list[str]:
    settings = GuardSettings(**{**_plain(WIDE), **bounds})  # type: ignore[arg-type]
    return [breach.guard for breach in audit(orders, SITE, settings)]


def _plain(settings: GuardSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in GuardSettings.__dataclass_fields__}


@pytest.mark.parametrize(("limit", "found"), [(3, []), (2, ["max_nodes_out"])])
def test_nodes_out_at_once_are_counted(limit: int, found: list[str]) -> None:
    three = [out("node-0", 0), out("node-4", 10), out("node-8", 20)]

    assert guards_crossed(*three, max_nodes_out=limit) == found


def test_a_node_that_is_back_is_not_out() -> None:
    back = [out("node-0", 0, back_s=15), out("node-4", 10), out("node-8", 20)]

    assert guards_crossed(*back, max_nodes_out=2) == []
    assert guards_crossed(*back, max_nodes_out=1) == ["max_nodes_out"] * 2


def test_the_share_of_the_nodes_bounds_too_and_allows_one() -> None:
    two = [out("node-0", 0), out("node-4", 10)]

    assert guards_crossed(*two, max_ratio_out=0.17) == []
    assert guards_crossed(*two, max_ratio_out=0.1) == ["max_nodes_out"]
    assert guards_crossed(two[0], max_ratio_out=0.0) == []


def test_the_same_node_again_is_one_node() -> None:
    again = [out("node-0", 0), out("node-0", 10), out("node-0", 20)]

    assert guards_crossed(*again, max_nodes_out=1) == []


def test_racks_and_switches_are_counted_apart() -> None:
    two = [out("node-0", 0), out("node-5", 10)]

    assert guards_crossed(*two, max_nodes_out_per_rack=1) == []
    assert guards_crossed(*two, max_nodes_out_per_switch=1) == ["max_nodes_out_per_switch"]
    assert guards_crossed(out("node-0", 0), out("node-1", 0), max_nodes_out_per_rack=1) == [
        "max_nodes_out_per_rack"
    ]


@pytest.mark.parametrize(("rest_s", "found"), [(1799.0, ["cooldown"]), (1800.0, [])])
def test_a_target_rests_between_plans(rest_s: float, found: list[str]) -> None:
    twice = [out("node-0", 0, plan="a"), out("node-0", rest_s, plan="b")]
    own = [out("node-0", 0, plan="a"), out("node-0", rest_s, plan="a")]

    assert guards_crossed(*twice, cooldown_s=1800.0) == found
    assert guards_crossed(*own, cooldown_s=1800.0) == []


def test_an_hour_has_room_for_so_many() -> None:
    orders = [Order(600.0 * number, f"p{number}") for number in range(7)]

    assert guards_crossed(*orders, max_actions_per_hour=6) == []
    assert guards_crossed(*orders, max_actions_per_hour=5) == ["max_actions_per_hour"] * 2


def test_steps_count_and_a_target_rests_from_the_end_of_what_was_done() -> None:
    orders = [Order(0.0, "a", steps=3), Order(60.0, "b", steps=3)]
    long = Order(0.0, "a", disturbs=frozenset({"x"}), ended_s=1000.0)
    again = Order(2000.0, "b", disturbs=frozenset({"x"}))

    assert guards_crossed(*orders, max_actions_per_hour=5) == ["max_actions_per_hour"]
    assert guards_crossed(*orders, max_actions_per_hour=6) == []
    assert guards_crossed(long, again, cooldown_s=1001.0) == ["cooldown"]
    assert guards_crossed(long, again, cooldown_s=1000.0) == []


def test_spares_and_unsaved_work_are_looked_at_where_they_are_told() -> None:
    order = Order(0.0, "a", spares=0, unsaved_gpu_s=200 * 3600.0)

    assert guards_crossed(order, min_spares_left=1) == ["min_spares_left", "unsaved_work"]
    assert guards_crossed(Order(0.0, "a"), min_spares_left=1) == []


def test_spares_are_kept_for_those_who_come_first() -> None:
    last = Order(0.0, "a", spares=1, below=True)

    assert guards_crossed(last, priority_spares=2) == ["priority_spares"]
    assert guards_crossed(Order(0.0, "a", spares=1), priority_spares=2) == []


@pytest.mark.parametrize(("rest_s", "found"), [(3599.0, ["probation"]), (3600.0, [])])
def test_a_node_that_came_back_is_not_relied_on_yet(rest_s: float, found: list[str]) -> None:
    away, time_s = out("node-3", 0, back_s=500), 500 + rest_s
    reboot = Order(time_s, "b", repaired=("node-3",))
    given = Order(time_s, "b", given=("node-3",), above=True)
    for order in (reboot, given):
        assert guards_crossed(away, order, probation_s=3600.0) == found

    assert guards_crossed(away, Order(time_s, "b", given=("node-3",)), probation_s=3600.0) == []
    innocent = Order(0.0, "a", ("node-3",), (500.0,), undone=True)
    assert guards_crossed(innocent, given, probation_s=3600.0) == []


def test_a_node_that_was_often_out_is_a_lemon_for_so_long() -> None:
    times = [out("node-3", 1e5 * number, back_s=1e5 * number + 10) for number in range(3)]
    given = Order(4e5, "b", given=("node-3",), above=True)
    bounds = {"probation_s": 0.0, "lemon_after": 3}

    assert guards_crossed(*times, given, **bounds) == ["lemon"]
    assert guards_crossed(*times[1:], given, **bounds) == []
    assert guards_crossed(*times, given, lemon_span_s=3e5, **bounds) == []


def test_grounds_and_the_size_of_what_is_stopped_are_looked_at() -> None:
    doubtful = Order(0.0, "a", probability=0.59)
    large = Order(0.0, "a", gpus=33)

    assert guards_crossed(doubtful, min_probability=0.6) == ["min_probability"]
    assert guards_crossed(Order(0.0, "a"), min_probability=0.6) == []
    assert guards_crossed(large, max_job_gpus=32) == ["max_job"]
    assert guards_crossed(large, max_job_gpus=33) == []
    settings = GuardSettings(max_job_share=0.5)
    assert [b.bound for b in audit([large], Site(8, gpus=64), settings)] == [32]


def test_what_stands_rests_less_before_it_is_started_again() -> None:
    job = frozenset({"job"})
    first, soon = Order(0.0, "a", disturbs=job), Order(400.0, "b", disturbs=job, stood=True)
    at_once = Order(200.0, "b", disturbs=job, stood=True)

    assert guards_crossed(first, soon, cooldown_s=1800.0) == []
    assert guards_crossed(first, at_once, cooldown_s=1800.0) == ["cooldown"]
    assert guards_crossed(first, at_once, cooldown_s=100.0) == []


def test_plans_of_the_store_are_read_with_what_put_nodes_back() -> None:
    first = plan_of(cordon("node-1"), swap("node-1"), id="a")
    failed = plan_of(cordon("node-2"), id="b")
    back = plan_of(("uncordon", Target(node="node-1"), {}), id="c")
    records = [
        record_of(
            first, PlanState.DONE, *(ended(a, OutcomeStatus.SUCCEEDED) for a in first.actions)
        ),
        record_of(failed, PlanState.FAILED, ended(failed.actions[0], OutcomeStatus.FAILED)),
        record_of(
            back,
            PlanState.DONE,
            ended(back.actions[0], OutcomeStatus.SUCCEEDED, at_s=NOW_S + 60),
        ),
    ]

    orders = orders_of_records(records)

    assert [(o.plan, o.nodes, o.back_s) for o in orders] == [
        ("a", ("node-1",), (NOW_S + 60,)),
        ("a", ("node-1",), (NOW_S + 60,)),
    ]
    assert audit(orders, SITE, WIDE) == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(RACKS)), st.floats(0, 1e4), st.floats(0, 1e4), st.integers(0, 5)
        ),
        max_size=12,
    ),
    st.randoms(),
)
def test_the_order_of_the_log_does_not_matter(
    rows: list[tuple[str, float, float, int]], luck: Random
) -> None:
    orders = [
        out(node, at_s, back_s=at_s + away_s, plan=f"p{plan}") for node, at_s, away_s, plan in rows
    ]
    settings = GuardSettings(max_nodes_out=2, max_actions_per_hour=3)
    mixed = list(orders)
    luck.shuffle(mixed)

    found, again = audit(orders, SITE, settings), audit(mixed, SITE, settings)

    assert sorted(b.guard for b in found) == sorted(b.guard for b in again)
