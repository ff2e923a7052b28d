import numpy as np
import pytest

from core.choice import Choice
from core.errors import InputError
from core.situation import Fact
from remediation.policies.compiled import recommend as compiled_recommend
from remediation.policies.knobs import from_unit, to_unit, usual, values_of
from remediation.policies.rulebook import KNOBS, K, recommend
from tests.situations import CRASHED, random_situations, situation_of

USUAL = usual(KNOBS)
HARDWARE = {Fact.REPLACE: 0.6, Fact.REBOOT: 0.3}
RESETS = {Fact.REPLACE: 0.2, Fact.REBOOT: 0.7}
TRANSIENT = {Fact.RESTART: 0.7, Fact.PEOPLE: 0.2, Fact.NODE_BLAMED: 0.3}
SLOW = {Fact.PACE: 0.7, Fact.AGE_S: 3600.0}
NO_SPARE = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH)


@pytest.mark.parametrize(
    ("changed", "closed", "expected"),
    [
        ({Fact.NO_FAULT: 0.7}, (), Choice.WAIT),
        ({Fact.UNKNOWN: 0.9, Fact.AGE_S: 60}, (), Choice.WAIT),
        ({Fact.UNKNOWN: 0.6, Fact.AGE_S: 3_600}, (), Choice.WAIT),
        ({Fact.UNKNOWN: 0.9, Fact.AGE_S: 3_600}, (), Choice.ESCALATE),
        ({**CRASHED, Fact.UNKNOWN: 0.9, Fact.NODE_BLAMED: 0.05}, (), Choice.RESTART),
        ({**CRASHED, **TRANSIENT}, (), Choice.RESTART),
        ({**CRASHED, **TRANSIENT, Fact.RESTARTS_TRIED: 1}, (), Choice.RESTART),
        ({**CRASHED, **TRANSIENT, Fact.RESTARTS_TRIED: 2}, (), Choice.SWAP),
        (
            {**CRASHED, **TRANSIENT, Fact.RESTARTS_TRIED: 2, Fact.MOVES_TRIED: 3},
            (),
            Choice.ESCALATE,
        ),
        (
            {**CRASHED, **TRANSIENT, Fact.RESTARTS_TRIED: 2, Fact.MOVES_TRIED: 3},
            (Choice.ESCALATE,),
            Choice.RESTART,
        ),
        ({**CRASHED, **HARDWARE}, (), Choice.SWAP),
        ({**CRASHED, **RESETS}, (), Choice.SWAP_AND_REPAIR),
        ({**CRASHED, **RESETS, Fact.NODE_INCIDENTS: 4}, (), Choice.SWAP),
        ({**CRASHED, **HARDWARE, Fact.OTHER_BLAMED: 0.4}, (), Choice.SWAP_BOTH),
        ({**CRASHED, **HARDWARE, Fact.OTHER_BLAMED: 0.4, Fact.SPARES: 1}, (), Choice.SWAP),
        ({**CRASHED, **HARDWARE}, NO_SPARE, Choice.SHRINK),
        ({**CRASHED, **HARDWARE}, (*NO_SPARE, Choice.SHRINK), Choice.BORROW),
        ({**CRASHED, **RESETS}, (*NO_SPARE, Choice.SHRINK, Choice.BORROW), Choice.REBOOT),
        ({**CRASHED, Fact.TIME: 0.8, Fact.NODE_DOWN: 1}, (Choice.RESTART,), Choice.SWAP),
        ({**CRASHED, **TRANSIENT, Fact.PHASE_S: 60}, (Choice.RESTART,), Choice.WAIT),
        ({**CRASHED, **TRANSIENT, Fact.PHASE_S: 6000}, (Choice.RESTART,), Choice.SWAP),
        ({**CRASHED, Fact.PEOPLE: 0.8, Fact.NODE_DOWN: 1, Fact.NODE_OUT: 1}, (), Choice.SWAP),
        ({**CRASHED, Fact.ROLL_BACK: 0.7}, (), Choice.ROLL_BACK),
        ({**CRASHED, Fact.PEOPLE: 0.8}, (), Choice.ESCALATE),
        ({Fact.TUNE: 0.6}, (), Choice.TUNE),
        ({Fact.PEOPLE: 0.6}, (), Choice.ESCALATE),
        ({**SLOW, **HARDWARE}, (), Choice.SWAP),
        ({**SLOW, Fact.TIME: 0.6, Fact.REBOOT: 0.3}, (), Choice.SWAP_AND_REPAIR),
        ({**SLOW, Fact.TIME: 0.6, Fact.REBOOT: 0.3, Fact.AGE_S: 60}, (), Choice.WAIT),
        ({**SLOW, Fact.TIME: 0.8}, (), Choice.WAIT),
        ({**SLOW, **HARDWARE}, NO_SPARE, Choice.SHRINK),
        ({**SLOW, **HARDWARE, Fact.JOB_NODES: 2}, NO_SPARE, Choice.WAIT),
        ({Fact.PACE: 0.0, Fact.RESTART: 0.8}, (), Choice.RESTART),
        ({Fact.BREACH: 0.8, Fact.RESTART: 0.8}, (), Choice.RESTART),
        ({Fact.BREACH: 0.8, Fact.REPLACE: 0.3, Fact.UNKNOWN: 0.5}, (), Choice.CHECKPOINT),
        ({Fact.BREACH: 0.8, Fact.UNKNOWN: 0.6, Fact.UNSAVED_S: 20}, (), Choice.WAIT),
        ({Fact.BREACH: 0.8, **RESETS}, (), Choice.SWAP_AND_REPAIR),
        ({Fact.JOB_RUNS: 0, Fact.JOB_STARTS: 1, **HARDWARE}, (), Choice.WAIT),
    ],
)
def test_each_situation_has_its_answer(
    changed: dict[Fact, float], closed: tuple[Choice, ...], expected: Choice
) -> None:
    now = situation_of(changed, closed)
    assert Choice(recommend(now.facts, now.open, USUAL)) is expected


