"""Outcomes shift a fleet's priors: slowly, within bounds, less with age, in whatever order."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest

from rca.faults.catalogue import FAULTS
from rca.priors import (
    DAY_S,
    HALF_LIFE_S,
    MOST_NATS,
    WORTH,
    Lesson,
    Tally,
    Upshot,
    shifts,
    tally,
    unshifted,
)

NOW_S = 20_000 * DAY_S
SURE = {"gpu_hang": 0.7, "driver_hang": 0.2}


def lesson(
    upshot: Upshot, *, time_s: float = NOW_S, shares: Mapping[str, float] | None = None
) -> Lesson:
    return Lesson("", time_s, "gpu_hang", SURE if shares is None else shares, upshot)


def lived(count: int, *, truly: float) -> list[Lesson]:
    """Return what comes of acting ``count`` times where the diagnosis is right ``truly`` often."""
    random = np.random.default_rng(7)
    right = random.random(count) < truly
    helped = random.random(count) < np.where(right, 0.95, 0.73)
    return [lesson(Upshot.HELPED if each else Upshot.DID_NOT_HELP) for each in helped.tolist()]


def test_nothing_learned_shifts_nothing() -> None:
    assert shifts([], NOW_S) == {}


def test_a_refuted_diagnosis_lowers_its_fault_and_raises_its_rivals() -> None:
    found = shifts([lesson(Upshot.DID_NOT_HELP)], NOW_S)

    assert found["gpu_hang"] < 0 < found["driver_hang"]


@pytest.mark.parametrize("upshot", [Upshot.DENIED, Upshot.OVERRIDDEN])
def test_a_person_who_thinks_otherwise_lowers_it_too(upshot: Upshot) -> None:
    found = shifts([lesson(upshot)], NOW_S)["gpu_hang"]

    assert shifts([lesson(Upshot.DID_NOT_HELP)], NOW_S)["gpu_hang"] < found < 0


def test_one_that_helped_raises_its_fault_by_less_than_a_failure_lowers_it() -> None:
    helped = shifts([lesson(Upshot.HELPED)], NOW_S)["gpu_hang"]
    failed = shifts([lesson(Upshot.DID_NOT_HELP)], NOW_S)["gpu_hang"]

    assert 0 < helped < -failed


@pytest.mark.parametrize("upshot", list(Upshot))
@pytest.mark.parametrize("count", [1, 5, 20, 500])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_lessons_move_a_fault_by_no_more_than_their_number_is_worth(
    upshot: Upshot, count: int, share: float
) -> None:
    one = lesson(upshot, shares={"gpu_hang": share, "driver_hang": (1 - share) / 2})

    found = shifts([one] * count, NOW_S)

    most = min(MOST_NATS, math.log(1 + count / WORTH))
    assert all(abs(nats) <= most + 1e-12 for nats in found.values())


def test_twenty_lessons_are_worth_the_most_and_a_few_are_not() -> None:
    assert math.log(1 + 20 / WORTH) == pytest.approx(MOST_NATS)
    assert math.log(1 + 1 / WORTH) < 0.1
    assert 2 * math.log(1 + 7 / WORTH) < 1.0 < 2 * math.log(1 + 8 / WORTH)


def test_a_few_outcomes_do_not_exchange_faults_whose_priors_are_a_nat_apart() -> None:
    likelier, rarer = next(
        (a, b)
        for a, b in itertools.permutations(FAULTS.values(), 2)
        if a.prior - b.prior == pytest.approx(1.0)
    )
    shares = {likelier.name: 0.98, rarer.name: 0.02}
    against = [Lesson("", NOW_S, likelier.name, shares, Upshot.DID_NOT_HELP)] * 7

    found = shifts(against, NOW_S)

    assert found[likelier.name] < 0 < found[rarer.name]
    assert likelier.prior + found[likelier.name] > rarer.prior + found[rarer.name]


def test_a_lesson_fades_with_its_half_life_and_is_forgotten_in_the_end() -> None:
    told = [lesson(Upshot.DID_NOT_HELP)]
    now, later = shifts(told, NOW_S)["gpu_hang"], shifts(told, NOW_S + HALF_LIFE_S)["gpu_hang"]

    assert 0.45 < later / now < 0.6
    assert shifts(told, NOW_S + 4 * HALF_LIFE_S) == {}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_lessons_does_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    lessons = [
        lesson(
            list(Upshot)[int(random.integers(len(Upshot)))],
            time_s=NOW_S + float(random.uniform(0, 3 * DAY_S)),
            shares={"gpu_hang": float(random.uniform(0.1, 0.9)), "driver_hang": 0.05},
        )
        for _ in range(12)
    ]
    shuffled = [lessons[place] for place in random.permutation(12)]
    end_s = NOW_S + 4 * DAY_S

    assert shifts(shuffled, end_s) == pytest.approx(shifts(lessons, end_s))


def test_a_fleet_as_the_catalogue_expects_it_stays_with_the_catalogue() -> None:
    found = shifts(lived(2000, truly=SURE["gpu_hang"]), NOW_S)

    assert abs(found.get("gpu_hang", 0.0)) < 0.15


def test_a_fleet_with_another_mix_comes_to_expect_it() -> None:
    """Of what looks like 70 % gpu_hang, 30 % is: its odds fall by what Bayes says they should."""
    found = shifts(lived(2000, truly=0.3), NOW_S)

    held = {fault: share * math.exp(found[fault]) for fault, share in SURE.items()}
    assert held["gpu_hang"] / (sum(held.values()) + 0.1) == pytest.approx(0.3, abs=0.1)
    assert found["gpu_hang"] < -0.5
    assert found["driver_hang"] > 0.3


def test_what_was_shifted_is_counted_as_the_catalogue_would_have_said_it() -> None:
    shift = {"gpu_hang": 0.8, "driver_hang": -0.5}
    raised = {fault: share * math.exp(shift[fault]) for fault, share in SURE.items()}
    whole = sum(raised.values()) + 0.1
    shown = {fault: share / whole for fault, share in raised.items()}

    assert unshifted(shown, shift) == pytest.approx(SURE)


def test_plans_that_fail_again_and_again_are_heeded_however_sure_the_diagnosis() -> None:
    sure = [lesson(Upshot.DID_NOT_HELP, shares={"gpu_hang": 0.995})] * 20

    assert shifts(sure, NOW_S)["gpu_hang"] < -0.2


def test_right_and_wrong_are_counted_plainly() -> None:
    told = [Upshot.HELPED] * 7 + [Upshot.DID_NOT_HELP] * 2 + [Upshot.DENIED]

    assert tally([lesson(upshot) for upshot in told], "gpu_hang") == Tally(right=7, wrong=2)
