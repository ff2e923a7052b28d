"""Each guard says no for its own reason, says what would allow it, and lets nodes go back."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase, NodeCondition
from core.target import Target
from core.types import (
    Hop,
    IncidentState,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
)
from remediation.guards import (
    GuardContext,
    GuardSettings,
    Maintenance,
    check,
    check_action,
    nodes_out,
    nodes_out_limit,
)
from tests.fakes import FakeCluster
from tests.healing import NOW_S, cordon, ended, guards, incident, plan_of, record_of, swap

SWAP = plan_of(cordon("node-1"), swap("node-1"))
RESTART = plan_of(("restart_job", Target(job="train"), {}))
SAVE = plan_of(("checkpoint_now", Target(job="train"), {}))
PUT_BACK = plan_of(("uncordon", Target(node="node-1"), {}))


async def look(cluster: FakeCluster | None = None, **changes: object) -> GuardContext:
    found = cluster or FakeCluster(ManualClock(NOW_S))
    context = GuardContext(await found.state(), incident(), NOW_S)
    return replace(context, **changes)  # type: ignore[arg-type]


def names(plan: Plan, context: GuardContext, settings: GuardSettings | None = None) -> list[str]:
    return [refusal.guard for refusal in check(plan, context, settings or guards())]


def taken(*nodes: str, owner: str = "gpumedic") -> FakeCluster:
    cluster = FakeCluster(ManualClock(NOW_S))
    for node in nodes:
        cluster.by_hand(node, NodeCondition.CORDONED, owner=owner, why="fan")
    return cluster


async def test_a_sound_plan_on_fresh_evidence_passes() -> None:
    context = await look()

    assert [names(plan, context) for plan in (SWAP, RESTART, SAVE)] == [[], [], []]


async def test_a_pause_stops_all_but_putting_back() -> None:
    context = await look(taken("node-1"), paused=True)

    assert names(SWAP, context) == names(SAVE, context) == ["pause"]
    assert names(PUT_BACK, context) == []


async def test_nodes_under_maintenance_are_left_alone() -> None:
    window = Maintenance(frozenset({"node-1", "node-7"}), NOW_S - 60, NOW_S + 60, "ada")
    settings = guards(maintenance=(window,))

    refusals = check(SWAP, await look(), settings)

    assert [refusal.guard for refusal in refusals] == ["maintenance"]
    assert refusals[0].remedy == "It ends in 60 s."
    assert names(SWAP, await look(now_s=NOW_S + 60), settings) == []
    assert names(plan_of(cordon("node-2")), await look(), settings) == []


async def test_a_node_somebody_else_took_is_theirs() -> None:
    context = await look(taken("node-1", owner="ada"))

    refusals = check(SWAP, context, guards())
    assert refusals[0].reason == "Not doing cordon on node-1: node-1 is cordoned by ada (fan)."
    assert refusals[0].remedy == "ada must return it first."
    assert names(PUT_BACK, context) == ["ownership"]
    assert "ownership" in names(SWAP, await look(taken("node-10", owner="ada")))


async def test_the_bound_on_nodes_out_is_absolute() -> None:
    context = await look(taken("node-4", "node-8"))

    refusals = check(SWAP, context, guards(max_nodes_out=2))

    assert [refusal.guard for refusal in refusals] == ["max_nodes_out"]
    assert "2 of at most 2 nodes are out by gpumedic (node-4, node-8)" in refusals[0].reason
    assert "guards.max_ratio_out (now 0.5 of 12 nodes)" in refusals[0].remedy
    assert names(SWAP, context, guards(max_nodes_out=3)) == []


async def test_the_ratio_counts_only_nodes_we_may_act_on_and_floors_at_one() -> None:
    """Of 12 nodes 4 are other people's: 0.25 of 8 is 2; however small the ratio, one may go."""
    context = await look(taken("node-4", "node-5", "node-6", "node-7", owner="ada"))

    assert nodes_out_limit(context.state, guards(max_ratio_out=0.25)) == 2
    assert nodes_out_limit(context.state, guards(max_ratio_out=0.0)) == 1
    assert nodes_out_limit(context.state, guards(max_ratio_out=1.0)) == 4


