import numpy as np
import pytest

from core.choice import Choice
from core.situation import Fact
from remediation.policies.compiled import choose_greedily
from remediation.policies.greedy import WEIGHTS, G, Greedy, choose, losses
from remediation.policies.knobs import from_unit, usual
from tests.moments import BareMoment
from tests.situations import CRASHED, random_situations, situation_of

USUAL = usual(WEIGHTS)
HARDWARE = {Fact.REPLACE: 0.7, Fact.REBOOT: 0.3, Fact.NODE_BLAMED: 0.9}
TRANSIENT = {Fact.RESTART: 0.9, Fact.PEOPLE: 0.1, Fact.NODE_BLAMED: 0.3}
COOLS = tuple(choice for choice in Choice if choice not in (Choice.WAIT, Choice.ESCALATE))
NO_SPARE = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SWAP_BOTH)


def lost(choice: Choice, changed: dict[Fact, float]) -> float:
    now = situation_of(changed)
    return float(losses(now.facts, now.open, USUAL)[choice])


@pytest.mark.parametrize(
    ("changed", "closed", "expected"),
    [
        ({Fact.NO_FAULT: 1.0}, (), Choice.WAIT),
        ({**CRASHED, **TRANSIENT}, (), Choice.RESTART),
        ({**CRASHED, **HARDWARE}, (), Choice.SWAP),
        ({**CRASHED, Fact.REBOOT: 1.0, Fact.SPARES: 1}, (), Choice.SWAP_AND_REPAIR),
        (
            {**CRASHED, Fact.REPLACE: 1.0, Fact.NODE_BLAMED: 0.5, Fact.OTHER_BLAMED: 0.5},
            (),
            Choice.SWAP_BOTH,
        ),
        ({**CRASHED, Fact.REBOOT: 1.0}, (*NO_SPARE, Choice.SHRINK), Choice.REBOOT),
        ({**CRASHED, **HARDWARE, Fact.REPAIR_S: 3600}, NO_SPARE, Choice.SHRINK),
        ({**CRASHED, **HARDWARE, Fact.CAN_SHRINK: 0}, NO_SPARE[:2], Choice.SWAP_BOTH),
        ({**CRASHED, Fact.PEOPLE: 1.0}, (), Choice.ESCALATE),
        ({**CRASHED, Fact.ROLL_BACK: 1.0}, (), Choice.ROLL_BACK),
        ({Fact.TUNE: 0.9, Fact.PEOPLE: 0.1, Fact.PACE: 0.5}, (), Choice.TUNE),
        ({Fact.TIME: 1.0, Fact.PACE: 0.97, Fact.NODE_BLAMED: 0}, (), Choice.WAIT),
        ({Fact.REPLACE: 0.9, Fact.TIME: 0.1, Fact.PACE: 0.6}, (), Choice.SWAP),
    ],
)
def test_each_situation_has_its_answer(
    changed: dict[Fact, float], closed: tuple[Choice, ...], expected: Choice
) -> None:
    assert Greedy().choose(BareMoment(situation_of(changed, closed))) is expected


def test_a_node_that_others_took_down_is_left_to_them() -> None:
    taken = {**CRASHED, Fact.PEOPLE: 0.9, Fact.UNKNOWN: 0.1, Fact.NODE_BLAMED: 0.9}
    down = {**taken, Fact.NODE_OUT: 1, Fact.NODE_DOWN: 1}
    assert lost(Choice.SWAP, down) < lost(Choice.ESCALATE, down)
    assert lost(Choice.SWAP, taken) > lost(Choice.ESCALATE, taken)


def test_a_start_that_will_be_allowed_is_waited_for_and_one_in_vain_again_and_again_is_not() -> (
    None
):
    failed = {**CRASHED, **TRANSIENT, Fact.SINCE_TRIED_S: 60, Fact.PHASE_S: 20}
    often = {**failed, Fact.RESTARTS_TRIED: 6, Fact.PEOPLE_S: 600}
    for changed, expected in (
        ({**failed, Fact.RESTARTS_TRIED: 1}, Choice.WAIT),
        (often, Choice.ESCALATE),
        ({**often, Fact.RESTART: 0.0, Fact.NO_FAULT: 0.9}, Choice.ESCALATE),
    ):
        assert Greedy().choose(BareMoment(situation_of(changed, COOLS))) is expected


