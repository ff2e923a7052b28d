"""Training learns what can be learned, and what it exports decides as it did."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from sb3_contrib import MaskablePPO

from core.errors import InputError
from remediation.choices import FEATURES, Choice
from remediation.env import MAX_DECISIONS, HealingEnv
from remediation.episode import EpisodeSettings
from remediation.learned import load
from remediation.train import TrainSettings, network_of, train

SMALL = EpisodeSettings(nodes=5, spares=1, hours=2.0, faults=2.0)


class Identity(gymnasium.Env[Any, Any]):
    """Trivial: the right action is the feature that is 1; the third action is always masked."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = spaces.Discrete(3)
        self._right = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return self._next(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(int(action) == self._right)
        return self._next(), reward, bool(self.np_random.random() < 0.05), False, {}

    def action_masks(self) -> Any:
        return np.array([True, True, False])

    def _next(self) -> Any:
        self._right = int(self.np_random.integers(2))
        return np.eye(3, dtype=np.float32)[self._right]


def ppo(env: Any, **rest: Any) -> MaskablePPO:
    torch.set_num_threads(1)
    return MaskablePPO("MlpPolicy", env, seed=0, device="cpu", **rest)


def test_the_environment_keeps_gymnasiums_contract() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(HealingEnv(SMALL), skip_render_check=True)


def test_a_reset_with_a_seed_gives_the_same_cluster() -> None:
    env, seen = HealingEnv(SMALL), []
    for _ in range(2):
        observations, rewards = [env.reset(seed=7)[0]], []
        for _ in range(5):
            choice = int(np.flatnonzero(env.action_masks())[-1])
            observation, reward, *_ = env.step(choice)
            observations.append(observation)
            rewards.append(reward)
        seen.append((np.array(observations), rewards))

    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    assert seen[0][1] == seen[1][1]


def test_rewards_add_up_to_what_was_lost() -> None:
    env = HealingEnv(SMALL)
    _, info = env.reset(seed=3)
    start, total, over = info["lost_hours"], 0.0, False
    for _ in range(MAX_DECISIONS):
        _, reward, over, truncated, info = env.step(Choice.WAIT)
        total += reward
        if over or truncated:
            break

    assert over
    assert -total == pytest.approx(info["lost_hours"] - start)


def test_masked_ppo_solves_a_trivial_problem() -> None:
    model = ppo(Identity(), n_steps=256, batch_size=128, n_epochs=8, learning_rate=5e-3)
    model.learn(1536)

    network = network_of(model)
    for right in range(2):
        seen = np.eye(3)[right]
        assert np.where([True, True, False], network.scores(seen), -np.inf).argmax() == right


def test_training_writes_a_policy_that_can_be_loaded(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    settings = TrainSettings(steps=256, environments=2, epochs=2, episode=SMALL)

    trained, training = train(
        settings, tmp_path / "p.npz", progress=lambda done, of: told.append((done, of))
    )
    again, same = load(tmp_path / "p.npz")
    assert same == training
    assert (training.seed, training.steps, training.features) == (1, 256, FEATURES)
    assert "torch" in training.made_with
    assert told[-1] == (256, 256)
    seen = np.random.default_rng(0).random(len(FEATURES))
    np.testing.assert_array_equal(again.scores(seen), trained.scores(seen))


def test_numpy_decides_exactly_as_the_trained_model() -> None:
    model = ppo(HealingEnv(SMALL), n_steps=64)
    random = np.random.default_rng(1)
    seen = random.random((1000, len(FEATURES))).astype(np.float32)
    masks = random.random((1000, len(Choice))) < 0.6
    masks[:, Choice.WAIT] = True

    network = network_of(model)
    ours = [network.best(*pair) for pair in zip(seen.astype(np.float64), masks, strict=True)]
    theirs, _ = model.predict(seen, action_masks=masks, deterministic=True)
    assert ours == theirs.tolist()


def test_training_for_no_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 steps"):
        train(TrainSettings(steps=0), tmp_path / "p.npz")
