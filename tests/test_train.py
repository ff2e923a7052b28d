"""Training learns what can be learned, and what it exports decides as it did."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from sb3_contrib import MaskablePPO

from core.choice import Choice
from core.errors import InputError
from core.situation import Bools
from remediation.learning.discount import TimedBuffer, discounted, windowed
from remediation.learning.env import MAX_DECISIONS, HealingEnv
from remediation.learning.families import FAMILIES, HELD_OUT_SEED, LIVES_A_CLUSTER, TRAIN
from remediation.learning.lanes import HealingLanes
from remediation.learning.learner import Learner, network_of, torch_choices
from remediation.learning.train import Report, TrainSettings, train
from remediation.policies.features import FEATURES, SIZE
from remediation.policies.trained import MEANING, load

SMALL = TrainSettings(
    steps=512, lanes=4, rollout=64, batch=128, epochs=2, layers=(16, 16), labelled=0, checked=2
)


class Impatient(gymnasium.Env[Any, Any]):
    """A broken machine: mending it takes 10 min and is felt at once; looking again takes 15 s.

    The third choice is always masked. Lost is 1 an hour while it is broken, 3 while it is mended,
    and nothing after. A life is 8 h long.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.elapsed_s, self._now_s, self._broken = 0.0, 0.0, True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._now_s, self._broken = 0.0, True
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        mends = self._broken and int(action) == 1
        self.elapsed_s = 600.0 if mends else 15.0 if self._broken else 3600.0
        lost = (3.0 if mends else 1.0 if self._broken else 0.0) * self.elapsed_s / 3600.0
        self._broken = self._broken and not mends
        self._now_s += self.elapsed_s
        return self._seen(), -lost, self._now_s >= 8 * 3600.0, False, {}

    def action_masks(self) -> Bools:
        return np.array([True, True, False])

    def _seen(self) -> Any:
        return np.array([self._broken, not self._broken], dtype=np.float32)


def ppo(env: Any, elapsed_s: Any, **rest: Any) -> MaskablePPO:
    torch.set_num_threads(1)
    return MaskablePPO(
        "MlpPolicy",
        env,
        seed=0,
        device="cpu",
        rollout_buffer_class=TimedBuffer,
        rollout_buffer_kwargs={"elapsed_s": elapsed_s, "tau_s": 12 * 3600.0},
        **rest,
    )


def test_the_environment_keeps_gymnasiums_contract() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(HealingEnv(), skip_render_check=True)


def test_a_reset_with_a_seed_gives_the_same_life() -> None:
    env, seen = HealingEnv(), []
    for before in (40, 8):  # in the same cluster, or in another, first
        env.reset(seed=before)
        observations, rewards = [env.reset(seed=7)[0]], []
        for _ in range(5):
            choice = int(np.flatnonzero(env.action_masks())[-1])
            observation, reward, *_ = env.step(choice)
            observations.append(observation)
            rewards.append(reward)
        seen.append((np.array(observations), rewards))

    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    assert seen[0][1] == seen[1][1]


def test_rewards_and_times_add_up_to_a_life() -> None:
    env = HealingEnv()
    _, info = env.reset(seed=3)
    start_s, lost, total, elapsed_s, over = (
        float(env.lane.tables.core[0]["now_s"]),
        info["lost_hours"],
        0.0,
        0.0,
        False,
    )
    for _ in range(MAX_DECISIONS):
        _, reward, over, truncated, info = env.step(Choice.WAIT)
        total, elapsed_s = total + reward, elapsed_s + info["elapsed_s"]
        if over or truncated:
            break

    scenario = FAMILIES[TRAIN].scenario(3)
    assert over
    assert -total == pytest.approx(info["lost_hours"] - lost)
    assert elapsed_s == pytest.approx(scenario.start_s + scenario.duration_s - start_s)


def test_a_choice_that_is_not_open_is_waiting() -> None:
    env, ends = HealingEnv(), []
    for wish in (Choice.WAIT, None):
        env.reset(seed=11)
        closed = int(np.flatnonzero(~env.action_masks())[0])
        ends.append(env.step(closed if wish is None else wish)[:2])

    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_a_step_before_the_first_reset_is_refused() -> None:
    with pytest.raises(RuntimeError, match="call reset first"):
        HealingEnv().step(Choice.WAIT)


def test_training_never_meets_what_it_is_judged_on() -> None:
    lanes = HealingLanes([FAMILIES[TRAIN]] * 3, seed=5)

    assert all(first < 2**31 for first in lanes._next)
    assert HELD_OUT_SEED > 2**31


