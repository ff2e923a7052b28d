"""A trained policy as plain arrays: loaded without pickle, evaluated in numpy, never without rules.

Training exports one ``.npz`` file: the layers' weights and, as JSON text, where they come from.
"""

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core import choice as menu
from core.cluster import ClusterState
from core.errors import InputError
from core.types import Diagnosis, Floats, Incident
from remediation.choices import FEATURES, Bools, Choice, candidates, features, mask, plan_of
from remediation.policy import Decision, Past, Policy

FORMAT = 1
_MOST_OUTSIDE = 0.1  # a feature this far beyond what training saw is not extrapolated


@dataclass(frozen=True, slots=True)
class Training:
    """Where a policy comes from; written beside its weights.

    low, high: smallest and largest value of each feature that training saw
    """

    format: int
    version: str
    seed: int
    steps: int
    scenario: str
    made_with: str
    features: tuple[str, ...]
    choices: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A perceptron: tanh layers and a linear one. weights: (out, in) each; biases: (out,) each."""

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    def scores(self, seen: Floats) -> Floats:
        """Return (len(Choice),) one unnormalised log probability a choice."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            seen = np.tanh(weight @ seen + bias)
        return np.asarray(self.weights[-1] @ seen + self.biases[-1])

    def best(self, seen: Floats, allowed: Bools) -> Choice:
        """Return the allowed choice with the highest score."""
        return Choice(int(np.where(allowed, self.scores(seen), -np.inf).argmax()))


class LearnedPolicy:
    """Chooses among the plans that can be carried out; leaves what it never saw to ``fallback``."""

    name = "learned"

    def __init__(self, network: Network, training: Training, *, fallback: Policy) -> None:
        self.version = training.version
        self.training = training
        self._network = network
        self._fallback = fallback
        self._low = np.array(training.low) - _MOST_OUTSIDE
        self._high = np.array(training.high) + _MOST_OUTSIDE

    def decide(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
        past: Past,
    ) -> Decision:
        """Return the chosen plan, none for waiting; the fallback's where this was never trained."""
        seen = features(incident, diagnosis, state, now_s=now_s)
        if not diagnosis.causes or (seen < self._low).any() or (seen > self._high).any():
            return self._fallback.decide(
                incident, diagnosis, state, now_s=now_s, plan_id=plan_id, past=past
            )
        offered = candidates(incident, diagnosis, state, plan_id=plan_id)
        choice = self._network.best(seen, mask(offered))
        plan = plan_of(
            choice,
            offered[choice],
            incident=incident,
            diagnosis=diagnosis,
            state=state,
            now_s=now_s,
            plan_id=plan_id,
            policy=(self.name, self.version),
        )
        return Decision(menu.Choice[choice.name], plan)


def save(path: Path, network: Network, training: Training) -> None:
    """Write a policy file; an existing one is replaced whole or not at all."""
    arrays = {f"weight_{k}": weight for k, weight in enumerate(network.weights)}
    arrays |= {f"bias_{k}": bias for k, bias in enumerate(network.biases)}
    arrays["training"] = np.array(json.dumps(asdict(training)))
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    part.replace(path)


def load(path: Path) -> tuple[Network, Training]:
    """Read a policy file; InputError says why it cannot be used. Nothing in it is ever executed."""
    try:
        with np.load(path, allow_pickle=False) as file:
            training = _training(json.loads(str(file["training"])))
            count = sum(name.startswith("weight_") for name in file.files)
            weights = tuple(file[f"weight_{k}"].astype(np.float64) for k in range(count))
            biases = tuple(file[f"bias_{k}"].astype(np.float64) for k in range(count))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"reading policy {path}: {error}. It must be a file that `gpumedic train` wrote."
        ) from error
    network = Network(weights, biases)
    if obstacle := _unusable(network, training):
        raise InputError(f"reading policy {path}: {obstacle}; train it again with this version.")
    return network, training


def _training(data: dict[str, object]) -> Training:
    lists = {name: tuple(part) for name, part in data.items() if isinstance(part, list)}
    return Training(**{**data, **lists})  # type: ignore[arg-type]


def _unusable(network: Network, training: Training) -> str:
    """Say what does not fit this version of gpumedic, or ""."""
    if training.format != FORMAT:
        return f"its format is {training.format}, and this version reads {FORMAT}"
    if training.features != FEATURES:
        return f"it sees {len(training.features)} features that are not these {len(FEATURES)}"
    if training.choices != tuple(choice.name for choice in Choice):
        return f"it chooses from {', '.join(training.choices)}"
    if not len(training.low) == len(training.high) == len(FEATURES):
        return "the ranges of its features are incomplete"
    return _disjoint(network)


def _disjoint(network: Network) -> str:
    """Say where the layers do not lead from the features to the choices, or ""."""
    size = len(FEATURES)
    for weight, bias in zip(network.weights, network.biases, strict=True):
        if weight.ndim != 2 or weight.shape[1] != size or bias.shape != weight.shape[:1]:
            return f"its layers do not join: {weight.shape} after {size} inputs"
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            return "it has weights that are not finite"
        size = weight.shape[0]
    return "" if size == len(Choice) else f"it ends in {size} choices of {len(Choice)}"
