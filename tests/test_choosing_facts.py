"""What a live moment says to a policy: facts of the job, of the blame, of what was tried."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.situation import LONG_S, Fact
from core.target import Target
from core.types import Cause, Diagnosis, Incident, OutcomeStatus, PlanState, Scalar, Severity
from remediation.deciding.policy import Past
from tests.choosing import PAST, moment, quiet
from tests.fakes import FakeCluster
from tests.healing import (
    GONE,
    HOT,
    LEAK,
    NOW_S,
    anomaly,
    breach,
    cordon,
    diagnosis,
    ended,
    guards,
    incident,
    plan_of,
    record_of,
    swap,
)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(ManualClock(NOW_S))


def slow(age_s: float = 60.0) -> Incident:
    return replace(incident(), opened_s=NOW_S - age_s)


async def facts(cluster: FakeCluster, found: Diagnosis, **of: object) -> dict[Fact, float]:
    about, past = of.get("about"), of.get("past", PAST)
    assert about is None or isinstance(about, Incident)
    assert isinstance(past, Past)
    seen = moment(await cluster.state(), found, about, past).situation.facts
    return {fact: float(seen[fact]) for fact in Fact}


async def test_what_the_scheduler_tells_of_the_job_is_known(cluster: FakeCluster) -> None:
    cluster.jobs["train"] = replace(
        cluster.jobs["train"], interval_s=600.0, step_s=6.0, usual_step_s=4.5, asked_nodes=5
    )
    seen = await facts(cluster, diagnosis())

    assert (seen[Fact.JOB_RUNS], seen[Fact.JOB_STARTS], seen[Fact.JOB_STOPPED]) == (1, 0, 0)
    assert (seen[Fact.JOB_GPUS], seen[Fact.JOB_NODES], seen[Fact.GPUS]) == (32, 4, 96)
    assert seen[Fact.UNSAVED_S] == 600
    assert seen[Fact.INTERVAL_S] == 600
    assert seen[Fact.PACE] == pytest.approx(0.75)
    assert seen[Fact.SHRUNK] == pytest.approx(0.2)
    assert seen[Fact.SINCE_TRIED_S] == LONG_S
    assert (seen[Fact.SPARES], seen[Fact.FREE_NODES]) == (2, 6)
    assert seen[Fact.OUT_ROOM] == 4


async def test_belief_is_split_by_node_and_by_what_ends_it(cluster: FakeCluster) -> None:
    causes = (
        Cause(Target(node="node-1"), HOT, 0.5),
        Cause(Target(node="node-2"), GONE, 0.2),
        Cause(Target(node="node-1"), LEAK, 0.1),
        Cause(Target(node="node-9"), HOT, 0.1),
    )
    found = Diagnosis("i1", NOW_S, causes, 0.06, "test", no_fault=0.04)
    seen = await facts(cluster, found)

    assert seen[Fact.NODE_BLAMED] == pytest.approx(0.6)
    assert seen[Fact.OTHER_BLAMED] == pytest.approx(0.2)  # node-9 is none of the job's
    assert (seen[Fact.UNKNOWN], seen[Fact.NO_FAULT]) == (0.06, 0.04)
    assert sum(seen[fact] for fact in list(Fact)[:9]) == pytest.approx(1.0)


async def test_tries_for_this_incident_count_by_what_they_did(cluster: FakeCluster) -> None:
    restart: tuple[str, Target, dict[str, Scalar]] = ("restart_job", Target(job="train"), {})
    tried = [
        plan_of(restart, id="a"),
        plan_of(cordon("node-1"), swap("node-1"), id="b"),
        plan_of(restart, id="c", incident_id="another"),
        plan_of(restart, id="d"),
    ]
    records = []
    for number, plan in enumerate(tried):
        status = OutcomeStatus.WOULD_DO if plan.id == "d" else OutcomeStatus.SUCCEEDED
        at_s = NOW_S - 1000 + 100 * number
        outcomes = [ended(action, status, at_s=at_s) for action in plan.actions]
        records.append(record_of(plan, PlanState.DONE, *outcomes, since_s=at_s))
    seen = await facts(cluster, diagnosis(), past=Past(tuple(records), guards=guards()))

    assert (seen[Fact.RESTARTS_TRIED], seen[Fact.MOVES_TRIED]) == (1, 1)
    assert seen[Fact.SINCE_TRIED_S] == 900


async def test_a_node_s_earlier_incidents_fade(cluster: FakeCluster) -> None:
    week_s = 7 * 86_400.0
    earlier = tuple(
        replace(incident(id=name), opened_s=NOW_S - weeks * week_s)
        for name, weeks in (("one", 1), ("two", 2))
    )
    other = replace(incident("node-3", id="three"), opened_s=NOW_S - 60)
    diagnoses = {each.id: diagnosis(incident_id=each.id) for each in earlier}
    diagnoses["three"] = diagnosis(node="node-3", incident_id="three")
    past = Past((), (*earlier, other), diagnoses, guards())
    seen = await facts(cluster, diagnosis(), past=past)

    assert seen[Fact.NODE_INCIDENTS] == pytest.approx(0.5 + 0.25)
    assert seen[Fact.OTHERS_OPEN] == 3


@pytest.mark.parametrize(
    ("in_s", "low", "high"), [(600, 0.8, 0.9), (1800, 0.4, 0.5), (6000, 0, 0.1)]
)
async def test_a_warning_counts_as_far_as_it_comes_soon(
    cluster: FakeCluster, in_s: float, low: float, high: float
) -> None:
    warned = replace(
        breach(now_s=NOW_S),
        expected_s=NOW_S + in_s,
        earliest_s=NOW_S + in_s - 500,
        latest_s=NOW_S + in_s + 500,
    )
    seen = await facts(cluster, diagnosis(LEAK), about=replace(quiet(), breaches=(warned,)))

    assert low <= seen[Fact.BREACH] <= high


async def test_a_hang_is_no_pace_at_all(cluster: FakeCluster) -> None:
    hang = replace(anomaly(Target(job="train"), now_s=NOW_S), detector="hang")

    assert (await facts(cluster, diagnosis(), about=slow()))[Fact.PACE] == pytest.approx(6 / 9)
    about = replace(quiet(), anomalies=(hang,), severity=Severity.CRITICAL)
    assert (await facts(cluster, diagnosis(), about=about))[Fact.PACE] == 0
    old = replace(hang, start_s=NOW_S - 7200, end_s=NOW_S - 7000)
    assert (await facts(cluster, diagnosis(), about=replace(about, anomalies=(old,))))[
        Fact.PACE
    ] == 1


async def test_how_long_nodes_were_away_is_learned(cluster: FakeCluster) -> None:
    away = plan_of(cordon("node-1"), swap("node-1"), id="a")
    back = plan_of(("uncordon", Target(node="node-1"), {}), id="b")
    records = (
        record_of(
            away,
            PlanState.DONE,
            *(ended(a, OutcomeStatus.SUCCEEDED, at_s=NOW_S - 7200) for a in away.actions),
        ),
        record_of(
            back,
            PlanState.DONE,
            ended(back.actions[0], OutcomeStatus.SUCCEEDED, at_s=NOW_S - 3600),
        ),
    )
    before = (await facts(cluster, diagnosis()))[Fact.REPAIR_S]
    after = (await facts(cluster, diagnosis(), past=Past(records, guards=guards())))[Fact.REPAIR_S]

    assert before == 86_400
    assert after == pytest.approx((2 * 86_400 + 3600) / 3)
