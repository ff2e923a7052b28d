"""Guards about jobs that stand, nodes that leave a job, and orders that save by themselves."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import JobPhase, JobState
from core.target import Target
from core.types import Anomaly, OutcomeStatus, Plan, PlanRecord, PlanState, Scalar, Severity
from remediation.guards import GuardContext, GuardSettings, check, unfit
from tests.fakes import FakeCluster
from tests.healing import NOW_S, cordon, ended, guards, incident, plan_of, record_of, swap

TRAIN = Target(job="train")
Step = tuple[str, Target, dict[str, Scalar]]
RESTART: Step = ("restart_job", TRAIN, {})
SHRINK: Step = ("shrink_job", TRAIN, {"nodes": 3, "leave": "node-1"})
COOLDOWN_S = 1800.0


def cluster_in(phase: JobPhase = JobPhase.RUNNING, *, unsaved_s: float = 60.0) -> FakeCluster:
    cluster = FakeCluster(ManualClock(NOW_S))
    cluster.jobs["train"] = replace(
        cluster.jobs["train"],
        phase=phase,
        kind="elastic",
        least_nodes=1,
        most_nodes=4,
        checkpoint_s=NOW_S - unsaved_s,
    )
    return cluster


async def look(
    cluster: FakeCluster, *records: PlanRecord, hangs_s: float | None = None
) -> GuardContext:
    about = incident()
    if hangs_s is not None:
        at_s = NOW_S - hangs_s
        about = replace(about, anomalies=(*about.anomalies, hang(at_s)))
    return GuardContext(await cluster.state(), about, NOW_S, records)


def hang(at_s: float) -> Anomaly:
    """Say that the job was seen to make no step then."""
    some = incident().anomalies[0]
    return replace(some, target=TRAIN, detector="hang", end_s=at_s, severity=Severity.CRITICAL)


def names(plan: Plan, context: GuardContext, settings: GuardSettings | None = None) -> list[str]:
    return [refusal.guard for refusal in check(plan, context, settings or guards())]


def done(plan: Plan, ago_s: float) -> PlanRecord:
    """Return a plan of another incident that was done so long ago."""
    outcomes = (
        ended(action, OutcomeStatus.SUCCEEDED, at_s=NOW_S - ago_s) for action in plan.actions
    )
    return record_of(replace(plan, id="before", incident_id="i0"), PlanState.DONE, *outcomes)


@pytest.mark.parametrize(
    ("phase", "hangs_s", "found"),
    [
        (JobPhase.RUNNING, None, ["min_probability"]),
        (JobPhase.RUNNING, 60.0, []),
        (JobPhase.RUNNING, 1200.0, ["min_probability"]),
        (JobPhase.STOPPED, None, []),
    ],
    ids=["runs", "hangs", "hung long ago", "has failed"],
)
async def test_a_job_that_makes_no_steps_may_be_started_on_a_doubtful_cause(
    phase: JobPhase, hangs_s: float | None, found: list[str]
) -> None:
    doubtful = plan_of(RESTART, probability=0.3)

    assert names(doubtful, await look(cluster_in(phase), hangs_s=hangs_s)) == found


@pytest.mark.parametrize(
    ("phase", "ago_s", "found"),
    [
        (JobPhase.RUNNING, 1799.0, ["cooldown"]),
        (JobPhase.STOPPED, 299.0, ["cooldown"]),
        (JobPhase.STOPPED, 300.0, []),
    ],
)
async def test_a_job_that_stands_rests_less(
    phase: JobPhase, ago_s: float, found: list[str]
) -> None:
    settings = guards(cooldown_s=COOLDOWN_S)
    context = await look(cluster_in(phase), done(plan_of(RESTART), ago_s))
    again = replace(plan_of(RESTART), made_at_s=NOW_S)

    assert names(again, context, settings) == found
    if found:
        least_s = COOLDOWN_S if phase is JobPhase.RUNNING else 300.0
        assert check(again, context, settings)[0].allowed_s == NOW_S - ago_s + least_s


async def test_a_move_rests_the_nodes_that_left_and_not_the_job() -> None:
    settings = guards(cooldown_s=COOLDOWN_S)
    context = await look(cluster_in(), done(plan_of(cordon("node-1"), SHRINK), 60.0))

    assert names(plan_of(RESTART), context, settings) == []
    assert names(plan_of(cordon("node-1"), swap("node-1")), context, settings) == ["cooldown"]
    assert names(plan_of(cordon("node-2"), swap("node-2")), context, settings) == []


async def test_an_order_that_saves_by_itself_throws_nothing_away() -> None:
    context = await look(cluster_in(unsaved_s=7200.0))

    assert names(plan_of(RESTART), context, guards(max_unsaved_gpu_s=3600.0)) == ["unsaved_work"]
    assert names(plan_of(SHRINK), context, guards(max_unsaved_gpu_s=3600.0)) == []


async def test_a_job_that_cannot_be_told_to_save_is_stopped_after_a_checkpoint_of_its_own() -> None:
    """Or where it stands: what it has not saved by then is lost either way."""
    settings = guards(max_unsaved_gpu_s=32 * 600.0)

    def cluster(unsaved_s: float) -> FakeCluster:
        found = cluster_in(unsaved_s=unsaved_s)
        found.jobs["train"] = replace(found.jobs["train"], saves=False)
        return found

    (refusal,) = check(plan_of(RESTART), await look(cluster(7200.0)), settings)

    assert refusal.guard == "unsaved_work"
    assert refusal.remedy.startswith("Wait for its next checkpoint (it cannot be told to save), or")
    assert names(plan_of(RESTART), await look(cluster(60.0)), settings) == []
    assert names(plan_of(RESTART), await look(cluster(7200.0), hangs_s=5.0), settings) == []


async def test_what_another_plan_handles_is_no_stand_in() -> None:
    under_way = record_of(
        replace(plan_of(cordon("node-7"), swap("node-7", "node-10")), id="other"), PlanState.ACTING
    )
    context = await look(cluster_in(), under_way)
    job = context.state.job("train")

    assert unfit(job, context, guards()) == {"node-7", "node-10"}
    assert unfit(job, await look(cluster_in()), guards()) == frozenset()


async def test_what_came_back_a_short_time_ago_is_no_stand_in_for_the_most_important_job() -> None:
    cluster = cluster_in()
    cluster.jobs["train"] = replace(cluster.jobs["train"], priority=1)
    took = done(plan_of(cordon("node-10")), 9000.0)
    back_plan = replace(plan_of(("uncordon", Target(node="node-10"), {})), id="back")
    back = done(back_plan, 7200.0)
    alone = await look(cluster, took, back)
    assert unfit(alone.state.job("train"), alone, guards()) == frozenset()

    running = cluster.jobs["train"].phase
    cluster.jobs["less"] = JobState("less", running, ("node-7",), 8, NOW_S, priority=0)
    context = await look(cluster, took, back)
    assert unfit(context.state.job("train"), context, guards()) == {"node-10"}
    assert unfit(context.state.job("less"), context, guards()) == frozenset()
    assert unfit(context.state.job("train"), context, guards(probation_s=3600.0)) == frozenset()
