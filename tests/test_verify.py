"""What counts as help and what a restart cost are read from the cluster, not from hope."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.target import Target
from core.types import OutcomeStatus, PlanState, Severity
from remediation.running.symptoms import broken, newest_s, symptoms
from remediation.running.verify import Verdict, VerifySettings, in_service, lost_gpu_s, verify
from tests.fakes import FakeCluster
from tests.healing import (
    NOW_S,
    anomaly,
    cordon,
    ended,
    incident,
    plan_of,
    record_of,
    swap,
    xid,
)

PLAN = plan_of(cordon("node-1"), swap("node-1"))
DONE = record_of(
    PLAN,
    PlanState.VERIFYING,
    *(ended(action, OutcomeStatus.SUCCEEDED) for action in PLAN.actions),
)


@pytest.mark.parametrize(
    ("checkpoint_age_s", "lost_s"),
    [(600.0, 700.0), (-30.0, 100.0), (None, 100.0)],
    ids=["before the order", "already a newer one", "none"],
)
async def test_the_loss_is_standing_still_and_work_done_again(
    checkpoint_age_s: float | None, lost_s: float
) -> None:
    """The job runs again 100 s after the order, on 32 GPUs."""
    cluster = FakeCluster(ManualClock(NOW_S))
    saved_s = None if checkpoint_age_s is None else NOW_S - checkpoint_age_s
    cluster.jobs["train"] = replace(
        cluster.jobs["train"], since_s=NOW_S + 100, checkpoint_s=saved_s
    )
    state = await cluster.state()

    assert lost_gpu_s(PLAN.actions[1], state, started_s=NOW_S) == 32 * lost_s
    assert lost_gpu_s(PLAN.actions[0], state, started_s=NOW_S) is None


async def test_symptoms_on_the_node_that_was_taken_out_do_not_count() -> None:
    trouble = replace(incident(), events=(xid("node-1", now_s=NOW_S),))

    assert [symptom.target for symptom in in_service(DONE, trouble)] == [Target(job="train")]
    assert len(symptoms(trouble)) == 3


async def verdict(after_s: float, seen_s: float = 0.0) -> Verdict:
    cluster = FakeCluster(ManualClock(NOW_S))
    state = await cluster.state()
    late = anomaly(Target(job="train"), now_s=NOW_S + seen_s)
    trouble = replace(incident(), anomalies=(late,))
    found = verify(
        DONE, trouble, state, VerifySettings(), first_step={"train": 1.0}, now_s=NOW_S + after_s
    )
    return found.verdict


async def test_quiet_must_last_after_it_has_settled() -> None:
    """60 s to settle and 60 s of quiet; a symptom seen later begins the quiet anew."""
    found = [
        await verdict(119),
        await verdict(120),
        await verdict(120, seen_s=50),
        await verdict(120, seen_s=90),
        await verdict(150, seen_s=90),
        await verdict(900, seen_s=890),
    ]

    wait, helped = Verdict.WAIT, Verdict.HELPED
    assert found == [wait, helped, helped, wait, helped, Verdict.DID_NOT_HELP]


def test_a_node_is_broken_by_an_event_or_a_critical_reading_of_late() -> None:
    hot = anomaly(Target(node="node-1"), now_s=NOW_S, severity=Severity.CRITICAL)
    by_event = replace(incident(), events=(xid("node-1", now_s=NOW_S - 9999),))
    by_reading = replace(incident(), anomalies=(hot,))

    assert broken(incident(), "node-1", since_s=0) is None
    assert broken(by_event, "node-1", since_s=NOW_S) is not None
    assert broken(by_event, "node-2", since_s=NOW_S) is None
    assert broken(by_reading, "node-1", since_s=NOW_S) is not None
    assert broken(by_reading, "node-1", since_s=NOW_S + 1) is None


def test_an_incident_without_symptoms_is_as_old_as_its_opening() -> None:
    bare = replace(incident(), anomalies=())

    assert newest_s(bare) == bare.opened_s
    info = replace(bare, events=(replace(xid("node-1", now_s=NOW_S), severity=Severity.INFO),))
    assert (symptoms(info), newest_s(info)) == ((), bare.opened_s)


def test_information_is_no_newer_evidence() -> None:
    told = replace(xid("node-1", now_s=NOW_S), severity=Severity.INFO)
    odd = anomaly(Target(node="node-1"), now_s=NOW_S + 90, severity=Severity.INFO)
    known = replace(incident(now_s=NOW_S - 900), events=(told,))

    assert newest_s(known) == NOW_S - 900
    assert newest_s(replace(known, anomalies=(*known.anomalies, odd))) == NOW_S - 900