async def test_a_node_that_is_out_already_may_be_handled_on() -> None:
    context = await look(taken("node-1", "node-4"))

    assert names(SWAP, context, guards(max_nodes_out=2)) == []


async def test_a_rack_keeps_most_of_its_nodes() -> None:
    context = await look(taken("node-0", "node-2"))

    refusals = check(plan_of(cordon("node-1")), context, guards())

    assert [refusal.guard for refusal in refusals] == ["max_nodes_out_per_rack"]
    assert "rack r0 would have 3 nodes out (node-0, node-1, node-2)" in refusals[0].reason
    assert names(plan_of(cordon("node-5")), context) == []


async def test_without_known_racks_there_is_no_bound_per_rack() -> None:
    context = await look(taken("node-0", "node-2"))
    nowhere = replace(context.state.topology, node_rack=context.state.topology.node_rack * 0 - 1)

    context = replace(context, state=replace(context.state, topology=nowhere))

    assert names(plan_of(cordon("node-1")), context) == []


@pytest.mark.parametrize("status", ["succeeded", "failed", "timed_out", "reverted"])
async def test_a_target_cools_down_after_another_plan(status: str) -> None:
    other = plan_of(cordon("node-1"), id="p0", incident_id="i0")
    outcome = ended(other.actions[0], OutcomeStatus(status), at_s=NOW_S - 600)
    context = await look(records=(record_of(other, PlanState.DONE, outcome),))

    refusals = check(SWAP, context, guards())
    assert [refusal.guard for refusal in refusals] == ["cooldown"]
    assert refusals[0].remedy.startswith("Wait 1200 s")
    assert names(SWAP, replace(context, now_s=NOW_S + 1200), guards(evidence_max_age_s=1e4)) == []
    assert names(plan_of(cordon("node-5")), context) == []


async def test_a_node_that_is_down_need_not_rest() -> None:
    other = plan_of(cordon("node-1"), id="p0", incident_id="i0")
    outcome = ended(other.actions[0], OutcomeStatus.SUCCEEDED, at_s=NOW_S - 600)
    context = await look(records=(record_of(other, PlanState.DONE, outcome),))
    down = tuple(
        replace(node, condition=NodeCondition.DOWN) if node.name == "node-1" else node
        for node in context.state.nodes
    )

    context = replace(context, state=replace(context.state, nodes=down))

    assert "cooldown" not in names(SWAP, context)


async def test_its_own_and_never_done_actions_do_not_heat_a_target() -> None:
    other = plan_of(cordon("node-1"), id="p0", incident_id="i0")
    never = record_of(other, PlanState.REFUSED, ended(other.actions[0], OutcomeStatus.REFUSED))
    own = record_of(SWAP, PlanState.ACTING, ended(SWAP.actions[0], OutcomeStatus.SUCCEEDED))

    context = await look(taken("node-1"), records=(never, own))

    assert check_action(SWAP.actions[1], SWAP, context, guards()) == ()


async def test_no_more_actions_an_hour_than_the_bound() -> None:
    other = plan_of(cordon("node-7"), cordon("node-6"), id="p0")
    record = record_of(
        other, PlanState.ACTING, ended(other.actions[0], OutcomeStatus.SUCCEEDED), step=2
    )
    context = await look(records=(record,))

    assert names(SWAP, context, guards(max_actions_per_hour=4)) == []
    assert names(SWAP, context, guards(max_actions_per_hour=3)) == ["max_actions_per_hour"]
    assert names(SAVE, context, guards(max_actions_per_hour=2)) == ["max_actions_per_hour"]
    later = replace(context, now_s=NOW_S + 3600)
    assert names(SAVE, later, guards(max_actions_per_hour=2)) == []


