from collections import Counter

import pytest

from core.choice import Choice
from core.situation import Fact
from remediation.policies.thumb import THUMBS, Random
from tests.moments import BareMoment
from tests.situations import CRASHED, random_situations, situation_of

FIRST = {
    "no_op": Choice.WAIT,
    "always_restart": Choice.RESTART,
    "always_swap": Choice.SWAP,
    "always_swap_and_repair": Choice.SWAP_AND_REPAIR,
    "always_shrink": Choice.SHRINK,
    "always_escalate": Choice.ESCALATE,
}


@pytest.mark.parametrize("name", sorted(FIRST))
def test_a_rule_of_thumb_does_what_it_is_called(name: str) -> None:
    rule = THUMBS[name]()
    assert rule.name == name
    assert rule.choose(BareMoment(situation_of(CRASHED))) is FIRST[name]


@pytest.mark.parametrize("name", sorted(THUMBS))
def test_no_rule_chooses_what_is_closed(name: str) -> None:
    rule = THUMBS[name]()
    for now in random_situations(500, seed=2):
        assert now.open[rule.choose(BareMoment(now))]


def test_a_swap_without_a_spare_is_a_shrink() -> None:
    now = situation_of(CRASHED, closed=(Choice.SWAP,))
    assert THUMBS["always_swap"]().choose(BareMoment(now)) is Choice.SHRINK


def test_chance_chooses_evenly_and_the_same_at_the_same_moment() -> None:
    ages = [situation_of({Fact.AGE_S: age}, closed=(Choice.TUNE,)) for age in range(5_500)]
    found = [Random(seed=1).choose(BareMoment(now)) for now in ages]
    assert found == [Random(seed=1).choose(BareMoment(now)) for now in ages]
    assert found != [Random(seed=2).choose(BareMoment(now)) for now in ages]
    counts = Counter(found)
    assert set(counts) == set(Choice) - {Choice.TUNE}
    assert all(400 < count < 600 for count in counts.values())
