"""The runbook: a known fault has its plan, what is unknown is left to people."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase, NodeCondition
from core.target import Target
from core.types import Cause, Diagnosis, Plan
from remediation.guards import GuardContext, check
from remediation.policy import Past, Policy
from remediation.rules import PROPOSAL_LIFE_S, RUNBOOKS, RulesPolicy, spare_for
from tests.fakes import FakeCluster
from tests.healing import GONE, HOT, LEAK, NOW_S, diagnosis, guards, incident


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(ManualClock(NOW_S))


async def decide(cluster: FakeCluster, found: Diagnosis | None = None) -> Plan | None:
    state = await cluster.state()
    policy: Policy = RulesPolicy()
    decided = policy.decide(
        incident(), found or diagnosis(), state, now_s=NOW_S, plan_id="p1", past=Past()
    )
    return decided.plan


def steps(plan: Plan | None) -> list[str]:
    return [] if plan is None else [f"{action.kind} {action.target}" for action in plan.actions]


TAKEN_AWAY = ["cordon node-1", "checkpoint_now job train", "swap_node node-1"]


@pytest.mark.parametrize("fault", [GONE, HOT, "gpu_ecc_uncorrectable", "gpu_power_fault"])
async def test_broken_hardware_is_swapped_for_a_spare(cluster: FakeCluster, fault: str) -> None:
    plan = await decide(cluster, diagnosis(fault))

    assert steps(plan) == TAKEN_AWAY
    assert plan is not None
    assert dict(plan.actions[2].params) == {"job": "train", "spare": "node-10"}
    assert plan.expires_s == NOW_S + PROPOSAL_LIFE_S


async def test_a_gpu_that_is_blamed_names_its_node(cluster: FakeCluster) -> None:
    cause = Cause(Target(gpu="GPU-8"), GONE, 0.9)

    plan = await decide(cluster, Diagnosis("i1", NOW_S, (cause,), 0.1, "test"))

    assert steps(plan) == TAKEN_AWAY


@pytest.mark.parametrize("fault", [LEAK, "gpu_memory_leak"])
async def test_a_leak_is_stopped_by_a_restart_where_it_is(cluster: FakeCluster, fault: str) -> None:
    plan = await decide(cluster, diagnosis(fault))

    assert steps(plan) == ["checkpoint_now job train", "restart_job job train"]


async def test_a_job_that_stands_still_has_nothing_to_save(cluster: FakeCluster) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], phase=JobPhase.STOPPED)

    assert steps(await decide(cluster)) == ["cordon node-1", "swap_node node-1"]
    assert steps(await decide(cluster, diagnosis(LEAK))) == ["restart_job job train"]


async def test_a_free_broken_node_is_only_cordoned(cluster: FakeCluster) -> None:
    assert steps(await decide(cluster, diagnosis(node="node-6"))) == ["cordon node-6"]
    assert await decide(cluster, diagnosis(LEAK, node="node-6")) is None
    cluster.by_hand("node-6", NodeCondition.DRAINED, owner="gpumedic")
    assert await decide(cluster, diagnosis(node="node-6")) is None


@pytest.mark.parametrize("phase", [JobPhase.PENDING, JobPhase.COMPLETED])
async def test_a_job_that_is_not_on_the_node_is_left_alone(
    cluster: FakeCluster, phase: JobPhase
) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], phase=phase)

    assert steps(await decide(cluster)) == ["cordon node-1"]


async def test_a_silent_node_counts_when_the_scheduler_agrees(cluster: FakeCluster) -> None:
    silent = diagnosis("node_silent")
    assert await decide(cluster, silent) is None

    cluster.by_hand("node-1", NodeCondition.DOWN)

    assert steps(await decide(cluster, silent)) == TAKEN_AWAY
    cluster.by_hand("node-6", NodeCondition.DOWN)
    assert await decide(cluster, diagnosis("node_silent", node="node-6")) is None


async def test_what_is_not_known_is_only_told(cluster: FakeCluster) -> None:
    unlikely = diagnosis(probability=0.4)
    no_cause = Diagnosis("i1", NOW_S, (), 1.0, "test")
    everywhere = Diagnosis("i1", NOW_S, (Cause(Target(), HOT, 0.9),), 0.1, "test")

    for found in (diagnosis("storage_slow"), unlikely, no_cause, everywhere):
        assert await decide(cluster, found) is None


@pytest.mark.parametrize(("unknown", "no_fault"), [(0.35, 0.25), (0.25, 0.35)])
async def test_what_is_likely_no_fault_is_left_alone(
    cluster: FakeCluster, unknown: float, no_fault: float
) -> None:
    """A node is not drained because the load changed, however the rest of the doubt is split."""
    first = diagnosis(probability=0.3).causes[0]
    second = replace(first, fault=GONE, probability=0.1)
    found = Diagnosis("i1", NOW_S, (first, second), unknown, "test", no_fault=no_fault)

    assert await decide(cluster, found) is None
    assert await decide(cluster, replace(found, unknown=0.3, no_fault=0.3)) is not None


async def test_the_same_input_gives_the_same_plan(cluster: FakeCluster) -> None:
    assert await decide(cluster) == await decide(FakeCluster(ManualClock(NOW_S)))


async def test_the_largest_job_on_the_node_is_rescued(cluster: FakeCluster) -> None:
    small = replace(cluster.jobs["train"], id="small", nodes=("node-1",), gpus=2)
    cluster.jobs = {"small": small, **cluster.jobs}

    plan = await decide(cluster)

    assert plan is not None
    assert plan.actions[2].param("job") == "train"


async def test_without_a_spare_the_guards_say_what_is_missing() -> None:
    cluster = FakeCluster(ManualClock(NOW_S), spares=0)

    plan = await decide(cluster)

    assert plan is not None
    context = GuardContext(await cluster.state(), incident(), NOW_S)
    refusals = check(plan, context, guards())
    assert [refusal.guard for refusal in refusals] == ["precondition"]
    assert refusals[0].reason == "Not swapping node-1: no spare is ready (0 ready spares in all)."


async def test_the_plan_says_why_in_one_sentence(cluster: FakeCluster) -> None:
    plan = await decide(cluster)

    assert plan is not None
    assert plan.rationale == (
        "cooling_degraded on node-1 under job train (probability 0.90): cordon, checkpoint_now, "
        "swap_node, because a hot node slows every rank of its job."
    )


async def test_the_plan_says_what_it_costs_and_saves(cluster: FakeCluster) -> None:
    """32 GPUs: a stall of 13 s and a swap of 50.3 + 120 s against a third of 72 min at 0.9."""
    plan = await decide(cluster)

    assert plan is not None
    assert plan.lost_gpu_s_with == pytest.approx(32 * (13 + 50 + 0.009 * 32 + 120))
    assert plan.lost_gpu_s_without == pytest.approx(0.9 * 32 * 72 * 60 / 3)
    free = await decide(cluster, diagnosis(node="node-6"))
    assert free is not None
    assert (free.lost_gpu_s_with, free.lost_gpu_s_without) == (0.0, 0.0)


async def test_a_dead_job_costs_its_work_since_the_checkpoint_too(cluster: FakeCluster) -> None:
    plan = await decide(cluster, diagnosis(GONE))

    assert plan is not None
    assert plan.lost_gpu_s_without == pytest.approx(0.9 * 32 * (5400 + 50 + 0.009 * 32 + 600))


async def test_the_nearest_free_spare_of_the_same_size_is_chosen() -> None:
    """node-1 is in rack r0 under switch s0 with r1; racks r2 and r3 are under s1."""
    cluster = FakeCluster(ManualClock(NOW_S), nodes=16, spares=0)
    for name in ("node-3", "node-6", "node-13"):
        cluster.nodes[name] = replace(cluster.nodes[name], spare=True)
    free = replace(cluster.jobs["train"], nodes=("node-0", "node-1"))

    chosen = []
    for taken in ("node-3", "node-6", "node-13", ""):
        cluster.jobs["train"] = free
        chosen.append(spare_for("node-1", await cluster.state()))
        if taken:
            cluster.by_hand(taken, NodeCondition.CORDONED, owner="ada")

    assert chosen == ["node-3", "node-6", "node-13", ""]


async def test_a_spare_with_a_job_or_other_gpus_does_not_fit(cluster: FakeCluster) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], nodes=("node-1", "node-10"))
    state = await cluster.state()
    assert spare_for("node-1", state) == "node-11"

    keep = state.topology.gpu_node != 11
    gpus = tuple(gpu for gpu, kept in zip(state.topology.gpus, keep, strict=True) if kept)
    smaller = replace(state.topology, gpus=gpus, gpu_node=state.topology.gpu_node[keep])
    without: ClusterState = replace(state, topology=smaller)

    assert spare_for("node-1", without) == ""


def test_every_runbook_names_its_reason() -> None:
    assert all(runbook.why and runbook.unattended_s > 0 for runbook in RUNBOOKS.values())