@pytest.mark.parametrize("age_s", [301.0, -301.0, math.nan])
async def test_stale_evidence_is_no_evidence(age_s: float) -> None:
    """An hour's step of the clock makes evidence from the future: its age is unknown too."""
    context = await look()
    stale = replace(context, state=replace(context.state, observed_s=NOW_S - age_s))

    assert names(SWAP, stale) == ["evidence_max_age"]
    assert names(SAVE, stale) == []


async def test_old_symptoms_stop_a_plan_only_before_it_begins() -> None:
    old = incident(now_s=NOW_S - 400)
    context = await look(taken("node-1"), incident=old)

    assert names(SWAP, context) == ["evidence_max_age"]
    assert check_action(SWAP.actions[1], SWAP, context, guards()) == ()


async def test_an_incident_that_is_over_needs_no_plan() -> None:
    over = replace(incident(), state=IncidentState.RESOLVED)

    assert names(SWAP, await look(incident=over)) == ["incident_over"]


@pytest.mark.parametrize("probability", [0.59, math.nan])
async def test_an_unlikely_cause_moves_nothing(probability: float) -> None:
    plan = plan_of(cordon("node-1"), probability=probability)

    assert names(plan, await look()) == ["min_probability"]


async def test_a_cause_that_only_a_learned_link_ties_to_the_symptom_moves_nothing() -> None:
    hops = (
        Hop(Target(node="node-1"), "node_open_files_ratio", 9.0, NOW_S),
        Hop(Target(job="train"), "job_step_time_s", 9.0, NOW_S, learned=True),
    )
    known = (hops[0], replace(hops[1], learned=False))

    def following(path: tuple[Hop, ...]) -> Plan:
        return replace(SWAP, cause=replace(SWAP.cause, path=path))

    assert names(following(hops), await look()) == ["learned_link"]
    assert names(following(known), await look()) == []


@pytest.mark.parametrize("state", [PlanState.ACTING, PlanState.VERIFYING])
async def test_what_another_plan_handles_is_left_to_it(state: PlanState) -> None:
    by_spare = record_of(plan_of(swap("node-2", "node-10"), id="p0"), state)
    by_job = record_of(plan_of(("restart_job", Target(job="train"), {}), id="p0"), state)
    apart = record_of(plan_of(cordon("node-7"), id="p0"), state)

    found = [names(SWAP, await look(records=(each,))) for each in (by_spare, by_job, apart)]

    assert found == [["live_plan"], ["live_plan"], []]


async def test_a_plan_that_waits_blocks_nobody() -> None:
    waits = record_of(plan_of(cordon("node-1"), id="p0"), PlanState.PROPOSED)

    assert names(SWAP, await look(records=(waits,))) == []


@pytest.mark.parametrize("state", [PlanState.DENIED, PlanState.OVERRIDDEN])
async def test_a_persons_no_holds_for_the_incident(state: PlanState) -> None:
    said = replace(record_of(plan_of(cordon("node-1"), id="p0"), state), decided_by="ada")
    elsewhere = replace(said, plan=replace(said.plan, incident_id="i0"))

    refusals = check(SWAP, await look(records=(said,)), guards())

    assert [refusal.guard for refusal in refusals] == ["human"]
    assert "ada ended plan p0" in refusals[0].reason
    assert names(SWAP, await look(records=(elsewhere,))) == []


async def test_a_job_without_a_checkpoint_is_not_stopped() -> None:
    cluster = FakeCluster(ManualClock(NOW_S))
    cluster.jobs["train"] = replace(cluster.jobs["train"], checkpoint_s=None)
    context = await look(cluster)
    saved_first = plan_of(
        ("checkpoint_now", Target(job="train"), {}), ("restart_job", Target(job="train"), {})
    )

    assert names(RESTART, context) == names(SWAP, context) == ["checkpoint"]
    assert names(saved_first, context) == []
    assert names(plan_of(cordon("node-1")), context) == []


async def test_a_job_that_failed_before_its_first_checkpoint_may_start_again() -> None:
    cluster = FakeCluster(ManualClock(NOW_S))
    failed = replace(cluster.jobs["train"], checkpoint_s=None, phase=JobPhase.STOPPED)
    cluster.jobs["train"] = failed

    assert names(RESTART, await look(cluster)) == []