def test_lives_side_by_side_are_those_of_one_alone() -> None:
    """Through the end of a life, into the next one of the same cluster and of another."""
    lanes, random = HealingLanes([FAMILIES[TRAIN]] * 2, seed=5), np.random.default_rng(1)
    lanes._next = [LIVES_A_CLUSTER - 2, 3 * LIVES_A_CLUSTER - 2]
    lanes._cluster = lambda: 5 * LIVES_A_CLUSTER  # type: ignore[method-assign]
    alone = [HealingEnv(), HealingEnv()]
    seeds = [[at, at + 1, *range(80, 96)] for at in lanes._next]
    np.testing.assert_array_equal(
        lanes.reset(),
        [env.reset(seed=rest.pop(0))[0] for env, rest in zip(alone, seeds, strict=True)],
    )
    while min(map(len, seeds)) > 14:
        masks = lanes.env_method("action_masks")
        chosen = [int(random.choice(np.flatnonzero(mask))) for mask in masks]
        lanes.step_async(np.array(chosen))
        seen, rewards, ended, _ = lanes.step_wait()
        for at, env in enumerate(alone):
            found, reward, over, _, told = env.step(chosen[at])
            assert rewards[at] == pytest.approx(reward, rel=1e-5, abs=1e-6)
            assert lanes.elapsed_s[at] == told["elapsed_s"]
            assert ended[at] == over
            np.testing.assert_array_equal(
                seen[at], env.reset(seed=seeds[at].pop(0))[0] if over else found
            )


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_family_draws_the_same_cluster_for_all_lives_of_it(name: str) -> None:
    family = FAMILIES[name]
    first, last = HELD_OUT_SEED, HELD_OUT_SEED + LIVES_A_CLUSTER - 1

    assert family.scenario(first) == family.scenario(last)
    assert family.site(first) == family.site(last)
    assert family.scenario(first) != family.scenario(last + 1)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_what_is_known_of_a_site_is_true_of_it(name: str) -> None:
    family, lives = FAMILIES[name], 0.0
    for seed in range(0, 160, LIVES_A_CLUSTER):
        scenario, known = family.scenario(seed), family.site(seed)
        lives += known.faults_a_day * scenario.nodes * 8 / 1024 * scenario.duration_s / 86_400
        assert known.people_s == scenario.site.people_s
        assert 0.0 <= known.false_share < 1.0
        assert 1_800.0 < known.repair_s < 3 * 86_400.0

    assert 10 < lives / 10 < 40


def test_discount_goes_by_time_and_not_by_decisions() -> None:
    """The same loss at the same times weighs the same, however often something was decided."""
    few = discounted(np.array([[-1.0], [-1.0]]), np.array([[7200.0], [60.0]]), 1.0, tau_s=3600.0)
    often_s = np.full((121, 1), 60.0)
    rewards = np.zeros((121, 1))
    rewards[[0, 120]] = -1.0
    often = discounted(rewards, often_s, np.ones((121, 1)), tau_s=3600.0)

    assert few[0, 0] == pytest.approx(often[0, 0])
    assert few[0, 0] == pytest.approx(-1.0 - np.exp(-2.0))


def test_a_window_counts_what_is_lost_in_it_and_ends_with_the_life() -> None:
    rewards = -np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
    elapsed_s = np.array([[1800.0], [3600.0], [600.0], [600.0], [9000.0]])
    goes_on = np.array([[1.0], [1.0], [1.0], [0.0], [1.0]])

    sums = windowed(rewards, elapsed_s, goes_on, 7200.0)
    assert sums[:, 0].tolist() == [-15.0, -14.0, -12.0, -8.0, -16.0]


def test_advantages_are_those_of_hand_made_sums() -> None:
    """With all weight on what is seen to follow, an advantage is the return less the value."""
    random, steps, lanes = np.random.default_rng(0), 6, 2
    times = random.uniform(10.0, 9e4, (steps, lanes))
    turn = iter(times)
    space = spaces.Box(0.0, 1.0, (1,), np.float32)
    buffer = TimedBuffer(
        *(steps, space, spaces.Discrete(2), "cpu"),
        gae_lambda=1.0,
        n_envs=lanes,
        elapsed_s=lambda: next(turn),
        tau_s=3600.0,
    )
    rewards, starts = random.normal(size=(steps, lanes)), np.zeros((steps, lanes))
    starts[3, 1] = 1.0
    for step in range(steps):
        nothing, value = np.zeros((lanes, 1)), torch.full((lanes,), 0.5)
        buffer.add(nothing, nothing, rewards[step], starts[step], value, torch.zeros(lanes))
    last = torch.tensor([2.0, 3.0])
    buffer.compute_returns_and_advantage(last, np.array([False, True]))

    gamma = np.exp(-times / 3600.0)
    expected = np.zeros((steps, lanes))
    after = np.array([2.0, 0.0])
    for step in reversed(range(steps)):
        goes_on = np.array([1.0, 0.0 if step == 2 else 1.0])
        after = rewards[step] + gamma[step] * after * goes_on
        expected[step] = after
    np.testing.assert_allclose(buffer.advantages, expected - 0.5, rtol=1e-5)


