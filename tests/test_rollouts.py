"""What is tried in copies of a life is what would have come, and a policy learns from it."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.choice import Choice
from core.errors import InputError
from core.situation import Bools
from core.types import Floats
from remediation.evaluation.policies import trained_within
from remediation.learning.env import HealingEnv
from remediation.learning.families import HELD_OUT_SEED, LIVES_A_CLUSTER
from remediation.learning.learner import Learner
from remediation.learning.rollouts import Branches, Twin
from remediation.learning.train import TrainSettings
from remediation.policies.compiled import flat
from remediation.policies.features import SIZE, features
from remediation.policies.learned import LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.policies.trained import Known, Network
from remediation.twin.oracle import Within
from remediation.twin.rolling import Inner, follow
from sim.lanes import Lane
from tests import policy_files

_HOUR_S = 3600.0


def network(seed: int) -> Network:
    random, sizes = np.random.default_rng(seed), (SIZE, 24, 16, len(Choice))
    weights = tuple(random.normal(0, 0.5, (out, into)) for into, out in pairwise(sizes))
    return Network(weights, tuple(random.normal(0, 0.5, len(part)) for part in weights))


def waiting(seen: Floats, is_open: Bools) -> Choice:
    return Choice.WAIT


def now_of(lane: Lane) -> float:
    return float(lane.tables.core[0]["now_s"])


def begun(decisions: int) -> HealingEnv:
    """A life after some decisions of chance."""
    env, random = HealingEnv(), np.random.default_rng(0)
    env.begin(HELD_OUT_SEED + 3 * LIVES_A_CLUSTER)
    for _ in range(decisions):
        env.decide(int(random.choice(np.flatnonzero(env.lane.open))))
    return env


def within(made: Network) -> Within:
    return Within(Inner.NETWORK, flat(made))


def test_a_compiled_network_decides_as_it_does_in_life() -> None:
    made, env, told = network(1), begun(0), set()
    branches = Branches(within(made), 1.0)
    for _ in range(30):
        lane = env.lane
        choice = branches.choose(lane)
        assert choice == made.best(features(lane.facts, lane.open), lane.open)
        told.add(choice)
        env.decide(choice)
    assert len(told) > 1


@pytest.mark.parametrize("farthest", [0.0, 60.0, 1e9])
def test_a_compiled_policy_leaves_to_its_runbook_what_it_does_in_life(farthest: float) -> None:
    """All of it, some and nothing."""
    made, env, seen = network(1), HealingEnv(), []
    for seed in range(4):
        env.begin(seed)
        over = False
        while not over:
            seen.append((env.lane.moment(), features(env.lane.facts, env.lane.open)))
            _, over, _ = env.decide(made.best(seen[-1][1], env.lane.open))
    known = Known.of(np.array([each for _, each in seen]), low=np.zeros(SIZE), high=np.ones(SIZE))
    trained = replace(policy_files.trained(prefers=Choice.WAIT), network=made)
    trained = replace(trained, known=replace(known, farthest=farthest))
    chooser, inner = LearnedChooser(trained, fallback=Runbook.tuned()), trained_within(trained)

    for moment, _ in seen:
        now = moment.situation
        assert follow(inner.inner, inner.numbers, now.facts, now.open) == chooser.choose(moment)
    assert (chooser.left > 0) == (farthest < 1e9)
    assert (chooser.left < len(seen)) == (farthest > 0)


@pytest.mark.parametrize("decisions", [0, 6, 15])
def test_a_branch_loses_what_the_life_itself_would(decisions: int) -> None:
    """To its end, as there nothing is owed; who waits waits for a quarter of an hour."""
    made, env = network(2), begun(decisions)
    lost = Branches(within(made), 1000.0).lost(env.lane, Twin(env.lane))
    before, facts = env.lane.priced_gpu_s, env.lane.facts.copy()

    assert np.isfinite(lost).tolist() == env.lane.open.tolist()
    by_hand = []
    for choice in np.flatnonzero(env.lane.open).tolist():
        twin = env.lane.fork()
        trouble = int(twin.tables.core[0]["decision"])
        waits_s = now_of(twin) + (900.0 if choice == Choice.WAIT else 0.0)
        goes_on = twin.step(choice)
        while goes_on:
            waits = int(twin.tables.core[0]["decision"]) == trouble and now_of(twin) < waits_s
            best = made.best(features(twin.facts, twin.open), twin.open)
            goes_on = twin.step(Choice.WAIT if waits else best)
        by_hand.append(twin.priced_gpu_s - before)
    found = lost[np.isfinite(lost)]
    np.testing.assert_allclose(found - found[0], np.array(by_hand) - by_hand[0], atol=1.0)
    assert env.lane.priced_gpu_s == before
    np.testing.assert_array_equal(env.lane.facts, facts)


def test_what_is_tried_teaches_more_than_doing_nothing(tmp_path: Path) -> None:
    settings = TrainSettings(labelled=400, rounds=2, lanes=8, ahead_hours=6.0, checked=1)
    learner = Learner(settings, state=tmp_path / "p.state", tensorboard=None)
    learner.study(None)

    taught, lost = learner.network(), []
    for policy in (taught.best, waiting):
        env, total = HealingEnv(), 0.0
        for cluster in range(12):
            env.begin(HELD_OUT_SEED + cluster * LIVES_A_CLUSTER)
            over = False
            while not over:
                reward, over, _ = env.decide(
                    policy(features(env.lane.facts, env.lane.open), env.lane.open)
                )
                total -= reward
        lost.append(total)
    assert lost[0] < 0.7 * lost[1]


def test_a_network_of_another_depth_is_refused() -> None:
    with pytest.raises(InputError, match="two hidden"):
        replace(TrainSettings(), layers=(64,))
