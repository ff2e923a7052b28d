"""Capacity is there before it is wanted, as much of it as waiting is dearer than idling."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cluster import ClusterState, NodeCondition
from remediation.capacity.provision import Ahead, Prices, in_service, provision
from remediation.catalogue import CATALOG, first_obstacle
from tests.test_rebalance import EACH, cluster, name, running, said

NOW = Ahead(900.0, 32.0, 32.0)


def out(state: ClusterState, number: int, **fields: object) -> ClusterState:
    """Take a node out by our hand."""
    nodes = list(state.nodes)
    held = replace(nodes[number], condition=NodeCondition.DRAINED, owner="gpumedic", since_s=500.0)
    nodes[number] = replace(held, **fields)  # type: ignore[arg-type]
    return replace(state, nodes=tuple(nodes))


def test_spares_are_released_for_what_will_be_wanted_at_most() -> None:
    state = cluster(6, running("a", [0, 1]), spares=2)  # 32 GPUs in service, 2 spares
    found = provision(state, [Ahead(1800.0, 32.0, 40.0)], Prices(), plan_id="p")

    assert said(found.actions) == [("release_spare", name(4))]
    assert found.short_gpus == 0
    assert "40 GPUs are to be had in 30 min (quantile 0.90), 32 are in service" in found.reason


def test_how_much_follows_from_what_idling_costs_against_waiting() -> None:
    state = cluster(6, spares=2)
    ahead = [Ahead(1800.0, 32.0, 48.0)]
    many = provision(state, ahead, Prices(waiting=9.0), plan_id="p")
    some = provision(state, ahead, Prices(waiting=7 / 3), plan_id="p")
    none = provision(state, ahead, Prices(waiting=1.0), plan_id="p")

    assert [len(found.actions) for found in (many, some, none)] == [2, 1, 0]


def test_a_node_that_has_passed_its_checks_returns_and_another_is_checked_in_time() -> None:
    state = out(out(cluster(4), 2, checked_s=900.0), 3)
    soon = provision(state, [Ahead(900.0, 32.0, 32.0)], Prices(), plan_id="p")
    later = provision(state, [Ahead(3600.0, 32.0, 32.0)], Prices(), plan_id="p")

    assert said(soon.actions) == [("uncordon", name(2))]
    assert soon.short_gpus == 8
    assert "8 GPUs will be lacking" in soon.reason
    assert said(later.actions) == [("uncordon", name(2)), ("validate_node", name(3))]
    assert later.short_gpus == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"owner": "ada"},
        {"mark": "lemon", "checked_s": 900.0},
        {"finding": "gpu_fallen_off_bus", "checked_s": 900.0},
        {"condition": NodeCondition.DOWN},
    ],
)
def test_what_is_not_ours_or_not_sound_stays_out(fields: dict[str, object]) -> None:
    found = provision(out(cluster(4), 3, **fields), [NOW], Prices(), plan_id="p")

    assert found.actions == ()
    assert found.short_gpus == 8


def test_free_nodes_that_nothing_wants_become_spares_again() -> None:
    ahead = [Ahead(900.0, 8.0, 16.0)]
    found = provision(cluster(5), ahead, Prices(spares=2), plan_id="p")

    assert said(found.actions) == [("keep_as_spare", name(4)), ("keep_as_spare", name(3))]
    assert provision(cluster(5), ahead, Prices(), plan_id="p").actions == ()


@given(
    st.integers(1, 12),
    st.integers(0, 4),
    st.lists(st.tuples(st.floats(0, 120), st.floats(0, 60)), min_size=1, max_size=3),
    st.floats(1, 50),
    st.integers(0, 3),
)
def test_whatever_is_wanted_the_orders_can_be_done_and_lack_nothing_that_is_there(
    nodes: int, spares: int, wanted: list[tuple[float, float]], waiting: float, kept: int
) -> None:
    state = out(cluster(nodes + spares + 1, spares=spares), 0)
    ahead = [
        Ahead(lead_s, half, half + more)
        for lead_s, (half, more) in zip((900.0, 1800.0, 3600.0), wanted, strict=False)
    ]
    prices = Prices(waiting=waiting, spares_kept=kept)
    found = provision(state, ahead, prices, plan_id="p")

    assert first_obstacle(found.actions, state) is None
    left = state
    for action in found.actions:
        left = CATALOG[action.kind].project(action, left)
    assert sum(node.spare for node in left.nodes) >= min(kept, spares)
    most = max(at.most for at in ahead)
    added = in_service(left) - in_service(state)
    assert added == 0 or in_service(left) - EACH < most
    free = sum(node.spare for node in left.nodes) - kept
    assert found.short_gpus == 0 or free <= 0
