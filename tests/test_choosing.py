"""The agent's policy: facts and menu of a live moment, the plan of a choice, and why."""

import json
from dataclasses import replace
from math import nan

import pytest

from core.choice import Choice
from core.clock import ManualClock
from core.cluster import OWNER, ClusterState, JobPhase, NodeCondition, ServiceState
from core.codec import from_json, to_json
from core.target import Target, TargetKind
from core.types import Cause, Diagnosis, Incident, OutcomeStatus, PlanState
from rca.faults.catalogue import FAULTS
from remediation.deciding.chooser import Thought
from remediation.deciding.choosing import ChoosingPolicy
from remediation.deciding.plans import PROPOSAL_LIFE_S
from remediation.deciding.policy import Decision, Past
from remediation.evaluation.exploring import Exploring
from remediation.policies.greedy import Greedy
from remediation.policies.thumb import THUMBS
from tests.choosing import PAST, decided, moment, quiet
from tests.fakes import FakeCluster
from tests.healing import (
    GONE,
    HOT,
    NOW_S,
    anomaly,
    breach,
    diagnosis,
    ended,
    guards,
    incident,
    plan_of,
    record_of,
)

WHERE = {
    TargetKind.NODE: Target(node="node-1"),
    TargetKind.GPU: Target(node="node-1", gpu="GPU-8"),
    TargetKind.PORT: Target(node="node-1", port="eth0"),
    TargetKind.VOLUME: Target(volume="/shared"),
    TargetKind.JOB: Target(job="train"),
    TargetKind.RANK: Target(node="node-1", gpu="GPU-8", job="train", rank="8"),
    TargetKind.SWITCH: Target(switch="s0"),
}
SWAP = ["cordon node-1", "checkpoint_now job train", "swap_node node-1"]
SWAP_STOPPED = ["cordon node-1", "swap_node node-1"]
RESTART = ["restart_job job train"]
IN_PLACE = ["restart_in_place job train"]
SAVE_IN_PLACE = ["checkpoint_now job train", "restart_in_place job train"]
SAVE_AND_RESTART = ["checkpoint_now job train", "restart_job job train"]
PERSON = ["page_person job train"]
NOTHING: list[str] = []


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(ManualClock(NOW_S))


def slow(age_s: float = 60.0) -> Incident:
    return replace(incident(), opened_s=NOW_S - age_s)


def steps(decision: Decision) -> list[str]:
    if decision.plan is None:
        return NOTHING
    return [f"{action.kind} {action.target}" for action in decision.plan.actions]


def of_fault(fault: str) -> Diagnosis:
    """Return what a diagnosis says of a fault, with how likely it is to stay."""
    known = FAULTS[fault]
    cause = Cause(WHERE[known.scope], fault, 0.9, persistent=known.persistent)
    return Diagnosis("i1", NOW_S, (cause,), 0.1, "test")


# How each fault usually shows, and what the runbook does then.
RUNS, SLOW, CRASHED, HANGS, WARNED, DOWN = "runs", "slow", "crashed", "hangs", "warned", "down"
USUAL = {
    "gpu_fallen_off_bus": (CRASHED, SWAP_STOPPED),
    "gpu_hang": (CRASHED, SWAP_STOPPED),
    "gpu_slow": (SLOW, SWAP),
    "gpu_pcie_errors": (SLOW, SWAP),
    "gpu_ecc_uncorrectable": (CRASHED, SWAP_STOPPED),
    "gpu_row_remap": (CRASHED, SWAP_STOPPED),
    "cooling_degraded": (SLOW, SWAP),
    "gpu_heat_contact": (SLOW, SWAP),
    "gpu_power_fault": (CRASHED, SWAP_STOPPED),
    "power_capped": (SLOW, NOTHING),
    "power_lost": (DOWN, SWAP_STOPPED),
    "gpu_nvlink_errors": (CRASHED, SWAP_STOPPED),
    "nvswitch_fault": (CRASHED, SWAP_STOPPED),
    "network_port_errors": (SLOW, SWAP),
    "network_link_down": (CRASHED, SWAP_STOPPED),
    "network_slow": (SLOW, NOTHING),
    "network_error": (CRASHED, RESTART),
    "switch_down": (CRASHED, PERSON),
    "node_silent": (DOWN, SWAP_STOPPED),
    "host_machine_check": (DOWN, SWAP_STOPPED),
    "driver_hang": (CRASHED, SWAP_STOPPED),
    "kernel_panic": (DOWN, SWAP_STOPPED),
    "cpu_contention": (SLOW, SWAP),
    "noisy_neighbour": (SLOW, NOTHING),
    "memory_leak": (WARNED, SAVE_IN_PLACE),
    "file_handle_leak": (WARNED, SAVE_IN_PLACE),
    "volume_filling": (WARNED, PERSON),
    "storage_slow": (SLOW, NOTHING),
    "storage_error": (CRASHED, RESTART),
    "data_loading_slow": (SLOW, ["tune_job job train"]),
    "data_loader_failed": (CRASHED, IN_PLACE),
    "checkpoint_failing": (RUNS, PERSON),
    "software_error": (CRASHED, IN_PLACE),
    "job_hang": (HANGS, SAVE_IN_PLACE),
    "gpu_memory_leak": (WARNED, SAVE_IN_PLACE),
    "nan_loss": (RUNS, ["rollback_job job train"]),
    "bad_release": (RUNS, ["shift_canary job train"]),
    "driver_rollout": (SLOW, ["stop_rollout cluster"]),
    "version_mismatch": (CRASHED, SWAP_STOPPED),
    "node_taken_down": (DOWN, SWAP_STOPPED),
    "inference_overload": (RUNS, ["scale_service job train"]),
}


