"""Guards about switches, people's words, unsaved work, spares for the first, and probation."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import JobState, NodeCondition
from core.target import Target
from core.types import OutcomeStatus, Plan, PlanRecord, PlanState
from remediation.guards import GuardContext, GuardSettings, Maintenance, check, check_action
from tests.fakes import FakeCluster
from tests.healing import NOW_S, cordon, ended, guards, incident, plan_of, record_of, swap

TRAIN = Target(job="train")
SWAP = plan_of(cordon("node-1"), swap("node-1"))
RESTART = plan_of(("restart_job", TRAIN, {}))
TUNE = plan_of(("tune_job", TRAIN, {"loaders": 2.0}))
DAY_S = 86_400.0


def cluster_with(
    *out: str, owner: str = "gpumedic", unsaved_s: float = 600.0, priority: int = 0
) -> FakeCluster:
    cluster = FakeCluster(ManualClock(NOW_S))
    cluster.jobs["train"] = replace(
        cluster.jobs["train"], checkpoint_s=NOW_S - unsaved_s, priority=priority
    )
    for node in out:
        cluster.by_hand(node, NodeCondition.CORDONED, owner=owner)
    return cluster


async def look(cluster: FakeCluster | None = None, **changes: object) -> GuardContext:
    found = cluster or cluster_with()
    context = GuardContext(await found.state(), incident(), NOW_S)
    return replace(context, **changes)  # type: ignore[arg-type]


def names(plan: Plan, context: GuardContext, settings: GuardSettings | None = None) -> list[str]:
    return [refusal.guard for refusal in check(plan, context, settings or guards())]


async def test_a_leaf_switch_keeps_most_of_its_nodes() -> None:
    """Eight nodes hang on a switch: two of them in each of its racks are out already."""
    context = await look(cluster_with("node-0", "node-4"))
    plan = plan_of(cordon("node-6"))

    refusals = check(plan, context, guards(max_nodes_out_per_switch=2))

    assert [refusal.guard for refusal in refusals] == ["max_nodes_out_per_switch"]
    assert "switch s0 would have 3 nodes out (node-0, node-4, node-6)" in refusals[0].reason
    assert names(plan_of(cordon("node-8")), context, guards(max_nodes_out_per_switch=2)) == []


async def test_what_the_jobs_owner_must_agree_to_waits_for_a_word() -> None:
    context = await look()

    refusals = check(TUNE, context, guards())

    assert [refusal.guard for refusal in refusals] == ["agreement"]
    assert 'put "tune_job" into guards.owners_agree' in refusals[0].remedy
    assert names(TUNE, context, guards(owners_agree=("tune_*",))) == []
    assert names(TUNE, await look(attended=True)) == []


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ({"max_job_gpus": 31}, ["max_job"]),
        ({"max_job_gpus": 32}, []),
        ({"max_job_share": 0.3}, ["max_job"]),
    ],
)
async def test_a_large_job_is_stopped_on_a_persons_word_only(
    bounds: dict[str, float], found: list[str]
) -> None:
    settings = guards(**bounds)

    assert names(RESTART, await look(), settings) == found
    assert names(RESTART, await look(attended=True), settings) == []
    assert names(plan_of(cordon("node-1")), await look(), settings) == []


async def test_much_unsaved_work_is_saved_first() -> None:
    """32 GPUs x 2 h are 64 GPU-hours."""
    context = await look(cluster_with(unsaved_s=7200.0))
    saved_first = plan_of(("checkpoint_now", TRAIN, {}), ("restart_job", TRAIN, {}))

    refusals = check(RESTART, context, guards())

    assert [refusal.guard for refusal in refusals] == ["unsaved_work"]
    assert "would lose 64.0 GPU-hours" in refusals[0].reason
    assert names(saved_first, context) == []
    assert names(RESTART, context, guards(max_unsaved_gpu_s=64 * 3600.0)) == []


async def test_a_job_that_could_not_be_saved_is_rescued_all_the_same() -> None:
    """It hangs: the save was tried and failed, and what is unsaved is lost either way."""
    context = await look(cluster_with(unsaved_s=7200.0))
    plan = plan_of(("checkpoint_now", TRAIN, {}), ("restart_job", TRAIN, {}))

    assert check_action(plan.actions[1], plan, context, guards()) == ()


async def test_spares_are_kept_for_the_first_job() -> None:
    cluster = cluster_with(priority=1)
    cluster.jobs["first"] = replace(cluster.jobs["train"], id="first", nodes=(), priority=2)
    settings = guards(priority_spares=2)

    refusals = check(SWAP, await look(cluster), settings)

    assert [refusal.guard for refusal in refusals] == ["priority_spares"]
    assert "lower guards.priority_spares to 1" in refusals[0].remedy
    cluster.jobs["train"] = replace(cluster.jobs["train"], priority=2)
    assert names(SWAP, await look(cluster), settings) == []


def away(
    node: str, *, ago_s: float, id: str = "p0", back_s: float | None = None
) -> list[PlanRecord]:
    """Return a plan that took a node out so long ago, and the one that put it back."""
    plan = plan_of(cordon(node), id=id, incident_id="i0")
    out = ended(plan.actions[0], OutcomeStatus.SUCCEEDED, at_s=NOW_S - ago_s)
    records = [record_of(plan, PlanState.DONE, out)]
    if back_s is not None:
        back = plan_of(("uncordon", Target(node=node), {}), id=f"{id}-back", incident_id="i0")
        done = ended(back.actions[0], OutcomeStatus.SUCCEEDED, at_s=NOW_S - back_s)
        records.append(record_of(back, PlanState.DONE, done))
    return records


REBOOT = plan_of(cordon("node-6"), ("reboot_node", Target(node="node-6"), {}))


async def test_a_second_fault_on_probation_calls_for_people_not_for_a_reboot() -> None:
    records = away("node-6", ago_s=3 * 3600.0, back_s=7200.0)

    refusals = check(REBOOT, await look(records=tuple(records)), guards())

    assert [refusal.guard for refusal in refusals] == ["probation"]
    assert "node-6 came back 7200 s ago" in refusals[0].reason
    assert "Quarantine it" in refusals[0].remedy
    assert refusals[0].allowed_s == NOW_S - 7200.0 + DAY_S
    assert names(REBOOT, await look(records=tuple(records)), guards(probation_s=7200.0)) == []


async def test_a_node_on_probation_is_no_spare_for_the_most_important_job() -> None:
    cluster = cluster_with(priority=1)
    less = JobState("less", cluster.jobs["train"].phase, ("node-7",), 8, NOW_S, priority=0)
    records = tuple(away("node-10", ago_s=9000.0, back_s=7200.0))

    assert names(SWAP, await look(cluster, records=records)) == []  # no job comes before another
    cluster.jobs["less"] = less
    context = await look(cluster, records=records)
    assert names(SWAP, context) == ["probation"]
    assert names(plan_of(cordon("node-1"), swap("node-1", "node-11")), context) == []


async def test_a_plan_that_was_taken_back_puts_nobody_on_probation() -> None:
    (took, back) = away("node-6", ago_s=9000.0, back_s=7200.0)
    innocent = replace(took, state=PlanState.ROLLED_BACK)

    assert names(REBOOT, await look(records=(innocent, back))) == []


async def test_a_node_taken_out_again_and_again_is_a_lemon() -> None:
    records = [
        record
        for number, days in enumerate((2, 5, 9))
        for record in away(
            "node-6", ago_s=days * DAY_S, id=f"old{number}", back_s=days * DAY_S - 60
        )
    ]

    refusals = check(REBOOT, await look(records=tuple(records)), guards())

    assert [refusal.guard for refusal in refusals] == ["lemon"]
    assert "taken out 3 times in 28 days" in refusals[0].reason
    assert refusals[0].allowed_s == NOW_S - 9 * DAY_S + 28 * DAY_S
    assert names(REBOOT, await look(records=tuple(records)), guards(lemon_after=4)) == []


async def test_a_job_may_leave_a_node_that_the_sites_checks_hold() -> None:
    """The hold stays theirs: the node is not rebooted or put back, and no such spare is taken."""
    context = await look(cluster_with("node-1", owner="site"))
    reboot = plan_of(("reboot_node", Target(node="node-1"), {}))
    back = plan_of(("uncordon", Target(node="node-1"), {}))

    assert names(SWAP, context) == []
    assert "ownership" in names(reboot, context)
    assert names(back, context) == ["ownership"]
    assert names(SWAP, context, guards(automation=())) == ["ownership"]
    assert "ownership" in names(SWAP, await look(cluster_with("node-10", owner="site")))


async def test_what_the_site_holds_is_not_out_by_our_hand() -> None:
    context = await look(cluster_with("node-1", owner="site"))

    assert names(SWAP, context, guards(max_nodes_out=0)) == []


async def test_maintenance_names_nodes_by_patterns_and_holds_up_putting_back_too() -> None:
    window = Maintenance(frozenset({"node-1*"}), NOW_S - 60, NOW_S + 60, "ada")
    settings = guards(maintenance=(window,))
    back = plan_of(("uncordon", Target(node="node-11"), {}))

    refusals = check(back, await look(cluster_with("node-11")), settings)

    assert [(refusal.guard, refusal.allowed_s) for refusal in refusals] == [
        ("maintenance", NOW_S + 60)
    ]
    assert names(plan_of(cordon("node-2")), await look(), settings) == []


async def test_a_plan_leaves_room_for_what_is_under_way() -> None:
    """The other plan has done one of its two steps: with both of this one it would be four."""
    other = plan_of(cordon("node-7"), cordon("node-6"), id="p0")
    begun = record_of(other, PlanState.ACTING, ended(other.actions[0], OutcomeStatus.SUCCEEDED))
    context = await look(records=(begun,))

    assert names(SWAP, context, guards(max_actions_per_hour=4)) == []
    assert names(SWAP, context, guards(max_actions_per_hour=3)) == ["max_actions_per_hour"]
    step = check_action(SWAP.actions[0], SWAP, context, guards(max_actions_per_hour=2))
    assert step == ()


async def test_calling_a_person_asks_only_for_the_pause() -> None:
    page = plan_of(("page_person", Target(node="node-1"), {"text": "look"}), probability=0.0)
    settings = guards(max_actions_per_hour=0)

    assert names(page, await look(cluster_with("node-1", owner="ada")), settings) == []
    assert names(page, await look(paused=True), settings) == ["pause"]
