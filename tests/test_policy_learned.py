"""A learned policy decides from plain arrays, only what can be done and only what it was taught."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.choice import Choice
from core.cluster import ClusterState
from core.errors import InputError
from core.situation import LONG_S, Fact, Situation
from core.types import Diagnosis, Floats, Incident
from remediation.deciding.chooser import Moment
from remediation.learning.env import HealingEnv
from remediation.learning.families import FAMILIES, HELD_OUT_SEED, TRAIN
from remediation.policies.features import FEATURES, SIZE, features, fill
from remediation.policies.learned import SHIPPED, LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.policies.thumb import THUMBS
from remediation.policies.trained import (
    FORMAT,
    MEANING,
    Known,
    Network,
    Trained,
    Training,
    load,
    save,
)
from sim.engine.jit import compiled

# A busy cluster of 256 GPUs with one stopped job.
USUAL = {
    Fact.REPLACE: 0.3,
    Fact.REBOOT: 0.3,
    Fact.RESTART: 0.2,
    Fact.UNKNOWN: 0.2,
    Fact.NODE_BLAMED: 0.7,
    Fact.OTHER_BLAMED: 0.2,
    Fact.AGE_S: 30.0,
    Fact.SINCE_TRIED_S: LONG_S,
    Fact.JOB_STOPPED: 1.0,
    Fact.UNSAVED_S: 400.0,
    Fact.INTERVAL_S: 600.0,
    Fact.STALL_S: 7.0,
    Fact.RESTART_S: 90.0,
    Fact.JOB_GPUS: 128.0,
    Fact.JOB_NODES: 16.0,
    Fact.RESTARTS: 1.0,
    Fact.PHASE_S: 60.0,
    Fact.ABOVE: 0.3,
    Fact.CAN_SHRINK: 0.25,
    Fact.GPUS: 256.0,
    Fact.SPARES: 2.0,
    Fact.FREE_NODES: 1.0,
    Fact.NODES_OUT: 1.0,
    Fact.OUT_ROOM: 3.0,
    Fact.REPAIR_S: 40_000.0,
    Fact.REBOOT_S: 700.0,
    Fact.PEOPLE_S: 3_600.0,
    Fact.PAGE_GPU_S: 57_600.0,
    Fact.FAULTS_A_DAY: 8.0,
    Fact.FALSE_SHARE: 0.1,
    Fact.WAITING_GPUS: 16.0,
}
OPEN = np.array([choice is not Choice.BORROW for choice in Choice])


def facts(change: dict[Fact, float] | None = None) -> Floats:
    told = np.zeros(len(Fact))
    for fact, value in {**USUAL, **(change or {})}.items():
        told[fact] = value
    return told


@dataclass(frozen=True)
class Due:
    """A moment of which only the situation is looked at."""

    situation: Situation

    @property
    def incident(self) -> Incident:
        raise AssertionError("a learned policy sees the facts only")

    @property
    def diagnosis(self) -> Diagnosis:
        raise AssertionError("a learned policy sees the facts only")

    @property
    def state(self) -> ClusterState:
        raise AssertionError("a learned policy sees the facts only")

    @property
    def now_s(self) -> float:
        raise AssertionError("a learned policy sees the facts only")


def moment(change: dict[Fact, float] | None = None) -> Due:
    return Due(Situation(facts(change), OPEN))


def network(*, prefers: Choice = Choice.WAIT) -> Network:
    """A perceptron whose scores hardly depend on what it sees."""
    random = np.random.default_rng(5)
    weights = (random.normal(0, 0.1, (8, SIZE)), random.normal(0, 0.1, (len(Choice), 8)))
    last = np.zeros(len(Choice))
    last[prefers] = 9.0
    return Network(weights, (np.zeros(8), last))


def near(*, spread: float = 0.02) -> Floats:
    """Situations about the usual one, (1000, SIZE)."""
    random = np.random.default_rng(1)
    return np.clip(features(facts(), OPEN) + spread * random.normal(size=(1000, SIZE)), 0.0, 1.0)


def trained(*, prefers: Choice = Choice.WAIT) -> Trained:
    seen = near()
    known = Known.of(seen, low=seen.min(axis=0), high=seen.max(axis=0))
    names = tuple(choice.name for choice in Choice)
    origin = ("a family",), "small", "by hand"
    training = Training(FORMAT, "t", "decisions", 1, 100, 9.5, *origin, FEATURES, names)
    return Trained(network(prefers=prefers), known, training)


class Remembers:
    """A fallback that tells how often it was asked."""

    name, version = "remembers", "1"

    def __init__(self) -> None:
        self.asked = 0

    def choose(self, moment: Moment) -> Choice:
        self.asked += 1
        return Choice.ESCALATE


@given(
    st.lists(st.floats(0.0, 1e9, allow_nan=False), min_size=len(Fact), max_size=len(Fact)),
)
def test_features_are_bounded_whatever_is_known(values: list[float]) -> None:
    seen = features(np.array(values), OPEN)

    assert seen.shape == (SIZE,)
    assert ((seen >= 0) & (seen <= 1)).all()


@pytest.mark.parametrize("fact", list(Fact))
def test_no_fact_is_lost_on_a_policy(fact: Fact) -> None:
    before = facts({Fact.SINCE_TRIED_S: 500.0, Fact.JOB_STOPPED: 0.5})
    after = before.copy()
    after[fact] += 0.25

    assert (features(after, OPEN) != features(before, OPEN)).any()


@pytest.mark.parametrize("choice", [choice for choice in Choice if choice is not Choice.WAIT])
def test_what_is_open_is_seen(choice: Choice) -> None:
    other = OPEN.copy()
    other[choice] = not other[choice]

    changed = features(facts(), other) != features(facts(), OPEN)
    assert [name for name, is_new in zip(FEATURES, changed, strict=True) if is_new] == [
        f"{choice.name} is open"
    ]


def test_a_job_and_cluster_twice_as_large_look_much_the_same() -> None:
    larger = {
        fact: 2 * USUAL[fact]
        for fact in (Fact.JOB_GPUS, Fact.JOB_NODES, Fact.GPUS, Fact.WAITING_GPUS, Fact.PAGE_GPU_S)
    }

    changed = features(facts(larger), OPEN) != features(facts(), OPEN)
    assert [name for name, is_new in zip(FEATURES, changed, strict=True) if is_new] == [
        "a node's share of the job"
    ]


def test_compiled_features_are_those_of_life() -> None:
    random, out = np.random.default_rng(2), np.zeros(SIZE)
    fill_compiled = compiled(fill)

    for _ in range(200):
        told = random.exponential(1.0, len(Fact)) * 10 ** random.uniform(-2, 6, len(Fact))
        is_open = random.random(len(Choice)) < 0.5
        fill_compiled(told, is_open, out)
        np.testing.assert_allclose(out, features(told, is_open), rtol=0, atol=1e-12)


def test_a_masked_choice_is_never_taken() -> None:
    allowed = np.zeros(len(Choice), dtype=bool)
    allowed[[Choice.WAIT, Choice.SHRINK]] = True

    best = network(prefers=Choice.RESTART).best(np.zeros(SIZE), allowed)
    assert best in (Choice.WAIT, Choice.SHRINK)


def test_what_it_prefers_is_chosen_where_it_is_open() -> None:
    fallback = Remembers()
    chooser = LearnedChooser(trained(prefers=Choice.SWAP), fallback=fallback)

    assert chooser.choose(moment()) is Choice.SWAP
    assert chooser.choose(moment()) is Choice.SWAP
    assert (chooser.name, chooser.version, fallback.asked) == ("learned", "t", 0)
    closed = LearnedChooser(trained(prefers=Choice.BORROW), fallback=fallback)
    assert closed.choose(moment()) is not Choice.BORROW


@pytest.mark.parametrize(
    "change",
    [{Fact.FAULTS_A_DAY: 400.0}, {Fact.PEOPLE: 0.9}, {Fact.JOB_STOPPED: 0.0, Fact.JOB_RUNS: 1.0}],
)
def test_what_training_never_saw_is_left_to_the_fallback(change: dict[Fact, float]) -> None:
    fallback = Remembers()
    chooser = LearnedChooser(trained(), fallback=fallback)

    assert chooser.choose(moment(change)) is Choice.ESCALATE
    assert (fallback.asked, chooser.left) == (1, 1)


def test_what_never_came_together_is_unknown_though_each_was_seen() -> None:
    random = np.random.default_rng(3)
    seen = np.tile(features(facts(), OPEN), (2000, 1))
    both = random.uniform(0.0, 1.0, 2000)  # two features that always went together
    seen[:, 0], seen[:, 1] = both, both + 0.01 * random.normal(size=2000)
    known = Known.of(seen, low=seen.min(axis=0), high=seen.max(axis=0))
    together, apart = seen[0].copy(), seen[0].copy()
    together[:2], apart[:2] = (0.8, 0.8), (0.8, 0.2)

    assert known.holds(together)
    assert not known.holds(apart)


def test_what_training_saw_is_known() -> None:
    seen = near()

    known = Known.of(seen, low=seen.min(axis=0), high=seen.max(axis=0))
    assert sum(map(known.holds, seen)) >= 999


def test_a_policy_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    made = trained()
    save(tmp_path / "p.npz", made)

    again = load(tmp_path / "p.npz")
    assert again.training == made.training
    for seen in near(spread=0.3)[:50]:
        np.testing.assert_array_equal(again.network.scores(seen), made.network.scores(seen))
        assert again.known.holds(seen) is made.known.holds(seen)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 1}, f"its format is 1, and this version reads {FORMAT}"),
        ({"features": ("a",)}, "1 features"),
        ({"choices": ("WAIT", "FLY")}, "chooses from WAIT, FLY"),
        ({"meaning": MEANING + 1}, f"meaning {MEANING + 1}, and in this version"),
    ],
)
def test_a_policy_of_another_version_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    made = trained()
    save(tmp_path / "p.npz", replace(made, training=replace(made.training, **change)))  # type: ignore[arg-type]

    with pytest.raises(InputError, match=said):
        load(tmp_path / "p.npz")


@pytest.mark.parametrize("name", ["weight_0", "bias_1", "known_inverse", "training"])
def test_an_altered_policy_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "p.npz"
    save(path, trained())
    with np.load(path) as file:
        arrays = {part: file[part] for part in file.files}
    if name == "training":
        arrays[name] = np.array(str(arrays[name]).replace('"seed": 1', '"seed": 2'))
    else:
        arrays[name].flat[0] += 1e-9
    np.savez(path, **arrays)

    with pytest.raises(InputError, match="altered"):
        load(path)


@pytest.mark.parametrize("damage", ["cut", "text", "pickle", "nan", "absent", "layers", "choices"])
def test_a_damaged_policy_is_refused(tmp_path: Path, damage: str) -> None:
    path, made = tmp_path / "p.npz", trained()
    save(path, made)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:700])
    elif damage == "text":
        path.write_text("not a policy")
    elif damage == "pickle":
        np.savez(path, training=np.array({"a": 1}, dtype=object))
    elif damage == "nan":
        bad = replace(made.network, biases=(np.full(8, np.nan), np.zeros(len(Choice))))
        save(path, replace(made, network=bad))
    elif damage == "layers":
        save(path, replace(made, network=Network((np.zeros((3, 4)),), (np.zeros(3),))))
    elif damage == "choices":
        save(path, replace(made, network=Network((np.zeros((3, SIZE)),), (np.zeros(3),))))
    else:
        path.unlink()

    with pytest.raises(InputError, match="reading policy") as refused:
        load(path)
    assert "unsafe" not in str(refused.value)  # numpy's own advice


def test_rules_of_thumb_are_a_fallback_too() -> None:
    chooser = LearnedChooser(trained(), fallback=THUMBS["always_swap"]())

    assert chooser.choose(moment({Fact.PEOPLE: 0.9})) is Choice.SWAP


def test_a_cluster_of_two_thousand_nodes_is_not_unlike_the_training_by_its_size() -> None:
    """Its alarms come as often as in a cluster of the training, not by the node."""
    family = replace(FAMILIES[TRAIN], name="large", nodes=(2000, 2000), alarms=(0.0, 0.024))
    env, chooser = HealingEnv(family), LearnedChooser(load(SHIPPED), fallback=Runbook())
    env.begin(HELD_OUT_SEED)
    count, over = 0, False
    while not over and count < 200:
        _, over, _ = env.decide(chooser.choose(env.lane.moment()))
        count += 1

    assert count > 20
    assert chooser.left <= 0.05 * count