def test_what_is_usual_is_said_of_every_fault() -> None:
    assert set(USUAL) == set(FAULTS)


@pytest.mark.parametrize("fault", sorted(USUAL))
async def test_every_fault_has_a_sensible_answer(cluster: FakeCluster, fault: str) -> None:
    how, expected = USUAL[fault]
    about = quiet()
    train = cluster.jobs["train"]
    if how in (CRASHED, DOWN):
        cluster.jobs["train"] = replace(train, phase=JobPhase.STOPPED)
    if how == DOWN:
        cluster.by_hand("node-1", NodeCondition.DOWN)
    if how == SLOW:
        about = slow(age_s=3600.0)
    if how == WARNED:
        about = replace(about, breaches=(breach(now_s=NOW_S - 900),))
    if how == HANGS:
        hang = replace(anomaly(Target(job="train"), now_s=NOW_S), detector="hang")
        about = replace(about, opened_s=NOW_S - 900, anomalies=(hang,))
    if fault in ("bad_release", "inference_overload"):
        service = ServiceState(replicas=4, ready=4, least=2, most=8, batch=8, canary=0.1)
        cluster.jobs["train"] = replace(train, kind="service", service=service)
    state = await cluster.state()
    if fault == "driver_rollout":
        state = replace(state, rollouts=("580.1",))

    assert steps(decided(state, of_fault(fault), about)) == expected


async def test_a_job_is_restarted_in_place_once_and_where_the_cluster_can(
    cluster: FakeCluster,
) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], phase=JobPhase.STOPPED)
    found, state = of_fault("software_error"), await cluster.state()
    plan = plan_of(("restart_in_place", Target(job="train"), {}))
    did = ended(plan.actions[0], OutcomeStatus.SUCCEEDED, at_s=NOW_S - 3600.0)
    tried = record_of(plan, PlanState.FAILED, did, since_s=NOW_S - 3600.0)

    assert steps(decided(state, found)) == IN_PLACE
    assert steps(decided(state, found, past=replace(PAST, records=(tried,)))) == RESTART
    cannot = replace(state, unable=(("restart_in_place", "Order restart_job."),))
    assert steps(decided(cannot, found)) == RESTART


async def test_what_the_cluster_cannot_do_is_not_open(cluster: FakeCluster) -> None:
    state = await cluster.state()
    can = moment(state, diagnosis(GONE)).situation.open
    less = replace(state, unable=(("swap_node", "Move it."),))
    told = from_json(ClusterState, json.loads(json.dumps(to_json(less))))  # as over HTTP
    cannot = moment(told, diagnosis(GONE)).situation

    assert can[Choice.SWAP]
    assert not cannot.open[Choice.SWAP]


