"""Train a policy offline with MaskablePPO and export it as plain arrays; nothing runs from here.

Stable-Baselines3 trains, numpy decides. What is needed to go on training is kept beside the policy
as tensors and numbers, and read back as such: no pickle is ever loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from core.choice import Choice
from core.errors import InputError
from remediation.learning.families import FAMILIES, TRAIN
from remediation.policies.features import FEATURES
from remediation.policies.trained import FORMAT, MEANING, Trained, Training, save

if TYPE_CHECKING:
    from remediation.learning.learner import Learner


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One training run. The same settings give the same policy on the same machine.

    minutes: it ends then, whatever ``steps``; its end then depends on the machine's speed
    rollout: decisions a lane before each update; batch: decisions a gradient step
    learning_rate, entropy: at the beginning; both fall in a line, to a twentieth
    tau_hours: what is lost so much later weighs 1/e: long enough for a repair to be felt
    gae:     weight of what is seen to follow against what is expected to, a decision
    window_hours: of a bandit, what is lost until then is all that counts
    labelled: situations of which every open choice is tried in a copy of the life, before the steps
      begin, and at most half as many as these; in so many rounds, each by what the last one taught
    ahead_hours: how long each copy lives on
    checked: clusters that it is not taught on, in which each network on the way is looked at; the
      best of them is what the training comes to
    """

    steps: int = 4_000_000
    minutes: float | None = None
    seed: int = 1
    lanes: int = 64
    rollout: int = 256
    batch: int = 2048
    epochs: int = 4
    learning_rate: float = 1e-4
    entropy: float = 0.002
    layers: tuple[int, ...] = (64, 64)
    tau_hours: float = 12.0
    gae: float = 0.97
    bandit: bool = False
    window_hours: float = 2.0
    labelled: int = 384_000
    rounds: int = 12
    ahead_hours: float = 6.0
    checked: int = 128
    families: tuple[str, ...] = (TRAIN,)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lanes < 1 or not (self.minutes is None or self.minutes > 0):
            raise InputError(
                f"training for {self.steps} steps in {self.lanes} lanes and {self.minutes} "
                "minutes: each must be above 0."
            )
        if len(self.layers) != 2:
            raise InputError(f"training with layers {self.layers}: there must be two hidden ones.")
        for name in self.families:
            if name not in FAMILIES:
                raise InputError(f"no family {name!r}; there are {', '.join(FAMILIES)}.")


@dataclass(frozen=True, slots=True)
class Report:
    """How far a training is. share: of its steps or minutes; lost: of GPU time, in this rollout."""

    steps: int
    share: float
    lost: float


Progress = Callable[[Report], None]


def train(
    settings: TrainSettings,
    path: Path,
    *,
    resume: Path | None = None,
    tensorboard: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train, write the policy to ``path`` and return it.

    What is needed to go on is kept in ``path`` with the ending ``.state``, every few minutes and at
    the end; ``resume`` names such a file. InputError where the training extra is not installed, the
    settings leave nothing to learn from, or what is to be resumed was begun with others.
    """
    try:
        from remediation.learning.learner import Learner  # noqa: PLC0415 - 3 s and 220 MiB: only to train
    except ImportError as error:
        raise InputError(
            f"training a policy: {error}. Install gpumedic with its train extra: gpumedic[train]."
        ) from error
    learner = Learner(settings, state=path.with_suffix(".state"), tensorboard=tensorboard)
    if resume is not None:
        learner.resume(resume)
    else:
        learner.study(progress)
    learner.learn(progress)
    learner.take_best()
    trained = Trained(learner.network(), learner.known(), _training(settings, learner))
    save(path, trained)
    return trained


def _training(settings: TrainSettings, learner: "Learner") -> Training:
    return Training(
        format=FORMAT,
        version=f"{'bandit' if settings.bandit else 'rl'}-{settings.seed}",
        learned="bandit" if settings.bandit else "decisions",
        seed=settings.seed,
        steps=learner.steps,
        hours=learner.hours,
        families=settings.families,
        settings=repr(settings),
        made_with=" ".join(
            f"{name} {version(name)}" for name in ("stable-baselines3", "sb3-contrib", "torch")
        ),
        features=FEATURES,
        choices=tuple(choice.name for choice in Choice),
        meaning=MEANING,
    )