def test_what_has_lasted_is_not_expected_to_pass_soon() -> None:
    slow = {Fact.TIME: 0.7, Fact.REPLACE: 0.3, Fact.PACE: 0.5, Fact.NODE_BLAMED: 0.3}
    gains = [
        lost(Choice.SWAP, {**slow, Fact.AGE_S: age_s})
        - lost(Choice.WAIT, {**slow, Fact.AGE_S: age_s})
        for age_s in (0.0, 3_600.0, 36_000.0)
    ]
    assert gains[0] > gains[1] > gains[2]


def test_work_at_risk_is_worth_a_checkpoint_and_saved_work_is_not() -> None:
    warned = {Fact.BREACH: 0.9, Fact.UNKNOWN: 0.5, Fact.NO_FAULT: 0.5, Fact.NODE_BLAMED: 0.0}
    risky, safe = {**warned, Fact.UNSAVED_S: 3600}, {**warned, Fact.UNSAVED_S: 10}
    assert lost(Choice.CHECKPOINT, risky) < lost(Choice.WAIT, risky)
    assert lost(Choice.CHECKPOINT, safe) > lost(Choice.WAIT, safe)


def test_the_compiled_policy_says_the_same_and_never_what_is_closed() -> None:
    random = np.random.default_rng(7)
    found = set()
    for now in random_situations(2_000, seed=11):
        weights = from_unit(WEIGHTS, random.random(len(WEIGHTS)))
        choice = choose(now.facts, now.open, weights)
        assert choose_greedily(now.facts, now.open, weights) == choice
        assert now.open[choice]
        found.add(Choice(choice))
    assert found == set(Choice)


@pytest.mark.parametrize(
    ("choice", "fact", "less", "more"),
    [
        (Choice.SWAP, Fact.SPARES, 4, 1),  # a spare is worth more where it is the last
        (Choice.SWAP, Fact.FAULTS_A_DAY, 1, 50),
        (Choice.SWAP, Fact.REPAIR_S, 3600, 864_000),
        (Choice.ESCALATE, Fact.PEOPLE_S, 600, 7200),
        (Choice.ESCALATE, Fact.PAGE_GPU_S, 0, 1e6),
        (Choice.REBOOT, Fact.REBOOT_S, 300, 1200),
        (Choice.RESTART, Fact.RESTART_S, 30, 600),
        (Choice.RESTART, Fact.RESTARTS_TRIED, 0, 2),
        (Choice.ROLL_BACK, Fact.INTERVAL_S, 600, 3600),
        (Choice.SHRINK, Fact.REPAIR_S, 3600, 86_400),
        (Choice.BORROW, Fact.ABOVE, 0.1, 0.8),
        (Choice.WAIT, Fact.JOB_GPUS, 128, 256),
    ],
)
def test_a_choice_costs_more_where_what_it_takes_is_dearer(
    choice: Choice, fact: Fact, less: float, more: float
) -> None:
    stuck = {**CRASHED, Fact.REPLACE: 0.3, Fact.RESTART: 0.5, Fact.PEOPLE: 0.2}
    assert lost(choice, {**stuck, fact: less}) < lost(choice, {**stuck, fact: more})


def test_every_weight_changes_some_answer() -> None:
    situations = random_situations(1_500, seed=3)
    for place, knob in enumerate(WEIGHTS):
        answers = []
        for end in (knob.low, knob.high):
            weights = USUAL.copy()
            weights[place] = end
            answers.append([choose_greedily(now.facts, now.open, weights) for now in situations])
        assert answers[0] != answers[1], knob.name


def test_weights_stand_where_the_compiled_code_looks_for_them() -> None:
    assert [knob.name for knob in WEIGHTS] == [place.name.lower() for place in G]
    assert all(knob.low <= knob.usual <= knob.high for knob in WEIGHTS)
