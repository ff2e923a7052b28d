"""A way leads from a cause over what is out of order to the symptom, and names what it skips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.target import Target
from core.types import Floats
from rca.graph.causal_graph import CausalGraph, build_graph
from rca.graph.links import TEMPLATES, with_links
from rca.graph.templates import LEARNED_STRENGTH, Join, Provenance, Template
from rca.graph.traverse import hops, reach, ways
from rca.posterior.standing import Standing

GPUS = tuple(Target(node="n", gpu=f"g{at}") for at in range(2))
RANKS = tuple(Target(node="n", gpu=f"g{at}", job="j", rank=str(at)) for at in range(2))
HEAT = ("gpu_temperature_celsius", "gpu_throttle_ratio", "gpu_sm_clock_hz", "rank_step_time_s")


def graph_of(*metrics: str, links: tuple[Template, ...] = TEMPLATES) -> CausalGraph:
    of = {"gpu": GPUS, "rank": RANKS, "job": (Target(job="j"),), "node": (Target(node="n"),)}
    return build_graph({name: of[name.partition("_")[0]] for name in metrics}, None, links)


def standing(graph: CausalGraph, moved: Floats) -> Standing:
    blank = np.zeros(graph.size)
    onset_s = np.where(np.abs(moved) > 3, 100.0 + np.arange(graph.size), np.nan)
    return Standing(
        centre=blank,
        scale=blank + 1,
        level=moved,
        own=moved,
        peer=blank,
        odd=np.abs(moved),
        onset_s=onset_s,
        silent=blank > 0,
    )


def at(graph: CausalGraph, metric: str, row: int = 0) -> int:
    return int(graph.span(metric).start) + row


def symptom(graph: CausalGraph) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array([at(graph, "job_step_time_s")], dtype=np.int64)


def test_a_way_follows_what_is_out_of_order_to_the_symptom() -> None:
    graph = graph_of(*HEAT, "job_step_time_s")
    moved = np.zeros(graph.size)
    for metric in (*HEAT, "job_step_time_s"):
        moved[at(graph, metric)] = 9.0
    stands = standing(graph, moved)

    found = ways(graph, stands, symptom(graph))
    path = hops(graph, stands, found, at(graph, HEAT[0]))

    assert [hop.metric for hop in path] == [*HEAT, "job_step_time_s"]
    assert {hop.target.gpu for hop in path[:-1]} == {"g0"}
    assert all(hop.moved == 9.0 and hop.began_s for hop in path)
    assert found.share[at(graph, HEAT[0])] > 0.9
    assert found.share[at(graph, HEAT[0], 1)] < 0.1  # its GPU's clock is as ever


def test_a_way_names_the_readings_that_nobody_measures() -> None:
    graph = graph_of(HEAT[0], HEAT[2], HEAT[3], "job_step_time_s")
    stands = standing(graph, np.full(graph.size, 9.0))

    path = hops(graph, stands, ways(graph, stands, symptom(graph)), at(graph, HEAT[0]))

    assert [hop.metric for hop in path] == [*HEAT, "job_step_time_s"]
    assert (path[1].metric, path[1].moved, path[1].began_s) == ("gpu_throttle_ratio", None, None)


def test_where_no_way_leads_to_the_symptom_the_path_is_the_variable_alone() -> None:
    graph = graph_of("gpu_memory_used_bytes", "job_step_time_s")
    stands = standing(graph, np.full(graph.size, 9.0))

    found = ways(graph, stands, symptom(graph))
    path = hops(graph, stands, found, at(graph, "gpu_memory_used_bytes"))

    assert [hop.metric for hop in path] == ["gpu_memory_used_bytes"]
    assert found.share[at(graph, "gpu_memory_used_bytes")] == 0.0


def test_a_way_over_a_learned_link_is_weak_says_so_and_can_be_left_out() -> None:
    own = Template(
        "node_open_files_ratio",
        "rank_data_wait_s",
        Join.NODE,
        strength=LEARNED_STRENGTH,
        provenance=Provenance.LEARNED,
    )
    metrics = ("node_open_files_ratio", "rank_data_wait_s", "job_step_time_s")
    graph = graph_of(*metrics, links=with_links(TEMPLATES, [own]))
    stands = standing(graph, np.full(graph.size, 9.0))

    found = ways(graph, stands, symptom(graph))
    known = ways(graph, stands, symptom(graph), learned=False)

    assert found.share[at(graph, metrics[0])] <= LEARNED_STRENGTH
    path = hops(graph, stands, found, at(graph, metrics[0]))
    assert [hop.learned for hop in path] == [False, True, False]
    assert not any(hop.learned for hop in hops(graph, stands, found, at(graph, metrics[1])))
    assert known.share[at(graph, metrics[0])] == 0
    assert known.share[at(graph, metrics[1])] == found.share[at(graph, metrics[1])]


@settings(deadline=None)
@given(st.lists(st.floats(-20, 20) | st.just(np.nan), min_size=40, max_size=40))
def test_a_way_multiplies_to_the_share_it_is_said_to_have(moved: list[float]) -> None:
    metrics = (*HEAT, "rank_data_wait_s", "rank_collective_time_s", "node_pressure_io_ratio")
    graph = graph_of(*metrics, "gpu_nvlink_errors_total", "job_step_time_s")
    stands = standing(graph, np.array(moved)[: graph.size])

    found = ways(graph, stands, symptom(graph))

    assert found.share == pytest.approx(reach(graph, stands, symptom(graph)))
    for start in range(graph.size):
        steps = found.links(graph, start)
        assert bool(steps) == (found.share[start] > 0 and start not in symptom(graph))
        shares = [found.share[int(graph.cause[one])] for one in steps]
        assert shares == sorted(shares)  # each hop loses some
        if steps:
            assert int(graph.effect[steps[-1]]) in symptom(graph)