def test_the_compiled_runbook_says_the_same_and_never_what_is_closed() -> None:
    random = np.random.default_rng(7)
    found = set()
    for now in random_situations(10_000, seed=11):
        knobs = from_unit(KNOBS, random.random(len(KNOBS)))
        choice = recommend(now.facts, now.open, knobs)
        assert compiled_recommend(now.facts, now.open, knobs) == choice
        assert now.open[choice]
        found.add(Choice(choice))
    assert found == set(Choice)


def test_knobs_stand_where_the_compiled_code_looks_for_them() -> None:
    assert [knob.name for knob in KNOBS] == [place.name.lower() for place in K]
    assert all(knob.low <= knob.usual <= knob.high for knob in KNOBS)


def test_every_knob_changes_some_answer() -> None:
    situations = random_situations(4_000, seed=3)
    for place, knob in enumerate(KNOBS):
        answers = []
        for end in (knob.low, knob.high):
            knobs = USUAL.copy()
            knobs[place] = end
            answers.append([recommend(now.facts, now.open, knobs) for now in situations])
        assert answers[0] != answers[1], knob.name


def test_knobs_go_to_the_unit_cube_and_back() -> None:
    unit = np.random.default_rng(0).random(len(KNOBS))
    np.testing.assert_allclose(to_unit(KNOBS, from_unit(KNOBS, unit)), unit)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quiet": 1.5}, "quiet is 1.5; a number from 0.1 to 0.95"),
        ({"quiet": True}, "quiet is True"),
        ({"quiet": "much"}, "quiet is 'much'"),
        ({"quiet": float("nan")}, "quiet is nan"),
        ({"loud": 0.5}, "loud is unknown"),
    ],
)
def test_knobs_that_cannot_be_are_refused(changed: dict[str, object], said: str) -> None:
    named = {knob.name: knob.usual for knob in KNOBS}
    assert list(values_of(KNOBS, named, what="tuned")) == list(USUAL)
    with pytest.raises(InputError, match=said):
        values_of(KNOBS, {**named, **changed}, what="tuned")


def test_a_missing_knob_is_named() -> None:
    with pytest.raises(InputError, match="blamed is missing"):
        values_of(KNOBS, {k.name: k.usual for k in KNOBS if k.name != "blamed"}, what="tuned")
