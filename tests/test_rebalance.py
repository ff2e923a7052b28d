"""Room for a large job: small jobs move together, then spares, then less urgent jobs give way."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.topology import flat_topology
from core.types import Action
from remediation.capacity.rebalance import room_for
from remediation.catalogue import CATALOG, first_obstacle
from remediation.catalogue.job_obstacles import free_nodes

EACH = 8


def name(number: int) -> str:
    return f"node-{number:02d}"


def running(job: str, nodes: Sequence[int], gpus: int = 0, **fields: object) -> JobState:
    """Return a job on nodes; ``gpus`` of one of them where it is less than a node."""
    made = JobState(
        job,
        JobPhase.RUNNING,
        tuple(name(node) for node in nodes),
        gpus or EACH * len(nodes),
        since_s=0.0,
        checkpoint_s=1.0,
        asked_nodes=0 if gpus else len(nodes),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def waiting(nodes: int, *, priority: int = 5) -> JobState:
    return JobState(
        "large", JobPhase.PENDING, (), EACH * nodes, 0.0, priority=priority, asked_nodes=nodes
    )


def cluster(count: int, *jobs: JobState, spares: int = 0, zones: int = 1) -> ClusterState:
    """Return a cluster; its last nodes are spares."""
    nodes = tuple(
        NodeState(
            name(number),
            NodeCondition.READY,
            spare=number >= count - spares,
            zone=f"zone-{number % zones}",
        )
        for number in range(count)
    )
    gpus = {node.name: [f"{node.name}/{slot}" for slot in range(EACH)] for node in nodes}
    return ClusterState(1000.0, flat_topology(gpus, {}), nodes, jobs)


def said(actions: Sequence[Action]) -> list[tuple[str, str]]:
    return [(action.kind, action.target.name) for action in actions]


def after(actions: Sequence[Action], state: ClusterState) -> ClusterState:
    for action in actions:
        state = CATALOG[action.kind].project(action, state)
    return state


def test_a_job_that_fits_needs_nothing() -> None:
    assert room_for(cluster(4, waiting(4)), "large", plan_id="p").actions == ()


def test_small_jobs_move_together_and_as_few_gpus_as_will_do() -> None:
    jobs = (running("a", [0], 1), running("b", [1], 2), running("c", [2], 4))
    found = room_for(cluster(4, *jobs, waiting(2)), "large", plan_id="p")

    assert said(found.actions) == [("move_job", "a")]
    assert dict(found.actions[0].params) == {"nodes": name(2)}
    assert (found.moved_gpus, found.stopped_gpus) == (1, 0)


def test_spares_of_the_fullest_zone_come_before_anybody_is_stopped() -> None:
    state = cluster(6, running("low", [0, 1]), waiting(2), spares=3, zones=2)
    found = room_for(state, "large", plan_id="p", spares_kept=1)

    assert said(found.actions) == [("release_spare", name(3))]


def test_the_least_urgent_give_way_and_one_that_can_shrinks() -> None:
    elastic = running("elastic", [0, 1, 2], priority=1, least_nodes=1, most_nodes=3)
    state = cluster(6, elastic, running("low", [3]), running("high", [4, 5], priority=9))
    found = room_for(replace(state, jobs=(*state.jobs, waiting(2))), "large", plan_id="p")

    assert {target for _, target in said(found.actions)} <= {"elastic", "low"}
    assert found.stopped_gpus == 16

    one = room_for(replace(state, jobs=(*state.jobs, waiting(1))), "large", plan_id="p")
    assert said(one.actions) == [("preempt_job", "low")]


@pytest.mark.parametrize(
    ("jobs", "because"),
    [
        ((), "job large is unknown"),
        ((replace(waiting(2), phase=JobPhase.RUNNING),), "job large is running"),
        ((running("high", [0, 1, 2], priority=9), waiting(2)), "1 can be had"),
        ((running("equal", [0, 1, 2], priority=5), waiting(2)), "a priority below 5"),
        ((waiting(7),), "waits for 7 nodes: 4 nodes are free"),
    ],
)
def test_why_there_is_no_way_is_said(jobs: tuple[JobState, ...], because: str) -> None:
    found = room_for(cluster(4, *jobs), "large", plan_id="p")

    assert found.actions == ()
    assert because in found.reason


@st.composite
def clusters(draw: st.DrawFn) -> ClusterState:
    """Draw nodes with whole and small jobs of any priority, one job that waits, and some spares."""
    count = draw(st.integers(2, 10))
    spares = draw(st.integers(0, min(2, count - 1)))
    at, jobs = 0, list[JobState]()
    while at < count - spares:
        kind = draw(st.sampled_from(["free", "small", "whole"]))
        priority = draw(st.integers(0, 9))
        if kind == "whole":
            size = draw(st.integers(1, min(3, count - spares - at)))
            least = draw(st.integers(0, size))
            nodes = list(range(at, at + size))
            jobs.append(
                running(f"j{at}", nodes, priority=priority, least_nodes=least, most_nodes=size)
            )
            at += size
            continue
        if kind == "small":
            for gpus in draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)):
                jobs.append(running(f"s{at}-{len(jobs)}", [at], gpus, priority=priority))
        at += 1
    wanted = waiting(draw(st.integers(1, count)), priority=draw(st.integers(0, 9)))
    return cluster(count, *jobs, wanted, spares=spares, zones=draw(st.integers(1, 3)))


@given(clusters(), st.integers(0, 2))
def test_whatever_there_is_the_job_fits_afterwards_and_nothing_urgent_is_touched(
    state: ClusterState, kept: int
) -> None:
    job = state.job("large")
    assert job is not None
    found = room_for(state, "large", plan_id="p", spares_kept=kept)
    left = after(found.actions, state)

    assert first_obstacle(found.actions, state) is None
    assert (found.reason == "") == (len(free_nodes(left)) >= job.asked_nodes)
    touched = [state.job(action.target.job) for action in found.actions if action.target.job]
    for action, other in zip(
        [action for action in found.actions if action.target.job], touched, strict=True
    ):
        assert other is not None
        assert other.priority <= job.priority
        assert action.kind == "move_job" or other.priority < job.priority
    spares = [node for node in left.nodes if node.spare]
    before = [node for node in state.nodes if node.spare]
    assert len(spares) >= min(kept, len(before))
    for other in left.jobs:
        known = state.job(other.id)
        assert known is not None
        assert other.phase is JobPhase.PENDING or len(other.nodes) >= min(
            known.least_nodes or len(known.nodes), len(known.nodes)
        )
    held = dict.fromkeys(left.topology.nodes, 0)
    for other in left.jobs:
        for node in other.nodes:
            held[node] += min(other.gpus, EACH)
    assert max(held.values()) <= EACH
