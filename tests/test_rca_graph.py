"""The causal graph links what touches, names what it skips, and never holds a cycle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.target import Target
from core.types import Floats
from rca.graph.causal_graph import CausalGraph, build_graph
from rca.graph.links import METRICS, TEMPLATES
from rca.graph.places import match
from rca.graph.templates import UNMEASURED_HOP, Template, order, templates_over
from rca.posterior.standing import group_median, peer_z
from tests.rca_scenes import cluster, nothing, scene, target_of_gpu, target_of_node


def graph_of(*, without: tuple[str, ...] = ()) -> CausalGraph:
    case = scene(nothing, 0, nodes=2).without(*without)
    series = {name: window.targets for name, window in case.windows.items()}
    return build_graph(series, case.state.topology)


def links(graph: CausalGraph, cause: str, effect: str) -> set[tuple[Target, Target]]:
    return {
        (graph.target(c), graph.target(e))
        for c, e in zip(graph.cause.tolist(), graph.effect.tolist(), strict=True)
        if graph.metrics[graph.metric[c]] == cause and graph.metrics[graph.metric[e]] == effect
    }


def test_a_gpus_heat_reaches_its_own_clock_only() -> None:
    found = links(graph_of(), "gpu_temperature_celsius", "gpu_throttle_ratio")

    assert len(found) == 16
    assert all(cause == effect for cause, effect in found)


def test_an_inlet_reaches_every_gpu_of_its_node() -> None:
    found = links(graph_of(), "node_inlet_temperature_celsius", "gpu_temperature_celsius")

    assert {e for c, e in found if c == target_of_node(1)} == {
        target_of_gpu(1, g) for g in range(8)
    }


def test_every_rank_is_a_cause_of_its_jobs_step() -> None:
    found = links(graph_of(), "rank_step_time_s", "job_step_time_s")

    assert len(found) == 16
    assert {effect for _, effect in found} == {Target(job="j1")}


def test_a_gap_in_the_chain_is_bridged_and_named() -> None:
    graph = graph_of(without=("gpu_throttle_ratio",))

    bridge = next(link for link in graph.templates if "gpu_throttle_ratio" in link.over)
    assert (bridge.cause, bridge.effect) == ("gpu_temperature_celsius", "gpu_sm_clock_hz")
    assert (bridge.sign, bridge.strength) == (-1, UNMEASURED_HOP)
    assert len(links(graph, bridge.cause, bridge.effect)) == 16


def test_without_ranks_a_node_still_reaches_its_job() -> None:
    ranks = ("rank_step_time_s", "rank_data_wait_s", "rank_collective_time_s")
    found = links(graph_of(without=ranks), "port_errors_total", "job_step_time_s")

    assert {cause.node for cause, _ in found} == {"node-0", "node-1"}


def test_a_shared_volume_reaches_every_rank() -> None:
    ranks = tuple(Target(node=f"n{i}", gpu=f"g{i}", job="j", rank=str(i)) for i in range(3))
    graph = build_graph(
        {"volume_read_latency_s": (Target(volume="/data"),), "rank_data_wait_s": ranks}, None
    )

    found = links(graph, "volume_read_latency_s", "rank_data_wait_s")
    assert {effect for _, effect in found} == set(ranks)


def test_a_bare_rank_is_placed_by_the_topology() -> None:
    state = cluster(2)
    graph = build_graph({"rank_step_time_s": (Target(job="j1", rank="9"),)}, state.topology)

    assert graph.gpus[graph.place.gpu[0]] == target_of_gpu(1, 1).gpu
    assert graph.nodes[graph.place.node[0]] == "node-1"


@given(st.sets(st.sampled_from(sorted(METRICS))))
def test_any_choice_of_metrics_gives_an_acyclic_graph(present: set[str]) -> None:
    found = templates_over(TEMPLATES, frozenset(present))

    ranked = {name: place for place, name in enumerate(order(tuple(present), found))}
    assert all(ranked[link.cause] < ranked[link.effect] for link in found)


def test_a_cycle_is_refused_with_its_members() -> None:
    back = Template("rank_step_time_s", "gpu_temperature_celsius", TEMPLATES[0].join)

    with pytest.raises(ValueError, match=r"cycle: .*gpu_temperature_celsius"):
        order(METRICS, (*TEMPLATES, back))


@given(
    st.lists(st.integers(-1, 4), max_size=12),
    st.lists(st.integers(-1, 4), max_size=12),
)
def test_matching_finds_exactly_the_equal_pairs(left: list[int], right: list[int]) -> None:
    rows, columns = match(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64))

    expected = {(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a == b >= 0}
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == sorted(expected)


def test_the_one_that_differs_stands_out_of_its_group() -> None:
    change: Floats = np.array([0.0, 0.1, -0.1, 0.05, 9.0, 5.0, 5.1, 4.9, 5.0, 5.05])
    group = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])

    away = peer_z(change, group, 0.1)
    assert np.flatnonzero(np.abs(away) > 3).tolist() == [4]


def test_too_few_peers_give_no_answer() -> None:
    assert np.isnan(peer_z(np.array([1.0, 9.0]), np.zeros(2, dtype=np.int64), 0.1)).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9) | st.just(np.nan)), min_size=1))
def test_group_medians_leave_missing_readings_out(rows: list[tuple[int, float]]) -> None:
    group = np.array([number for number, _ in rows])
    value: Floats = np.array([reading for _, reading in rows])

    found = group_median(value, group)
    for number in set(group.tolist()):
        known = np.sort(value[(group == number) & np.isfinite(value)])
        middle = known[(len(known) - 1) // 2] if len(known) else np.nan
        np.testing.assert_array_equal(found[group == number], middle)
