"""The facts of life and of simulation are the same numbers about the same moment."""

from collections.abc import Iterator

import pytest

from core.choice import Choice
from core.situation import Bools, Fact
from core.types import Floats
from remediation.deciding.choosing import LiveMoment
from remediation.deciding.plans import Made
from remediation.deciding.policy import Past
from remediation.learning.families import LIVES_A_CLUSTER, TRAIN, TUNING_SEED, family_of, terms_of
from remediation.policies.compiled import choose_greedily
from remediation.policies.greedy import WEIGHTS
from remediation.policies.knobs import usual
from sim.lanes import Lane

# What life knows from its journal or from symptoms, of which a simulated moment has none; how long
# a restart takes is a published figure in life.
_BY_HISTORY = {
    *(Fact.AGE_S, Fact.RESTARTS_TRIED, Fact.MOVES_TRIED, Fact.SINCE_TRIED_S, Fact.OTHERS_OPEN),
    *(Fact.BREACH, Fact.NODE_INCIDENTS, Fact.PACE, Fact.RESTART_S, Fact.REPAIR_S, Fact.REBOOT_S),
    *(Fact.FAULTS_A_DAY, Fact.FALSE_SHARE, Fact.NODE_OUT, Fact.NODE_DOWN),
}
_MOVES = (Choice.SWAP, Choice.SWAP_AND_REPAIR, Choice.SHRINK, Choice.BORROW)
_SURE = 0.6  # the guards' least probability


def moments(clusters: int) -> Iterator[tuple[Lane, LiveMoment]]:
    """Yield decisions of lives under a policy, as simulation and as life sees them."""
    family, weights = family_of(TRAIN), usual(WEIGHTS)
    for number in range(clusters):
        seed = TUNING_SEED + (9_000 + number) * LIVES_A_CLUSTER
        scenario, terms = family.scenario(seed), terms_of(family, seed)
        lane = Lane(scenario, terms)
        due, looks = lane.reset(seed, duration_s=scenario.duration_s), 0
        while due and looks < 32:
            if looks % 4 == 0:
                now = lane.moment()
                made = Made("p", now.incident.id, now.now_s, "test", "1")
                about = (now.incident, now.diagnosis, now.state, now.now_s)
                yield lane, LiveMoment(*about, made, Past(), terms.site)
            due, looks = lane.step(choose_greedily(lane.facts, lane.open, weights)), looks + 1


Seen = list[tuple[Floats, Bools, LiveMoment]]


@pytest.fixture(scope="module")
def seen() -> Seen:
    return [(lane.facts.copy(), lane.open.copy(), live) for lane, live in moments(12)]


def test_life_and_simulation_know_the_same(seen: Seen) -> None:
    assert len(seen) > 50
    for facts, _, live in seen:
        for fact in set(Fact) - _BY_HISTORY:
            found = live.situation.facts[fact]
            assert found == pytest.approx(facts[fact], rel=1e-6, abs=1e-6), fact.name


def test_a_move_that_simulation_offers_can_be_made_in_life(seen: Seen) -> None:
    offered = 0
    for _, is_open, live in seen:
        if live.diagnosis.causes[0].probability < _SURE:
            continue
        for choice in _MOVES:
            offered += bool(is_open[choice])
            assert live.situation.open[choice] or not is_open[choice], choice.name
    assert offered > 20
