"""What touches what: from any target to its nodes, and from its nodes to the jobs on them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.target import Target
from core.topology import NOWHERE, Topology, flat_topology

# Two racks of two nodes with two GPUs each; job a spans n0 and n1, job b has n2, n3 is idle.
SMALL = Topology(
    nodes=("n0", "n1", "n2", "n3"),
    racks=("r0", "r1"),
    switches=("leaf",),
    gpus=tuple(f"GPU-{i}" for i in range(8)),
    jobs=("a", "b"),
    node_rack=np.array([0, 0, 1, 1]),
    node_switch=np.array([0, 0, 0, NOWHERE]),
    gpu_node=np.array([0, 0, 1, 1, 2, 2, 3, 3]),
    rank_job=np.array([0, 0, 0, 0, 1, 1]),
    rank_gpu=np.array([0, 1, 2, 3, 4, 5]),
)


@pytest.mark.parametrize(
    ("target", "nodes", "jobs"),
    [
        (Target(node="n1"), ("n1",), ("a",)),
        (Target(gpu="GPU-4"), ("n2",), ("b",)),
        (Target(node="n1", gpu="GPU-2"), ("n1",), ("a",)),
        (Target(job="a"), ("n0", "n1"), ("a",)),
        (Target(rack="r0"), ("n0", "n1"), ("a",)),
        (Target(rack="r1"), ("n2", "n3"), ("b",)),
        (Target(switch="leaf"), ("n0", "n1", "n2"), ("a", "b")),
        (Target(node="n3"), ("n3",), ()),
        (Target(volume="/home"), (), ()),
    ],
)
def test_a_target_reaches_its_nodes_and_their_jobs(
    target: Target, nodes: tuple[str, ...], jobs: tuple[str, ...]
) -> None:
    assert SMALL.nodes_in(target) == nodes
    assert SMALL.jobs_on(target) == jobs


@pytest.mark.parametrize(
    "target",
    [
        Target(gpu="GPU-x"),
        Target(job="x"),
        Target(rack="x"),
        Target(switch="x"),
        Target(node="x"),
        Target(),
    ],
)
def test_a_stranger_touches_no_job_of_ours(target: Target) -> None:
    assert SMALL.jobs_on(target) in ((), ("x",))
    assert SMALL.gpus_of_node("x") == ()
    assert SMALL.rack_of("x") == ""


def test_a_node_knows_its_place_or_says_it_does_not() -> None:
    assert (SMALL.rack_of("n2"), SMALL.switch_of("n2")) == ("r1", "leaf")
    assert SMALL.switch_of("n3") == ""
    assert SMALL.gpus_of_node("n3") == ("GPU-6", "GPU-7")


@st.composite
def placements(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    sizes = draw(st.lists(st.integers(0, 4), max_size=5))
    gpus_of = {f"n{i}": [f"GPU-{i}-{j}" for j in range(size)] for i, size in enumerate(sizes)}
    free = [uuid for uuids in gpus_of.values() for uuid in uuids]
    names = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True))
    ranks_of = {name: draw(st.lists(st.sampled_from(free))) if free else [] for name in names}
    return gpus_of, ranks_of


@given(placements())
def test_a_flat_topology_keeps_every_placement(
    placed: tuple[dict[str, list[str]], dict[str, list[str]]],
) -> None:
    gpus_of, ranks_of = placed
    topology = flat_topology(gpus_of, ranks_of)

    for node, uuids in gpus_of.items():
        assert topology.gpus_of_node(node) == tuple(uuids)
        assert all(topology.node_of(Target(gpu=uuid)) == node for uuid in uuids)
    for job, uuids in ranks_of.items():
        expected = {topology.node_of(Target(gpu=uuid)) for uuid in uuids}
        assert set(topology.nodes_of_job(job)) == expected
        assert all(job in topology.jobs_on(Target(gpu=uuid)) for uuid in uuids)


def node(name: str, condition: NodeCondition, owner: str = "") -> NodeState:
    return NodeState(name, condition, owner)


STATE = ClusterState(
    observed_s=0.0,
    topology=SMALL,
    nodes=(
        node("n0", NodeCondition.READY, OWNER),
        node("n1", NodeCondition.DRAINED, OWNER),
        node("n2", NodeCondition.CORDONED, "alice"),
        node("n3", NodeCondition.DOWN),
    ),
    jobs=(
        JobState("a", JobPhase.RUNNING, ("n0", "n1"), gpus=4, since_s=0.0),
        JobState("b", JobPhase.RUNNING, ("n2",), gpus=2, since_s=0.0),
    ),
)


def test_only_nodes_out_by_this_hand_count_as_ours() -> None:
    assert [out.name for out in STATE.out_by(OWNER)] == ["n1"]
    assert [out.name for out in STATE.out_by("alice")] == ["n2"]


@pytest.mark.parametrize(
    ("target", "touched"),
    [
        (Target(job="b"), ["b"]),
        (Target(rack="r0"), ["a"]),
        (Target(gpu="GPU-5"), ["b"]),
        (Target(switch="leaf"), ["a", "b"]),
        (Target(node="n3"), []),
    ],
)
def test_a_target_touches_the_jobs_on_its_nodes(target: Target, touched: list[str]) -> None:
    assert [job.id for job in STATE.jobs_touched(target)] == touched


def test_a_name_that_is_not_there_is_none() -> None:
    assert STATE.node("x") is None
    assert STATE.job("x") is None
    found = STATE.job("a")
    assert found is not None
    assert found.nodes == ("n0", "n1")