async def test_a_plan_that_would_dead_end_is_not_begun() -> None:
    assert names(plan_of(swap("node-1")), await look()) == ["precondition"]
    assert names(plan_of(cordon("node-1"), swap("node-1", "")), await look()) == ["precondition"]
    cluster = FakeCluster(ManualClock(NOW_S))
    cluster.jobs["train"] = replace(cluster.jobs["train"], phase=JobPhase.PENDING)
    assert names(SAVE, await look(cluster)) == ["precondition"]


async def test_the_last_spares_may_be_kept() -> None:
    assert names(SWAP, await look(), guards(min_spares_left=2)) == ["min_spares_left"]
    assert names(SWAP, await look(), guards(min_spares_left=1)) == []
    assert names(RESTART, await look(), guards(min_spares_left=2)) == []


async def test_orders_on_their_way_count_as_out() -> None:
    flying = record_of(plan_of(cordon("node-5"), id="p0"), PlanState.ACTING, step=1)
    late = plan_of(cordon("node-8"), id="p9")
    lost = record_of(late, PlanState.FAILED, ended(late.actions[0], OutcomeStatus.TIMED_OUT))
    saving = record_of(replace(SAVE, id="p8"), PlanState.ACTING, step=1)
    context = await look(records=(flying, lost, saving))

    assert nodes_out(context, guards()) == {"node-5", "node-8"}
    assert nodes_out(replace(context, now_s=NOW_S + 1800), guards()) == {"node-5"}


NODES = [f"node-{number}" for number in range(12)]
node_names = st.sampled_from(NODES)


def state_with(out: dict[str, str]) -> ClusterState:
    cluster = taken()
    for node, owner in out.items():
        cluster.by_hand(node, NodeCondition.CORDONED, owner=owner)
    return ClusterState(NOW_S, cluster._topology(), tuple(cluster.nodes.values()), ())


settings_strategy = st.builds(
    GuardSettings,
    max_nodes_out=st.integers(0, 6),
    max_ratio_out=st.floats(0, 1),
    max_nodes_out_per_rack=st.integers(0, 4),
)


@given(
    out=st.dictionaries(node_names, st.sampled_from(["gpumedic", "ada"]), max_size=8),
    wanted=st.lists(node_names, min_size=1, max_size=4, unique=True),
    settings=settings_strategy,
)
def test_what_passes_never_exceeds_a_bound(
    out: dict[str, str], wanted: list[str], settings: GuardSettings
) -> None:
    state = state_with(out)
    plan = plan_of(*(cordon(node) for node in wanted))

    if check(plan, GuardContext(state, incident(), NOW_S), settings):
        return

    before = {node.name for node in state.out_by("gpumedic")}
    after, new = before | set(wanted), set(wanted) - before
    assert not any(out.get(node) == "ada" for node in wanted)
    assert not new or len(after) <= nodes_out_limit(state, settings)
    for node in new:
        rack = state.topology.rack_of(node)
        beside = [other for other in after if state.topology.rack_of(other) == rack]
        assert len(beside) <= settings.max_nodes_out_per_rack


@given(
    out=st.dictionaries(node_names, st.just("gpumedic"), min_size=1, max_size=12),
    settings=settings_strategy,
    paused=st.booleans(),
    probability=st.floats(0, 1),
)
def test_nothing_blocks_putting_our_own_nodes_back(
    out: dict[str, str], settings: GuardSettings, paused: bool, probability: float
) -> None:
    back = plan_of(*(("uncordon", Target(node=node), {}) for node in out), probability=probability)
    over = replace(incident(now_s=0.0), state=IncidentState.RESOLVED)
    busy: tuple[PlanRecord, ...] = (record_of(replace(back, id="p0"), PlanState.ACTING, step=1),)

    context = GuardContext(state_with(out), over, NOW_S, records=busy, paused=paused)

    assert check(back, context, settings) == ()
