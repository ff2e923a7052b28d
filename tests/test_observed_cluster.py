"""Without a scheduler the cluster is what its readings name, and nothing of it is touched."""

import numpy as np
import pytest

from agent.history import History
from agent.observed_cluster import ObservedCluster
from core.clock import ManualClock
from core.cluster import JobPhase, NodeCondition
from core.errors import ActionFailed
from core.target import Target
from core.types import Action, Window

STEP_S = 15.0
GPU_METRIC, RANK_METRIC, NODE_METRIC = (
    "gpu_temperature_celsius",
    "rank_step_time_s",
    "node_memory_used_ratio",
)


def gpu(node: str, number: int) -> Target:
    return Target(node=node, gpu=f"GPU-{node[-1]}{number}")


def rank(node: str, number: int, *, rank: int) -> Target:
    return Target(node=node, gpu=f"GPU-{node[-1]}{number}", job="train", rank=str(rank))


def seen(history: History, clock: ManualClock, metric: str, *targets: Target) -> None:
    time_s = np.array([clock.now_s() // STEP_S * STEP_S])
    value = np.full((len(targets), 1), 0.5)
    history.merge(Window(metric, targets, time_s, value), now_s=clock.now_s())


@pytest.fixture
def history() -> History:
    return History(None, step_s=STEP_S, span_s=3600.0)


async def test_nodes_gpus_and_jobs_are_read_from_labels(
    history: History, clock: ManualClock
) -> None:
    seen(history, clock, NODE_METRIC, Target(node="login"), Target(node="node-a"))
    seen(history, clock, GPU_METRIC, *(gpu(n, g) for n in ("node-a", "node-b") for g in (0, 1)))
    seen(history, clock, RANK_METRIC, rank("node-a", 1, rank=10), rank("node-a", 0, rank=9))

    state = await ObservedCluster(history, clock).state()

    assert [node.name for node in state.nodes] == ["login", "node-a", "node-b"]
    assert {node.condition for node in state.nodes} == {NodeCondition.READY}
    assert [node.name for node in state.nodes if node.spare] == ["node-b"]
    assert state.topology.gpus_of_node("node-a") == ("GPU-a0", "GPU-a1")
    (job,) = state.jobs
    assert (job.id, job.phase, job.nodes, job.gpus) == ("train", JobPhase.RUNNING, ("node-a",), 2)
    ranks = [state.topology.gpus[index] for index in state.topology.rank_gpu.tolist()]
    assert ranks == ["GPU-a0", "GPU-a1"]


async def test_a_job_that_reports_no_more_is_gone(history: History, clock: ManualClock) -> None:
    """The history knows its ranks for a day; they are no reason to call its nodes busy."""
    cluster = ObservedCluster(history, clock)
    seen(history, clock, RANK_METRIC, rank("node-a", 0, rank=0))
    running = (await cluster.state()).jobs
    await clock.advance(900.0)
    seen(history, clock, GPU_METRIC, gpu("node-a", 0))

    state = await cluster.state()

    assert [job.id for job in running] == ["train"]
    assert state.jobs == ()
    assert state.observed_s == clock.now_s()


async def test_without_jobs_no_node_is_a_spare(history: History, clock: ManualClock) -> None:
    """That no exporter names jobs does not make every node idle."""
    seen(history, clock, GPU_METRIC, gpu("node-a", 0), gpu("node-b", 0))

    state = await ObservedCluster(history, clock).state()

    assert not any(node.spare for node in state.nodes)


async def test_a_gpu_under_two_names_of_its_node_is_one(
    history: History, clock: ManualClock
) -> None:
    there = Target(node="node-a", gpu="GPU-a0")
    again = Target(node="node-a.example.org", gpu="GPU-a0")
    seen(history, clock, GPU_METRIC, again, there)

    topology = (await ObservedCluster(history, clock).state()).topology

    assert topology.gpus == ("GPU-a0",)
    assert topology.node_of(Target(gpu="GPU-a0")) == "node-a"


async def test_no_action_is_done(history: History, clock: ManualClock) -> None:
    action = Action("k", "cordon", Target(node="node-a"), (), 60.0, "uncordon")

    with pytest.raises(ActionFailed, match="no scheduler is connected"):
        await ObservedCluster(history, clock).perform(action)
