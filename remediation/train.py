"""Train a policy offline with MaskablePPO and export it as plain arrays; nothing runs from here.

Stable-Baselines3 trains, numpy decides: a saved SB3 model is a pickle and is never loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import InputError
from core.types import Floats
from remediation.choices import FEATURES, Choice
from remediation.episode import EpisodeSettings
from remediation.learned import FORMAT, Network, Training, save

if TYPE_CHECKING:
    from sb3_contrib import MaskablePPO

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One training run. The same settings give the same policy on the same machine.

    rollout: decisions an environment before each update; batch: decisions a gradient step
    """

    steps: int = 500_000
    seed: int = 1
    environments: int = 16
    rollout: int = 128
    batch: int = 512
    epochs: int = 6
    learning_rate: float = 1e-3
    entropy: float = 0.01
    layers: tuple[int, ...] = (64, 64)
    episode: EpisodeSettings = field(default_factory=EpisodeSettings)


def train(
    settings: TrainSettings, path: Path, *, progress: Progress | None = None
) -> tuple[Network, Training]:
    """Train, write the policy to ``path`` and return it.

    progress: called with (steps done, steps in all) after every rollout. InputError where the
    training extra is not installed or the settings leave nothing to learn from.
    """
    if settings.steps < 1 or settings.environments < 1:
        raise InputError(
            f"training for {settings.steps} steps in {settings.environments} environments: both "
            "must be at least 1."
        )
    model, seen = _learn(settings, progress)
    network = network_of(model)
    training = Training(
        format=FORMAT,
        version=f"1-seed{settings.seed}",
        seed=settings.seed,
        steps=int(model.num_timesteps),
        scenario=repr(settings.episode),
        made_with=" ".join(
            f"{name} {version(name)}" for name in ("stable-baselines3", "sb3-contrib", "torch")
        ),
        features=FEATURES,
        choices=tuple(choice.name for choice in Choice),
        low=tuple(float(low) for low in seen[0]),
        high=tuple(float(high) for high in seen[1]),
    )
    save(path, network, training)
    return network, training


def _learn(settings: TrainSettings, progress: Progress | None) -> tuple["MaskablePPO", Floats]:
    """Return the trained model and (2, features) the range of what it saw."""
    try:
        import torch  # noqa: PLC0415 - 3 s and 220 MiB: only to train
        from sb3_contrib import MaskablePPO  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            f"training a policy: {error}. Install gpumedic with its train extra: gpumedic[train]."
        ) from error
    from remediation.lanes import HealingLanes  # noqa: PLC0415 - needs the same extra

    # Two threads were 3 to 47 times slower than one for networks of this size.
    torch.set_num_threads(1)
    envs = HealingLanes([settings.episode] * settings.environments, seed=settings.seed)
    model = MaskablePPO(
        "MlpPolicy",
        envs,
        n_steps=settings.rollout,
        batch_size=min(settings.batch, settings.rollout * settings.environments),
        n_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        gamma=1.0,
        ent_coef=settings.entropy,
        policy_kwargs={"net_arch": list(settings.layers)},
        seed=settings.seed,
        device="cpu",
    )
    watcher = _watcher(settings.steps, progress)
    model.learn(settings.steps, callback=watcher)
    envs.close()
    return model, watcher.range


def _watcher(steps: int, progress: Progress | None) -> Any:
    """Return a callback that keeps the range of what is seen and reports progress."""
    from stable_baselines3.common.callbacks import BaseCallback  # noqa: PLC0415

    class Watcher(BaseCallback):
        """Looks at every rollout."""

        def __init__(self) -> None:
            super().__init__()
            self.range = np.array([np.ones(len(FEATURES)), np.zeros(len(FEATURES))])

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            seen = self.model.rollout_buffer.observations.reshape(-1, len(FEATURES))  # type: ignore[attr-defined]
            self.range[0] = np.minimum(self.range[0], seen.min(axis=0))
            self.range[1] = np.maximum(self.range[1], seen.max(axis=0))
            if progress is not None:
                progress(min(self.num_timesteps, steps), steps)

    return Watcher()


def network_of(model: "MaskablePPO") -> Network:
    """Return the actor of a trained model as plain arrays."""
    parts = model.policy.state_dict()
    names = sorted(
        (name for name in parts if name.startswith("mlp_extractor.policy_net")),
        key=lambda name: int(name.split(".")[2]),
    )
    names += ["action_net.weight", "action_net.bias"]
    weights = tuple(_array(parts[name]) for name in names if name.endswith("weight"))
    biases = tuple(_array(parts[name]) for name in names if name.endswith("bias"))
    return Network(weights, biases)


def _array(tensor: Any) -> Floats:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float64)