def test_it_does_not_learn_to_spin() -> None:
    """Mending costs now and is worth it; a discount a decision would put it off for ever."""
    env = Impatient()
    model = ppo(env, lambda: env.elapsed_s, n_steps=512, batch_size=128, learning_rate=3e-3)
    model.learn(4096)

    network = network_of(model)
    scores = np.where(env.action_masks(), network.scores(np.array([1.0, 0.0])), -np.inf)
    assert scores.argmax() == 1


def test_training_writes_a_policy_that_can_be_loaded(tmp_path: Path) -> None:
    told: list[Report] = []

    trained = train(SMALL, tmp_path / "p.npz", progress=told.append, tensorboard=tmp_path / "logs")
    again, made = load(tmp_path / "p.npz"), trained.training
    assert again.training == made
    assert (made.seed, made.steps, made.features, made.learned) == (1, 512, FEATURES, "decisions")
    assert made.hours > 1.0
    assert "torch" in made.made_with
    assert (told[-1].steps, told[-1].share) == (512, 1.0)
    assert all(0.0 <= report.lost < 2.0 for report in told)
    assert list((tmp_path / "logs").rglob("events.out.tfevents.*"))
    seen = np.random.default_rng(0).random(SIZE)
    np.testing.assert_array_equal(again.network.scores(seen), trained.network.scores(seen))


def test_the_same_settings_give_the_same_policy(tmp_path: Path) -> None:
    first, again = (train(SMALL, tmp_path / name).network for name in ("a.npz", "b.npz"))
    other = train(replace(SMALL, seed=2), tmp_path / "c.npz").network

    for ours, theirs in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (first.weights[0] != other.weights[0]).any()


def first_layer(state: Path) -> torch.Tensor:
    """Return the weights that a training has come to last."""
    layer: torch.Tensor = torch.load(state, weights_only=True)["policy"][
        "mlp_extractor.policy_net.0.weight"
    ]
    return layer


def test_training_goes_on_from_what_was_kept(tmp_path: Path) -> None:
    half = train(SMALL, tmp_path / "p.npz")
    on = train(
        replace(SMALL, steps=1024, learning_rate=SMALL.learning_rate),
        tmp_path / "q.npz",
        resume=tmp_path / "p.state",
    )

    assert (half.training.steps, on.training.steps) == (512, 1024)
    assert on.training.hours > half.training.hours
    # A few small steps from where it was, not from the beginning.
    moved = abs(first_layer(tmp_path / "q.state") - first_layer(tmp_path / "p.state")).max()
    assert 0.0 < moved < 0.05
    assert (on.known.low <= half.known.low).all()


def test_what_cannot_be_gone_on_with_is_refused(tmp_path: Path) -> None:
    train(SMALL, tmp_path / "p.npz")
    longer, state = replace(SMALL, steps=1024), tmp_path / "p.state"

    def refused(settings: TrainSettings) -> str:
        with pytest.raises(InputError) as found:
            train(settings, tmp_path / "q.npz", resume=state)
        return str(found.value)

    assert "other settings" in refused(replace(longer, tau_hours=3.0))
    assert "it has had 512 steps of 512" in refused(SMALL)
    kept = torch.load(state, weights_only=True)
    torch.save({**kept, "meaning": MEANING + 1}, state)
    assert f"meaning {MEANING + 1}, and in this version" in refused(longer)
    state.write_text("not a state")
    assert "gpumedic train" in refused(longer)
    state.unlink()
    assert "gpumedic train" in refused(longer)


def test_a_bandit_is_told_from_a_policy(tmp_path: Path) -> None:
    made = train(replace(SMALL, bandit=True), tmp_path / "p.npz").training

    assert (made.learned, made.version) == ("bandit", "bandit-1")


def test_numpy_decides_exactly_as_torch(tmp_path: Path) -> None:
    network = train(SMALL, tmp_path / "p.npz").network
    random = np.random.default_rng(1)
    seen = random.random((2000, SIZE)).astype(np.float32)
    masks = random.random((2000, len(Choice))) < 0.6
    masks[:, Choice.WAIT] = True

    ours = [network.best(*pair) for pair in zip(seen.astype(np.float64), masks, strict=True)]
    assert ours == torch_choices(network, seen, masks).tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"steps": 0}, "0 steps"), ({"minutes": 0.0}, "0.0 minutes"), ({"families": ("a",)}, "'a'")],
)
def test_what_leaves_nothing_to_learn_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(SMALL, **change)


def test_a_training_comes_to_the_best_network_that_it_was_on_the_way(tmp_path: Path) -> None:
    learner = Learner(replace(SMALL, checked=3), state=tmp_path / "a.state", tensorboard=None)
    better, worse = learner.check(), 0.0
    before = learner.network()
    with torch.no_grad():  # a network that is led astray: it prefers what it liked least
        last: Any = learner.model.policy.action_net
        last.weight *= -20.0
    worse = learner.check()
    if worse < better:
        before = learner.network()
    learner.take_best()

    assert worse != better
    for kept, first in zip(learner.network().weights, before.weights, strict=True):
        np.testing.assert_array_equal(kept, first)
