"""MaskablePPO over many simulated lives, with a discount by time; needs the train extra."""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback

from core.choice import Choice
from core.errors import InputError
from core.types import Floats
from remediation.learning.discount import TimedBuffer, discounted
from remediation.learning.families import FAMILIES
from remediation.learning.fitting import expected_hours, fit_scores, fit_values, sharpen
from remediation.learning.lanes import HealingLanes
from remediation.learning.rollouts import Branches, Labelled, labelled
from remediation.learning.train import Progress, Report, TrainSettings
from remediation.learning.validation import Validation
from remediation.policies.compiled import flat
from remediation.policies.features import SIZE
from remediation.policies.greedy import WEIGHTS
from remediation.policies.trained import MEANING, Known, Network
from remediation.policies.tuned import tuned
from remediation.twin.oracle import Within
from remediation.twin.rolling import Inner

_HOUR_S = 3600.0
_LEAST = 0.05  # of the learning rate and the entropy's weight, at the end
_KEPT = 250_000  # situations, the last ones, by which those unlike them are told
_EVERY = 4  # of those that were met one in so many is kept
_SAVE_S = 300.0
_CHECK = 16  # rollouts from one look at what the network has come to to the next
_STUDIES = 0.85  # share of the minutes after which no further round begins
_STEPS_EACH = 2  # a short training labels one situation in so many steps at most
# Epochs of a network that is taught from nothing: of few labels more, of many fewer.
_MEMBERS, _EPOCHS, _SIGHTS, _EPOCHS_OF_MEAN, _RATE = 4, (4, 16), 800_000, 16, 4e-3
_SHARPER = 5.0  # so that a choice that loses 0.02 h more is taken a third as often


