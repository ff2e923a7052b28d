import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from remediation.learning.families import HELD_OUT_SEED, LIVES_A_CLUSTER, TUNING_SEED
from remediation.policies.greedy import WEIGHTS, Greedy
from remediation.policies.knobs import Knob, table, usual, values_of
from remediation.policies.rulebook import KNOBS, Runbook
from remediation.policies.tuned import tuned
from remediation.policies.tuning import CHECKED, TUNABLE, Effort, Lives, as_toml, generations, tune
from tests.moments import BareMoment
from tests.situations import random_situations

SMALL = Effort(hours=8_000, candidates=4, elite=2, lives=3, checks=4, seed=1)


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


def test_a_search_keeps_to_its_hours_and_keeps_what_loses_less(told: list[str]) -> None:
    found = tune("runbook", SMALL, tell=told.append)

    assert 0 < found.hours <= SMALL.hours
    assert len(told) >= 2
    kept = np.array_equal(found.values, usual(KNOBS))
    assert kept == (found.loss >= found.usual_loss)
    assert found.low <= found.loss / found.usual_loss <= found.high
    assert all(k.low <= v <= k.high for k, v in zip(KNOBS, found.values, strict=True))
    written = tomllib.loads(as_toml("runbook", found, SMALL, date="2026-11-21"))["runbook"]
    read = values_of(KNOBS, written["knobs"], what="test")
    np.testing.assert_allclose(read, found.values, rtol=1e-3)
    assert "seed 1" in written["found"]


def test_the_same_search_finds_the_same(told: list[str]) -> None:
    again: list[str] = []
    tune("runbook", SMALL, tell=again.append)

    assert again == told


def test_no_life_of_a_search_is_held_out() -> None:
    for number, seeds in zip(range(400), generations(Effort()), strict=False):
        assert len(seeds) == Effort().lives, number
        assert all(TUNING_SEED <= seed < HELD_OUT_SEED for seed in seeds)
        assert not {seed // LIVES_A_CLUSTER for seed in seeds} & set(CHECKED)


def test_the_same_life_loses_the_same() -> None:
    decide, knobs = TUNABLE["greedy"]
    first, second = Lives(), Lives()
    seed = TUNING_SEED + 160
    assert first.lost(decide, usual(knobs), seed) == second.lost(decide, usual(knobs), seed)


@pytest.mark.parametrize(("policy", "knobs"), [("runbook", KNOBS), ("greedy", WEIGHTS)])
def test_what_was_found_is_kept_within_its_ranges(policy: str, knobs: list[object]) -> None:
    assert len(tuned(policy, KNOBS if policy == "runbook" else WEIGHTS)) == len(knobs)


@pytest.mark.parametrize(("policy", "knobs"), [("runbook", KNOBS), ("greedy", WEIGHTS)])
def test_the_page_of_numbers_has_what_the_code_has(policy: str, knobs: Sequence[Knob]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "policy-numbers.md").read_text()
    assert table(knobs, tuned(policy, knobs)) in page


def test_a_policy_that_was_never_searched_is_refused() -> None:
    with pytest.raises(InputError, match="nothing on twin; it has runbook, greedy"):
        tuned("twin", KNOBS)


def test_the_tuned_policies_are_told_from_the_usual_ones() -> None:
    situations = random_situations(300, seed=1)
    for usual_one, tuned_one in ((Runbook(), Runbook.tuned()), (Greedy(), Greedy.tuned())):
        assert tuned_one.name == f"tuned_{usual_one.name}"
        answers = [
            [policy.choose(BareMoment(now)) for now in situations]
            for policy in (usual_one, tuned_one)
        ]
        assert answers[0] != answers[1]
