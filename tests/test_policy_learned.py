"""A learned policy decides from plain arrays, only what can be done and only what it was taught."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core import choice as menu
from core.cluster import ClusterState
from core.errors import InputError
from core.types import Diagnosis, Incident, Plan
from remediation import policy as decided_by
from remediation.catalogue import SWAP_NODE, first_obstacle
from remediation.choices import FEATURES, Choice, candidates, features, mask
from remediation.episode import Decision, Episode, EpisodeSettings, scenario_of
from remediation.evaluate import (
    Comparison,
    NoPolicy,
    StaticPolicy,
    bootstrap,
    chosen,
    compare,
    held_out_seeds,
    lost_by,
    rows,
)
from remediation.learned import LearnedPolicy, Network, Training, load, save
from remediation.policy import Past, Policy
from remediation.rules import RulesPolicy

SETTINGS = EpisodeSettings(nodes=6, spares=1, hours=3.0)


def network(*, prefers: Choice = Choice.WAIT) -> Network:
    """A perceptron whose scores hardly depend on what it sees."""
    random = np.random.default_rng(5)
    weights = (random.normal(0, 0.1, (8, len(FEATURES))), random.normal(0, 0.1, (len(Choice), 8)))
    last = np.zeros(len(Choice))
    last[prefers] = 9.0
    return Network(weights, (np.zeros(8), last))


def training() -> Training:
    size = len(FEATURES)
    names = tuple(choice.name for choice in Choice)
    return Training(
        1, "t", 1, 100, "small", "hand", FEATURES, names, low=(0.0,) * size, high=(1.0,) * size
    )


def first_decision(seed: int = 0) -> Decision:
    found = Episode.drawn(SETTINGS, seed=seed).next_decision()
    assert found is not None
    return found


def decided(policy: LearnedPolicy, now: Decision) -> Plan | None:
    return policy.decide(
        now.incident, now.diagnosis, now.state, now_s=now.now_s, plan_id=now.plan_id, past=Past()
    ).plan


class Remembers:
    """A fallback that tells whether it was asked."""

    name, version = "remembers", "1"

    def __init__(self) -> None:
        self.asked = 0

    def decide(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
        past: Past,
    ) -> decided_by.Decision:
        self.asked += 1
        return decided_by.Decision(menu.Choice.WAIT, None)


@pytest.mark.parametrize("seed", range(8))
def test_features_are_bounded_and_offers_can_be_done(seed: int) -> None:
    episode = Episode.drawn(SETTINGS, seed=seed)
    random = np.random.default_rng(seed)
    while (now := episode.next_decision()) is not None:
        seen = features(now.incident, now.diagnosis, now.state, now_s=now.now_s)
        offered = candidates(now.incident, now.diagnosis, now.state, plan_id=now.plan_id)

        assert seen.shape == (len(FEATURES),)
        assert ((seen >= 0) & (seen <= 1)).all()
        assert mask(offered)[Choice.WAIT]
        assert all(first_obstacle(actions, now.state) is None for actions in offered.values())
        episode.act(offered[list(offered)[int(random.integers(len(offered)))]])


def test_nothing_is_offered_without_a_cause() -> None:
    now = first_decision()
    nothing = replace(now.diagnosis, causes=(), unknown=1.0)

    assert list(candidates(now.incident, nothing, now.state, plan_id="p")) == [Choice.WAIT]


def test_nothing_is_offered_where_nothing_is_broken() -> None:
    now = first_decision()
    cause = replace(now.diagnosis.causes[0], probability=0.4)
    calm = replace(now.diagnosis, causes=(cause,), unknown=0.1, no_fault=0.5)
    ill = replace(calm, unknown=0.3, no_fault=0.3)

    assert list(candidates(now.incident, calm, now.state, plan_id="p")) == [Choice.WAIT]
    assert len(candidates(now.incident, ill, now.state, plan_id="p")) > 1


def test_broken_hardware_is_never_restarted_on() -> None:
    now = first_decision()
    cause = replace(now.diagnosis.causes[0], fault="gpu_fallen_off_bus", probability=0.9)
    sure = replace(now.diagnosis, causes=(cause,), unknown=0.1)

    assert Choice.RESTART not in candidates(now.incident, sure, now.state, plan_id="p")


def test_a_preferred_choice_becomes_a_plan() -> None:
    now = first_decision()
    policy = LearnedPolicy(network(prefers=Choice.SWAP), training(), fallback=NoPolicy())

    plan = decided(policy, now)
    assert plan is not None
    assert plan.actions[-1].kind == SWAP_NODE
    assert (plan.policy, plan.policy_version) == ("learned", "t")
    assert plan.lost_gpu_s_with > 0


def test_a_masked_choice_is_never_taken() -> None:
    allowed = np.array([True, False, False, False, True])

    best = network(prefers=Choice.RESTART).best(np.zeros(len(FEATURES)), allowed)
    assert best in (Choice.WAIT, Choice.SWAP_AND_REPAIR)


def test_what_training_never_saw_is_left_to_the_fallback() -> None:
    fallback = Remembers()
    narrow = replace(training(), high=(0.01,) * len(FEATURES))

    assert decided(LearnedPolicy(network(), narrow, fallback=fallback), first_decision()) is None
    assert fallback.asked == 1


def test_a_policy_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    save(tmp_path / "p.npz", network(), training())

    again, told = load(tmp_path / "p.npz")
    seen = np.random.default_rng(0).random(len(FEATURES))
    assert told == training()
    np.testing.assert_array_equal(again.scores(seen), network().scores(seen))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 9}, "its format is 9"),
        ({"features": ("a",)}, "1 features"),
        ({"choices": ("WAIT", "FLY")}, "chooses from WAIT, FLY"),
        ({"low": (0.0,)}, "ranges"),
    ],
)
def test_a_policy_of_another_version_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    save(tmp_path / "p.npz", network(), replace(training(), **change))  # type: ignore[arg-type]

    with pytest.raises(InputError, match=said):
        load(tmp_path / "p.npz")


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "nan", "absent", "layers"])
def test_a_damaged_policy_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "p.npz"
    save(path, network(), training())
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:700])
    elif damage == "text":
        path.write_text("not a policy")
    elif damage == "pickle":
        np.savez(path, training=np.array({"a": 1}, dtype=object))
    elif damage == "nan":
        bad = replace(network(), biases=(np.full(8, np.nan), np.zeros(len(Choice))))
        save(path, bad, training())
    elif damage == "layers":
        save(path, Network((np.zeros((3, 4)),), (np.zeros(3),)), training())
    else:
        path.unlink()

    with pytest.raises(InputError, match="reading policy"):
        load(path)


def test_an_episode_repeats_with_its_seed() -> None:
    first = [lost_by(RulesPolicy(), SETTINGS, seed=4) for _ in range(2)]

    assert first[0] == first[1]
    assert scenario_of(SETTINGS, seed=4) != scenario_of(SETTINGS, seed=5)


def test_every_policy_meets_the_same_faults() -> None:
    settings, truths = SETTINGS, []
    for choice in (Choice.WAIT, Choice.SWAP):
        episode = Episode.drawn(settings, seed=9)
        while (now := episode.next_decision()) is not None:
            offered = candidates(now.incident, now.diagnosis, now.state, plan_id=now.plan_id)
            episode.act(offered.get(choice, ()))
        truths.append([(t.fault, t.target.node, t.onset_s) for t in episode.world.truth])

    assert truths[0] == truths[1]


def test_healing_loses_less_than_doing_nothing() -> None:
    repair = StaticPolicy(Choice.SWAP_AND_REPAIR, Choice.RESTART)
    found = compare([NoPolicy(), RulesPolicy(), repair], SETTINGS, seeds=held_out_seeds(20))

    _, _, high = bootstrap(found.of("rules") - found.of("none"))
    assert high < 0
    _, _, high = bootstrap(found.of(repair.name) - found.of("none"))
    assert high < 0


def _made_up(learned: float, noise: float) -> Comparison:
    random = np.random.default_rng(3)
    base = random.random(60)
    lost = np.stack([base + 1, base, base + learned + noise * random.normal(size=60)])
    return Comparison(("none", "rules", "learned"), tuple(range(60)), lost, np.ones((3, 60)))


@pytest.mark.parametrize(
    ("learned", "noise", "winner"),
    [(-0.3, 0.1, "learned"), (0.3, 0.1, "rules"), (-0.01, 0.5, "rules")],
)
def test_rules_stay_unless_they_are_beaten_for_sure(
    learned: float, noise: float, winner: str
) -> None:
    found = _made_up(learned, noise)
    policies: dict[str, Policy] = {
        "rules": RulesPolicy(),
        "none": NoPolicy(),
        "learned": LearnedPolicy(network(), training(), fallback=NoPolicy()),
    }

    assert chosen(found, policies, default="rules").name == winner
    verdict = rows(found)[-1]
    assert verdict.ok is (winner == "learned")
    assert ("does not beat" in verdict.note) is (winner == "rules")
