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
