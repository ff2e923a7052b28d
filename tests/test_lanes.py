"""Compiled decisions are those that objects describe: the same sight, offers, plans and losses."""

from dataclasses import replace

import numpy as np
import pytest

from core.errors import InputError
from remediation.choices import (
    BROKEN_FAULTS,
    FEATURES,
    SEEN_FAULTS,
    Choice,
    candidates,
    features,
    mask,
)
from remediation.env import HealingEnv, lane_of
from remediation.episode import Episode, EpisodeSettings, scenario_of
from sim.engine import decisions
from sim.lanes import Lane, sees_of
from sim.library import scenario

SETTINGS = EpisodeSettings(nodes=6, spares=1, hours=3.0, blame=0.6)
DAY_S = 86400.0


def test_choices_and_features_have_the_same_numbers_on_both_sides() -> None:
    assert [(one.name, int(one)) for one in decisions.Choice] == [
        (one.name, int(one)) for one in Choice
    ]
    assert len(FEATURES) == decisions.SIZE
    assert FEATURES[: decisions.SEEN] == tuple(f"probability {name}" for name in SEEN_FAULTS)


@pytest.mark.parametrize("seed", range(6))
def test_a_lane_lives_as_the_world_of_its_seed(seed: int) -> None:
    env, episode = HealingEnv(SETTINGS), Episode.drawn(SETTINGS, seed=seed)
    env.begin(seed + 1)  # a life before leaves nothing behind
    env.begin(seed)
    random, over = np.random.default_rng(seed), False
    while (now := episode.next_decision()) is not None:
        assert not over
        seen = features(now.incident, now.diagnosis, now.state, now_s=now.now_s)
        offered = candidates(now.incident, now.diagnosis, now.state, plan_id=now.plan_id)
        # A table's probabilities are 32 bits wide, and compiled code adds them as such.
        np.testing.assert_allclose(env.lane.seen, seen, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(env.lane.mask, mask(offered))

        choice = list(offered)[int(random.integers(len(offered)))]
        episode.act(offered[choice])
        _, over, _ = env.decide(choice)

    assert over
    assert env.lane.lost_gpu_s == episode.world.lost_gpu_s


def test_what_was_lost_can_be_asked_without_changing_what_comes() -> None:
    lanes = [lane_of(SETTINGS) for _ in range(2)]
    for lane in lanes:
        lane.reset(3, duration_s=SETTINGS.hours * 3600.0)
    for _ in range(4):
        assert lanes[0].lost_gpu_s >= 0
        for lane in lanes:
            lane.step(Choice.WAIT)

    assert lanes[0].lost_gpu_s == lanes[1].lost_gpu_s


def test_a_library_scenario_lives_in_a_lane_with_faults_of_each_seed() -> None:
    script = replace(scenario("lemon-nodes"), telemetry="surrogate", rate_scale=20.0)
    lane = Lane(script, sees_of(SEEN_FAULTS, BROKEN_FAULTS))

    asked = []
    for seed in (1, 2, 1):
        decided = lane.reset(seed, duration_s=DAY_S)
        asked.append((decided, float(lane.tables.core[0]["now_s"])))
    assert asked[0] == asked[2] != asked[1]


def test_a_lane_needs_incidents_that_are_drawn() -> None:
    with pytest.raises(InputError, match="set its telemetry to surrogate"):
        Lane(scenario("quiet"), sees_of(SEEN_FAULTS, BROKEN_FAULTS))


def test_a_policy_must_see_as_many_causes_as_there_are_columns() -> None:
    with pytest.raises(InputError, match="2 causes"):
        sees_of(SEEN_FAULTS[:2], BROKEN_FAULTS)


def test_faults_that_a_lane_cannot_place_are_refused() -> None:
    lane = lane_of(SETTINGS)
    many = scenario_of(EpisodeSettings(faults=90.0), seed=1).faults
    lane._draw = lambda seed: many
    with pytest.raises(InputError, match="at most 64"):
        lane.reset(1, duration_s=DAY_S)
