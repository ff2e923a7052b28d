"""What came of plans becomes lessons: each once, as they ended, and kept over a restart."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.memory import read_memory, write_memory
from agent.outcomes import MOST_LESSONS, Outcomes, upshot_of
from core.clock import ManualClock
from core.types import Cause, Diagnosis, OutcomeStatus, PlanRecord, PlanState
from rca.priors import DAY_S, FORGOTTEN_S, Upshot
from tests.fakes import FakeCluster, MemoryStore
from tests.healing import (
    GONE,
    HOT,
    NOW_S,
    Bench,
    cordon,
    diagnosis,
    ended,
    never_better,
    plan_of,
    record_of,
)

RIVAL = "gpu_heat_contact"


def plan(
    state: PlanState,
    *,
    verified: bool | None = None,
    incident: str = "i1",
    at_s: float = NOW_S,
) -> PlanRecord:
    made = plan_of(cordon("node-1"), incident_id=incident, id=f"plan of {incident}")
    outcome = replace(ended(made.actions[0], OutcomeStatus.SUCCEEDED), verified=verified)
    return record_of(made, state, outcome, since_s=at_s)


def diagnosed(incident: str = "i1") -> dict[str, Diagnosis]:
    first = diagnosis(HOT, probability=0.7, incident_id=incident)
    rival = Cause(first.causes[0].target, RIVAL, 0.2)
    return {incident: replace(first, causes=(*first.causes, rival), unknown=0.1)}


def taught(*records: PlanRecord, now_s: float = NOW_S) -> Outcomes:
    outcomes = Outcomes()
    for each in records:
        outcomes.note([each], diagnosed(each.plan.incident_id), now_s=now_s)
    return outcomes


@pytest.mark.parametrize(
    ("record", "upshot"),
    [
        (plan(PlanState.DONE, verified=True), Upshot.HELPED),
        (plan(PlanState.ROLLED_BACK, verified=False), Upshot.DID_NOT_HELP),
        (plan(PlanState.FAILED, verified=False), Upshot.DID_NOT_HELP),
        (plan(PlanState.FAILED), None),
        (plan(PlanState.DENIED), Upshot.DENIED),
        (plan(PlanState.OVERRIDDEN), Upshot.OVERRIDDEN),
        (plan(PlanState.EXPIRED), None),
        (plan(PlanState.REFUSED), None),
        (plan(PlanState.VERIFYING), None),
    ],
    ids=lambda value: str(value.state) if isinstance(value, PlanRecord) else str(value),
)
def test_the_end_of_a_plan_says_whether_its_cause_was_right(
    record: PlanRecord, upshot: Upshot | None
) -> None:
    assert upshot_of(record) is upshot


def test_a_plan_that_the_runner_takes_back_lowers_its_cause_and_raises_the_rival() -> None:
    async def run() -> PlanRecord:
        clock = ManualClock(NOW_S)
        bench = Bench(clock, FakeCluster(clock), MemoryStore(), heal=never_better)
        return await bench.until_final(await bench.propose())

    record = asyncio.run(run())
    outcomes = taught(record, now_s=record.since_s)

    assert record.state is PlanState.ROLLED_BACK
    found = outcomes.shifts(record.since_s)
    assert found[HOT] < 0 < found[RIVAL]


def test_a_plan_teaches_once_and_a_repeated_no_says_one_thing() -> None:
    denied = plan(PlanState.DENIED)
    again = replace(denied, plan=replace(denied.plan, id="p2"), since_s=NOW_S + 600)

    assert taught(denied, denied, again).shifts(NOW_S) == taught(denied).shifts(NOW_S)


def test_each_incident_teaches_anew() -> None:
    one = taught(plan(PlanState.DENIED))
    two = taught(plan(PlanState.DENIED), plan(PlanState.DENIED, incident="i2"))

    assert two.shifts(NOW_S)[HOT] < one.shifts(NOW_S)[HOT] < 0


def test_a_diagnosis_that_is_gone_leaves_the_cause_of_the_plan() -> None:
    outcomes = Outcomes()
    outcomes.note([plan(PlanState.ROLLED_BACK, verified=False)], {}, now_s=NOW_S)

    assert set(outcomes.shifts(NOW_S)) == {HOT}


def test_what_was_learned_survives_a_restart_and_is_not_learned_again(tmp_path: Path) -> None:
    records = [
        plan(PlanState.DONE, verified=True),
        plan(PlanState.ROLLED_BACK, verified=False, incident="i2"),
    ]
    before = taught(*records)

    assert write_memory(tmp_path / "learned.npz", {"outcomes": before.state()})
    after = Outcomes.remembering(read_memory(tmp_path / "learned.npz")["outcomes"])
    after.note(records, {}, now_s=NOW_S)

    assert after.shifts(NOW_S) == before.shifts(NOW_S)
    assert after.learned(NOW_S) == before.learned(NOW_S)


def test_what_was_learned_counts_from_the_first_day_of_a_clock_on() -> None:
    first_day_s = 3600.0
    taken = Outcomes.remembering(taught(plan(PlanState.DONE, verified=True)).state())

    assert taken.shifts(first_day_s)


def test_nothing_learned_is_kept_and_taken_up_as_nothing(tmp_path: Path) -> None:
    write_memory(tmp_path / "learned.npz", {"outcomes": Outcomes().state()})

    after = Outcomes.remembering(read_memory(tmp_path / "learned.npz")["outcomes"])

    assert (after.shifts(NOW_S), after.learned(NOW_S)) == ({}, ())


def test_lessons_that_do_not_fit_are_begun_anew() -> None:
    state = {**taught(plan(PlanState.DENIED)).state()}
    state["upshot"] = state["upshot"].astype("<U4")

    assert Outcomes.remembering(state).learned(NOW_S) == ()
    assert Outcomes.remembering({"key": state["key"]}).learned(NOW_S) == ()


def test_an_old_lesson_fades_from_day_to_day_and_is_forgotten() -> None:
    outcomes = taught(plan(PlanState.ROLLED_BACK, verified=False))
    fresh = outcomes.shifts(NOW_S)[HOT]

    later_s, much_later_s = NOW_S + 30 * DAY_S, NOW_S + FORGOTTEN_S + DAY_S
    assert fresh < outcomes.shifts(later_s)[HOT] < 0
    assert (outcomes.shifts(much_later_s), outcomes.learned(much_later_s)) == ({}, ())


def test_what_was_learned_is_said_in_words() -> None:
    helped = [plan(PlanState.DONE, verified=True, incident=f"i{n}") for n in range(7)]
    failed = [plan(PlanState.FAILED, verified=False, incident=f"j{n}") for n in range(2)]

    (said,) = (each for each in taught(*helped, *failed).learned(NOW_S) if each.fault == HOT)

    assert (said.right, said.wrong) == (7, 2)
    assert said.text == "on this fleet acting on it helped in 7 of 9 cases"


def test_lessons_are_bounded() -> None:
    outcomes = Outcomes()
    records = [
        plan(PlanState.DENIED, incident=f"i{number}", at_s=NOW_S + number)
        for number in range(MOST_LESSONS + 10)
    ]
    outcomes.note(records, {}, now_s=NOW_S + 5000)
    outcomes.shifts(NOW_S + 5000)

    assert len(outcomes.state()["key"]) == MOST_LESSONS
    assert "i0 " not in str(outcomes.state()["key"][0])


def test_a_fault_of_another_name_is_not_learned_of() -> None:
    state = {**taught(plan(PlanState.DENIED)).state()}
    state["fault"] = state["fault"].astype("<U40")
    state["fault"][0] = GONE + "_long_ago"

    assert Outcomes.remembering(state).learned(NOW_S) == ()