class Learner:
    """One training run: its lanes, its model, and how far it is.

    state: where what is needed to go on is kept; tensorboard: folder for TensorBoard's logs
    """

    def __init__(self, settings: TrainSettings, *, state: Path, tensorboard: Path | None) -> None:
        torch.set_num_threads(1)  # two were 3 to 47 times slower for networks of this size
        self.settings = settings
        self.share = 0.0  # of the training that is done
        self.low, self.high = np.ones(SIZE), np.zeros(SIZE)
        self.state = state
        self._began_s = time.monotonic()
        self._random = np.random.default_rng(settings.seed)
        self._recent: deque[NDArray[np.float32]] = deque()
        self._hours_before = 0.0
        self._validation = Validation(settings.families, settings.checked)
        self._best: tuple[float, dict[str, torch.Tensor]] | None = None
        self._tensorboard = str(tensorboard) if tensorboard else None
        self._begin(settings.seed)

    @property
    def steps(self) -> int:
        """Return how many decisions it has learnt from."""
        return int(self.model.num_timesteps)

    @property
    def hours(self) -> float:
        """Return how many hours of clusters it has seen."""
        return self._hours_before + self.lanes.hours

    def learn(self, progress: Progress | None) -> None:
        """Learn until the settings' steps or minutes are over."""
        watcher = _Watcher(self, progress)
        left = self.settings.steps - self.steps
        self.model.learn(left, callback=watcher, reset_num_timesteps=False)
        self.save()

    def study(self, progress: Progress | None) -> None:
        """Try every choice in copies of many situations, and learn what each loses.

        The first round's copies go on by the tuned greedy policy, each later one's by what the
        rounds before it taught: each improves on a better policy than the last.
        """
        settings, tried = self.settings, list[Labelled]()
        each = min(settings.labelled, settings.steps // _STEPS_EACH) // settings.rounds
        within = Within(Inner.GREEDY, tuned("greedy", WEIGHTS))
        while each and len(tried) < settings.rounds and self.passed() <= _STUDIES:
            tried.append(self._round(within, each))
            self._fit(tried)
            self.check()
            within = Within(Inner.NETWORK, flat(self.network()))
            if progress is not None:
                lost_share = -tried[-1].rewards.sum() * _HOUR_S / tried[-1].elapsed_s.sum()
                share = max(self.passed(), _STUDIES * len(tried) / settings.rounds)
                progress(Report(0, min(share, _STUDIES), float(lost_share)))
        if not tried:
            return
        last = tried[-1]
        returns = discounted(
            *(last.rewards, last.elapsed_s, last.goes_on), tau_s=settings.tau_hours * _HOUR_S
        )
        walked = last.walked.reshape(-1, SIZE)
        fit_values(self.model.policy, walked, returns.ravel(), epochs=_EPOCHS_OF_MEAN, rate=_RATE)
        sharpen(self.model.policy, _SHARPER)

    def _fit(self, tried: Sequence[Labelled]) -> None:
        """Teach the model what the labels say: the mean of several networks taught from nothing.

        What one of them has wrong is luck, and most of it is gone in their mean, which one network
        can learn well as it holds no chance. Going on from the last round's network
        was worse on lives apart than beginning from nothing.
        """
        seen, is_open, lost = (
            np.concatenate([getattr(part, name) for part in tried])
            for name in ("seen", "open", "lost")
        )
        told, (least, most) = np.zeros(lost.shape), _EPOCHS
        epochs = min(max(_SIGHTS // len(seen), least), most)
        for _ in range(_MEMBERS):
            member = _untaught(self.settings.layers)
            fit_scores(member, seen, is_open, lost, epochs=epochs, rate=_RATE)
            told += expected_hours(member, seen) / _MEMBERS
        whole = _untaught(self.settings.layers)
        fit_scores(whole, seen, is_open, told, epochs=_EPOCHS_OF_MEAN, rate=_RATE)
        self.model.policy.load_state_dict(whole.state_dict())

    def _round(self, within: Within, count: int) -> Labelled:
        """Label so many situations; their copies, and the walk to them, go on by a policy."""
        settings, hours = self.settings, self.settings.ahead_hours
        branches = Branches(
            within, settings.window_hours if settings.bandit else hours, owing=not settings.bandit
        )
        found = labelled(self.lanes, branches, count, random=self._random)
        self.take(found.walked.reshape(-1, SIZE))
        return found

    def network(self) -> Network:
        """Return the actor as plain arrays."""
        return network_of(self.model)

    def known(self) -> Known:
        """Return what was seen: the ranges of all, the spread of the last ones."""
        seen = np.concatenate(self._recent).astype(np.float64)
        return Known.of(seen, low=self.low, high=self.high)

    def check(self) -> float:
        """Look at the network on lives apart, keep it if it is the best so far; return its loss.

        The loss is a share of what jobs asked for.
        """
        lost = self._validation.lost(Within(Inner.NETWORK, flat(self.network())))
        if self._best is None or lost < self._best[0]:
            parts = self.model.policy.state_dict()
            self._best = (lost, {name: part.clone() for name, part in parts.items()})
        return lost

    def take_best(self) -> None:
        """Go back to the best network that was looked at; the state that is kept is the last."""
        self.check()
        if self._best is not None:
            self.model.policy.load_state_dict(self._best[1])

    def save(self) -> None:
        """Keep what is needed to go on."""
        kept = {
            "settings": _comparable(self.settings),
            "meaning": MEANING,
            "steps": self.steps,
            "hours": self.hours,
            "low": torch.as_tensor(self.low),
            "high": torch.as_tensor(self.high),
            "policy": self.model.policy.state_dict(),
            "optimizer": self.model.policy.optimizer.state_dict(),
        }
        part = self.state.with_suffix(".part")
        torch.save(kept, part)
        part.replace(self.state)

    def resume(self, path: Path) -> None:
        """Go on from a state that was kept; the lives are others than without a pause."""
        try:
            kept = torch.load(path, weights_only=True)
            begun, steps = kept["settings"], int(kept["steps"])
        except (OSError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
            raise InputError(
                f"resuming {path}: {error}. It must be a file that `gpumedic train` kept (.state)."
            ) from error
        if (meaning := kept.get("meaning", 1)) != MEANING:  # not written down before the second
            raise InputError(
                f"resuming {path}: it was begun where facts and choices had meaning {meaning}, and "
                f"in this version they have meaning {MEANING}; begin anew."
            )
        if begun != _comparable(self.settings):
            raise InputError(
                f"resuming {path}: it was begun with other settings, {begun}; go on with the same."
            )
        if steps >= self.settings.steps:
            raise InputError(
                f"resuming {path}: it has had {steps} steps of {self.settings.steps}; ask for more."
            )
        self._begin(self.settings.seed + steps)
        self.model.policy.load_state_dict(kept["policy"])
        self.model.policy.optimizer.load_state_dict(kept["optimizer"])
        self.model.num_timesteps = steps
        self._hours_before = float(kept["hours"])
        self.low, self.high = kept["low"].numpy(), kept["high"].numpy()
        self.check()

    def take(self, seen: NDArray[np.float32]) -> None:
        """Note what a rollout saw, (situations, SIZE)."""
        self.low = np.minimum(self.low, seen.min(axis=0))
        self.high = np.maximum(self.high, seen.max(axis=0))
        self._recent.append(seen[::_EVERY].copy())
        while sum(map(len, self._recent)) > _KEPT and len(self._recent) > 1:
            self._recent.popleft()

    def _begin(self, seed: int) -> None:
        """Make lanes and a model that has learnt nothing."""
        settings = self.settings
        families = [
            FAMILIES[settings.families[k % len(settings.families)]] for k in range(settings.lanes)
        ]
        self.lanes = HealingLanes(families, seed=seed)
        self.model = MaskablePPO(
            "MlpPolicy",
            self.lanes,
            n_steps=settings.rollout,
            batch_size=min(settings.batch, settings.rollout * settings.lanes),
            n_epochs=settings.epochs,
            learning_rate=lambda _: settings.learning_rate * self.left(),
            gamma=1.0,  # not used: the buffer discounts, and no life is cut short
            gae_lambda=settings.gae,
            ent_coef=settings.entropy,
            policy_kwargs={"net_arch": list(settings.layers)},
            rollout_buffer_class=TimedBuffer,
            rollout_buffer_kwargs={
                "elapsed_s": lambda: self.lanes.elapsed_s,
                "tau_s": settings.tau_hours * _HOUR_S,
                "window_s": settings.window_hours * _HOUR_S if settings.bandit else None,
            },
            tensorboard_log=self._tensorboard,
            seed=seed,
            device="cpu",
        )

    def passed(self) -> float:
        """Return the share of the settings' minutes that is over; 0 where there is no bound."""
        if self.settings.minutes is None:
            return 0.0
        return (time.monotonic() - self._began_s) / (60.0 * self.settings.minutes)

    def left(self) -> float:
        """Return the share of the training that is still to come, or what is least."""
        return max(1.0 - self.share, _LEAST)


class _Watcher(BaseCallback):
    """Looks at every rollout: what was seen, how far it is, whether the time is over."""

    def __init__(self, learner: Learner, progress: Progress | None) -> None:
        super().__init__()
        self._learner, self._progress = learner, progress
        self._saved_s = time.monotonic()
        self._rollouts = 0

    def _on_step(self) -> bool:
        return self._learner.share < 1.0

    def _on_rollout_end(self) -> None:
        learner, settings = self._learner, self._learner.settings
        buffer: Any = learner.model.rollout_buffer
        learner.take(buffer.observations.reshape(-1, SIZE))
        hours = buffer.elapsed_s.sum() / _HOUR_S
        lost = -float(buffer.rewards.sum()) / max(hours, 1e-9)
        now_s = time.monotonic()
        learner.share = max(learner.steps / settings.steps, learner.passed())
        learner.model.ent_coef = settings.entropy * learner.left()
        self._rollouts += 1
        if self._rollouts % _CHECK == 0:
            self.logger.record("life/share_lost_apart", learner.check())
        self.logger.record("life/share_lost", lost)
        self.logger.record("life/hours", learner.hours)
        if self._progress is not None:
            told = _STUDIES + (1.0 - _STUDIES) * learner.steps / settings.steps
            share = min(max(told, learner.passed()), 1.0)
            self._progress(Report(learner.steps, share, lost))
        if now_s - self._saved_s > _SAVE_S:
            self._saved_s = now_s
            learner.save()


def network_of(model: MaskablePPO) -> Network:
    """Return the actor of a trained model as plain arrays."""
    parts = model.policy.state_dict()
    arrays = [_array(parts[name]) for name in _names(parts)]
    return Network(tuple(arrays[0::2]), tuple(arrays[1::2]))


def torch_choices(
    network: Network, seen: NDArray[np.float32], masks: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return (situations,) what sb3-contrib's own policy chooses with these weights.

    In double precision, as in numpy: in single, two choices that it holds for all but equally good
    (one decision in 50,000) may change places. seen: (situations, SIZE); masks: (situations,
    len(Choice))
    """
    torch.set_num_threads(1)
    policy = _untaught([len(bias) for bias in network.biases[:-1]])
    parts = policy.state_dict()
    for name, array in zip(_names(parts), _in_turn(network), strict=True):
        parts[name] = torch.as_tensor(array)
    policy.double().load_state_dict(parts)
    with torch.no_grad():
        latent = policy.mlp_extractor.forward_actor(torch.as_tensor(seen, dtype=torch.float64))
        preferred = policy.action_dist.proba_distribution(policy.action_net(latent))
        preferred.apply_masking(masks)
        return np.asarray(preferred.mode(), dtype=np.int64)


def _untaught(layers: Sequence[int]) -> MaskableActorCriticPolicy:
    return MaskableActorCriticPolicy(
        spaces.Box(0.0, 1.0, (SIZE,), np.float32),
        spaces.Discrete(len(Choice)),
        lambda _: 0.0,
        net_arch=[*layers],
    )


def _names(parts: Mapping[str, Any]) -> list[str]:
    """Return the names of the actor's tensors, weight and bias of one layer after the other."""
    hidden = [name for name in parts if name.startswith("mlp_extractor.policy_net")]
    hidden.sort(key=lambda name: (int(name.split(".")[2]), name.endswith("bias")))
    return [*hidden, "action_net.weight", "action_net.bias"]


def _in_turn(network: Network) -> list[Floats]:
    pairs = zip(network.weights, network.biases, strict=True)
    return [part for pair in pairs for part in pair]


def _comparable(settings: TrainSettings) -> str:
    """Return all of the settings but how long."""
    told = asdict(settings)
    del told["steps"], told["minutes"]
    return json.dumps(told)


def _array(tensor: Any) -> Floats:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float64)
