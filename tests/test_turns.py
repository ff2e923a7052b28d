"""When an incident may have its next plan: what is over and done with holds up nothing."""

from dataclasses import replace

import pytest

from core.faults import FaultClass
from core.target import Target
from core.types import Cause, OutcomeStatus, Plan, PlanRecord, PlanState, Refusal, Scalar
from remediation.deciding.turns import RETRY_AFTER_S, had_its_turn, is_spent, is_the_same
from tests.healing import NOW_S, cordon, diagnosis, ended, plan_of, record_of, swap

TRAIN = Target(job="train")
SAVE: tuple[str, Target, dict[str, Scalar]] = ("checkpoint_now", TRAIN, {})
SWAP = plan_of(cordon("node-1"), SAVE, swap("node-1"))
SURE = diagnosis()


WRITING_FAILS = Cause(TRAIN, "checkpoint_failing", 0.9, kind=FaultClass.CHECKPOINT)


def over(state: PlanState, status: OutcomeStatus | None = None, plan: Plan = SWAP) -> PlanRecord:
    """Return a plan that ended now, its first step as told or never begun."""
    outcomes = () if status is None else (ended(plan.actions[0], status),)
    return record_of(plan, state, *outcomes)


def holds(record: PlanRecord, *, after_s: float = 60.0) -> bool:
    return had_its_turn([record], SURE, min_probability=0.6, now_s=NOW_S + after_s)


@pytest.mark.parametrize(
    ("record", "rests"),
    [
        (over(PlanState.DONE, OutcomeStatus.SUCCEEDED), True),
        (over(PlanState.DENIED), True),
        (over(PlanState.OVERRIDDEN, OutcomeStatus.SUCCEEDED), True),
        (over(PlanState.EXPIRED), True),
        (over(PlanState.REFUSED), True),
        (over(PlanState.FAILED, OutcomeStatus.FAILED), False),
        (over(PlanState.ROLLED_BACK, OutcomeStatus.TIMED_OUT), False),
        (over(PlanState.DONE, OutcomeStatus.SUCCEEDED, plan_of(SAVE)), False),
        # Where checkpoints failed, one that is written is what was wanted.
        (
            over(
                PlanState.DONE,
                OutcomeStatus.SUCCEEDED,
                replace(plan_of(SAVE), cause=WRITING_FAILS),
            ),
            True,
        ),
    ],
    ids=lambda value: str(value.state) if isinstance(value, PlanRecord) else "",
)
def test_an_incident_rests_after_what_helped_or_people_ended(
    record: PlanRecord, rests: bool
) -> None:
    """What came to nothing holds nothing up but the same once more."""
    assert holds(record) == rests
    assert is_spent(record, NOW_S + 60.0) == (not rests)
    assert not holds(record, after_s=RETRY_AFTER_S)
    assert not is_spent(record, NOW_S + RETRY_AFTER_S)


def test_what_guards_stopped_on_its_way_may_be_done_as_soon_as_they_allow_it() -> None:
    """The twin's plan was for a job that ran; it has stopped, and the same swap is right still."""
    stopped = over(PlanState.REFUSED, OutcomeStatus.REFUSED)

    assert not holds(stopped)
    assert not is_spent(stopped, NOW_S + 60.0)


@pytest.mark.parametrize(("allowed_s", "until_s"), [(200.0, 200.0), (None, RETRY_AFTER_S)])
def test_what_a_guard_refuses_is_decided_on_again_as_soon_as_it_allows(
    allowed_s: float | None, until_s: float
) -> None:
    at_s = None if allowed_s is None else NOW_S + allowed_s
    refused = replace(over(PlanState.REFUSED), refusals=(Refusal("cooldown", "", "", at_s),))

    assert holds(refused, after_s=until_s - 1.0)
    assert not holds(refused, after_s=until_s)


def test_what_was_tried_on_a_doubtful_cause_waits_for_no_surer_one() -> None:
    """A job that stands may be started on any cause; that it failed is no reason to wait."""
    doubtful = replace(SWAP, cause=replace(SWAP.cause, probability=0.3))

    assert holds(over(PlanState.REFUSED, plan=doubtful), after_s=2 * RETRY_AFTER_S)
    assert not holds(over(PlanState.FAILED, OutcomeStatus.FAILED, doubtful))


def test_the_same_is_the_same_with_a_save_or_without() -> None:
    without = plan_of(cordon("node-1"), swap("node-1", "node-11"), id="p2")

    assert is_the_same(SWAP, without)
    assert not is_the_same(SWAP, plan_of(SAVE))
    assert not is_the_same(SWAP, plan_of(cordon("node-2"), swap("node-2")))
    assert not is_the_same(plan_of(SAVE), plan_of(SAVE, ("restart_job", TRAIN, {})))