async def test_a_job_that_cannot_be_told_to_save_is_not_asked_to(cluster: FakeCluster) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], saves=False)
    told = from_json(ClusterState, json.loads(json.dumps(to_json(await cluster.state()))))

    found = moment(told, diagnosis(GONE))

    assert not found.situation.open[Choice.CHECKPOINT]
    assert steps(decided(told, diagnosis(GONE))) == SWAP_STOPPED


async def test_a_service_with_all_its_replicas_is_given_a_cache_and_larger_batches(
    cluster: FakeCluster,
) -> None:
    service = ServiceState(replicas=8, ready=8, least=2, most=8, batch=32.0)
    cluster.jobs["train"] = replace(cluster.jobs["train"], kind="service", service=service)
    found = of_fault("inference_overload")

    assert steps(decided(await cluster.state(), found)) == [
        "set_cache job train",
        "set_service_batch job train",
    ]
    at_most = replace(service, cache=0.4, batch=256.0)
    cluster.jobs["train"] = replace(cluster.jobs["train"], service=at_most)
    assert not moment(await cluster.state(), found).situation.open[Choice.TUNE]


async def test_a_swapped_node_that_a_reset_may_mend_is_to_be_rebooted(cluster: FakeCluster) -> None:
    plan = decided(await cluster.state(), diagnosis(GONE)).plan

    assert plan is not None
    assert dict(plan.actions[2].params) == {"job": "train", "spare": "node-10", "repair": True}
    assert plan.expires_s == NOW_S + PROPOSAL_LIFE_S
    hot = decided(await cluster.state(), diagnosis(HOT)).plan
    assert hot is not None
    assert hot.actions[2].param("repair") is None


async def test_a_gpu_that_is_blamed_names_its_node(cluster: FakeCluster) -> None:
    cause = Cause(Target(gpu="GPU-8"), HOT, 0.9)

    assert steps(decided(await cluster.state(), Diagnosis("i1", NOW_S, (cause,), 0.1, "t"))) == SWAP


async def test_a_free_broken_node_is_only_kept_from_jobs(cluster: FakeCluster) -> None:
    assert steps(decided(await cluster.state(), diagnosis(node="node-6"))) == ["cordon node-6"]
    cluster.by_hand("node-6", NodeCondition.DRAINED, owner="gpumedic")
    assert steps(decided(await cluster.state(), diagnosis(node="node-6"))) == NOTHING


@pytest.mark.parametrize("phase", [JobPhase.PENDING, JobPhase.COMPLETED])
async def test_a_job_that_is_not_on_the_node_is_left_alone(
    cluster: FakeCluster, phase: JobPhase
) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], phase=phase)

    assert steps(decided(await cluster.state(), diagnosis())) == ["cordon node-1"]


async def test_what_is_not_known_or_likely_is_left_alone(cluster: FakeCluster) -> None:
    state = await cluster.state()
    likely_calm = replace(diagnosis(probability=0.3), unknown=0.2, no_fault=0.5)

    assert steps(decided(state, Diagnosis("i1", NOW_S, (), 1.0, "test"))) == NOTHING
    assert steps(decided(state, likely_calm)) == NOTHING
    assert steps(decided(state, diagnosis(probability=0.4))) == NOTHING


async def test_what_the_guards_forbid_is_proposed_so_that_they_say_why(
    cluster: FakeCluster,
) -> None:
    """The policy waits; the plan that it would have made tells people what stands in its way."""
    past = Past(guards=guards(min_probability=0.95))

    found = decided(await cluster.state(), diagnosis(), past=past)

    assert found.choice is Choice.WAIT
    assert steps(found) == SWAP
    assert found.moment is not None
    assert not found.moment.situation.open[Choice.SWAP]


async def test_without_a_spare_a_job_shrinks_if_it_can(cluster: FakeCluster) -> None:
    cluster = FakeCluster(ManualClock(NOW_S), spares=0, nodes=4)
    cluster.jobs["train"] = replace(
        cluster.jobs["train"], phase=JobPhase.STOPPED, least_nodes=2, most_nodes=4
    )

    assert steps(decided(await cluster.state(), diagnosis())) == [
        "cordon node-1",
        "shrink_job job train",
    ]


async def test_without_a_spare_a_free_node_becomes_one() -> None:
    cluster = FakeCluster(ManualClock(NOW_S), spares=0, nodes=6)

    assert steps(decided(await cluster.state(), diagnosis())) == [
        "keep_as_spare node-4",
        *SWAP,
    ]


async def test_two_suspects_are_swapped_in_one_stop(cluster: FakeCluster) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], phase=JobPhase.STOPPED)
    causes = (
        Cause(Target(node="node-1"), HOT, 0.5),
        Cause(Target(node="node-2"), HOT, 0.4),
    )
    found = decided(
        await cluster.state(),
        Diagnosis("i1", NOW_S, causes, 0.1, "test"),
        past=Past(guards=guards(min_probability=0.4)),
    )

    assert steps(found) == ["cordon node-1", "cordon node-2", "swap_nodes job train"]
    assert found.plan is not None
    assert found.plan.actions[2].param("spares") == "node-10,node-11"


async def test_nodes_that_are_down_leave_with_the_one_that_is_blamed(cluster: FakeCluster) -> None:
    cluster.jobs["train"] = replace(
        cluster.jobs["train"], phase=JobPhase.STOPPED, least_nodes=2, most_nodes=8
    )
    for name in ("node-1", "node-2"):
        cluster.by_hand(name, NodeCondition.DOWN, owner="")
    found = decided(await cluster.state(), diagnosis(GONE))
    cluster.by_hand("node-2", NodeCondition.DOWN, owner=OWNER)  # an earlier plan has it out
    after = decided(await cluster.state(), diagnosis(GONE))
    for spare in ("node-10", "node-11"):
        cluster.by_hand(spare, NodeCondition.DRAINED, owner="ada")
    less = moment(await cluster.state(), diagnosis(GONE)).plans[Choice.SHRINK]

    assert steps(found) == ["cordon node-1", "cordon node-2", "swap_nodes job train"]
    assert steps(after) == ["cordon node-1", "swap_nodes job train"]
    assert less.actions[-1].param("nodes") == 2


async def test_the_plan_says_why_and_what_else_there_was(cluster: FakeCluster) -> None:
    plan = decided(await cluster.state(), diagnosis()).plan

    assert plan is not None
    assert plan.rationale.startswith(
        "cooling degraded on node-1 (probability 0.90): cordon, checkpoint_now, swap_node, which "
        "ends it with probability 0.9"
    )
    assert "Runbook chose to swap: expected to lose" in plan.rationale
    assert "wait" in plan.rationale
    assert plan.lost_gpu_s_with == pytest.approx(32 * (13 + 50 + 0.009 * 32 + 120))
    assert plan.lost_gpu_s_without > plan.lost_gpu_s_with


@pytest.mark.parametrize(
    ("wait_h", "said"),
    [
        (30.0, "Seer chose to swap: expected to lose 2.0 GPU-hours, against wait 30.0."),
        (
            0.016,
            "Seer chose to swap: expected to lose 2.0 GPU-hours, against wait 0.016; none of them "
            "surely less, so what its simpler policy would do.",
        ),
    ],
)
async def test_a_policy_that_says_what_it_expects_is_quoted(
    cluster: FakeCluster, wait_h: float, said: str
) -> None:
    losses = [nan] * len(Choice)
    losses[Choice.SWAP], losses[Choice.WAIT] = 2 * 3600.0, wait_h * 3600.0
    policy = ChoosingPolicy(THUMBS["no_op"]())
    moment = policy.moment(
        quiet(), diagnosis(), await cluster.state(), now_s=NOW_S, plan_id="p", past=PAST
    )

    plan = policy.settled(moment, Thought(Choice.SWAP, "seer", "1", losses=tuple(losses))).plan

    assert plan is not None
    assert plan.rationale.endswith(said)


async def test_the_same_input_gives_the_same_plan(cluster: FakeCluster) -> None:
    again = FakeCluster(ManualClock(NOW_S))
    first = decided(await cluster.state(), diagnosis())
    assert first.plan == decided(await again.state(), diagnosis()).plan


async def test_a_policy_that_explores_tells_its_chances(cluster: FakeCluster) -> None:
    policy = ChoosingPolicy(Exploring(THUMBS["no_op"](), share=0.4))
    found = policy.decide(
        quiet(), diagnosis(), await cluster.state(), now_s=NOW_S, plan_id="p", past=PAST
    )

    assert sum(found.chances) == pytest.approx(1.0)
    assert found.chances[Choice.WAIT] > 0.6
    assert ChoosingPolicy(Greedy()).name == "greedy"
