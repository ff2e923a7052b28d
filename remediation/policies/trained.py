"""A trained policy as a file of plain arrays: loaded without pickle, evaluated in numpy.

Training writes one ``.npz``: the layers' weights, what the training saw of each feature, as JSON
text where it all comes from, and a checksum over everything else.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from core.choice import Choice
from core.errors import InputError
from core.situation import Bools
from core.types import Floats
from remediation.policies.features import FEATURES, SIZE

FORMAT = 2
# What facts, features and choices stand for. Raise it where one of them comes to mean something
# else under the same name: what was learned before no longer fits and is refused.
# tests/test_policy_meaning.py notices changes of what says so.
MEANING = 1
BEYOND = 0.05  # a feature this far outside what training saw is not extrapolated
_CHOICES = tuple(Choice)
_RIDGE = BEYOND**2  # variance added to each feature's: no way off is known closer than that
_COMMON = 0.999  # share of the training's situations that lie within the distance
_MARGIN = 1.5  # on that distance: lives that training would have met, but did not, lie beyond it
# What is raised where a file is no archive of arrays, is cut off, or holds something else.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError),
    zipfile.BadZipFile,
)


@dataclass(frozen=True, slots=True)
class Training:
    """Where a policy comes from; written beside its weights.

    learned:  "decisions" with the future they lead to, or "bandit": only what follows shortly
    families: of clusters whose lives it was taught on; hours: of simulated cluster time
    meaning:  of facts, features and choices when it was taught; files from before it was written
        down are of the first
    """

    format: int
    version: str
    learned: str
    seed: int
    steps: int
    hours: float
    families: tuple[str, ...]
    settings: str
    made_with: str
    features: tuple[str, ...]
    choices: tuple[str, ...]
    meaning: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A perceptron: tanh layers and a linear one. weights: (out, in) each; biases: (out,) each."""

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    def scores(self, seen: Floats) -> Floats:
        """Return (len(Choice),) one unnormalised log probability a choice."""
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            seen = weight.dot(seen)
            seen += bias
            np.tanh(seen, out=seen)
        return np.asarray(self.weights[-1].dot(seen) + self.biases[-1])

    def best(self, seen: Floats, allowed: Bools) -> Choice:
        """Return the allowed choice with the highest score."""
        scores = self.scores(seen)
        scores[~allowed] = -np.inf
        return _CHOICES[scores.argmax()]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What training saw: what lies far from it is not the policy's to decide.

    low, high, mean: (SIZE,) of each feature; inverse: (SIZE, SIZE) of their covariance
    farthest: squared Mahalanobis distance from the mean that 99.9 % of its situations kept within
    """

    low: Floats
    high: Floats
    mean: Floats
    inverse: Floats
    farthest: float
    _middle: Floats = field(init=False, repr=False)
    _reach: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_middle", (self.low + self.high) / 2)
        object.__setattr__(self, "_reach", (self.high - self.low) / 2 + BEYOND)

    @classmethod
    def of(cls, seen: Floats, *, low: Floats, high: Floats) -> "Known":
        """Return what is known after ``seen`` (situations, SIZE), in ranges of more than these."""
        mean = seen.mean(axis=0)
        off = seen - mean
        inverse = np.linalg.inv(off.T @ off / len(seen) + _RIDGE * np.eye(seen.shape[1]))
        distance = np.einsum("ij,jk,ik->i", off, inverse, off, optimize=True)
        farthest = float(np.quantile(distance, _COMMON))
        return cls(low, high, mean, inverse, farthest)

    @property
    def most(self) -> float:
        """Return the squared distance up to which a situation is like those of the training."""
        return _MARGIN**2 * self.farthest

    def holds(self, seen: Floats) -> bool:
        """Say whether a situation is like those of the training.

        It is not where a feature lies 0.05 or more outside its range, or where its features are so
        seldom together that its distance is more than 1.5 times the 99.9 % quantile.
        """
        outside = np.abs(seen - self._middle) > self._reach
        if outside.any():
            return False
        off = seen - self.mean
        return bool(self.inverse.dot(off).dot(off) <= self.most)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """All that a policy file holds."""

    network: Network
    known: Known
    training: Training


def save(path: Path, trained: Trained) -> None:
    """Write a policy file; an existing one is replaced whole or not at all."""
    arrays = _arrays(trained)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **arrays, checksum=np.array(_checksum(arrays)))
    part.replace(path)


def load(path: Path) -> Trained:
    """Read a policy file; InputError says why it cannot be used. Nothing in it is ever executed."""
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):  # else numpy's own advice is to load it unsafely
                raise zipfile.BadZipFile("it is no archive of arrays, or is cut off")
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        said = str(arrays.pop("checksum"))
        told = json.loads(str(arrays["training"]))
        if (form := told.get("format")) != FORMAT:  # another one may have other fields
            raise InputError(
                f"reading policy {path}: its format is {form}, and this version reads {FORMAT}; "
                "train it again with this version."
            )
        training = _training(told)
        if obstacle := _of_another_version(training):
            raise InputError(
                f"reading policy {path}: {obstacle}; train it again with this version."
            )
        if said != _checksum(arrays):
            raise InputError(
                f"reading policy {path}: it was altered after it was written: its content does not "
                "have the checksum in it. Take the file as `gpumedic train` wrote it."
            )
        trained = _trained(arrays, training)
    except _UNREADABLE as error:
        lacks = isinstance(error, KeyError)
        why = f"no {error} is in it" if lacks else getattr(error, "strerror", None) or error
        raise InputError(
            f"reading policy {path}: {why}. It must be a file that `gpumedic train` wrote, whole."
        ) from error
    if obstacle := _disjoint(trained):
        raise InputError(f"reading policy {path}: {obstacle}; train it again with this version.")
    return trained


def _arrays(trained: Trained) -> dict[str, Any]:
    network, known = trained.network, trained.known
    arrays: dict[str, Any] = {f"weight_{k}": part for k, part in enumerate(network.weights)}
    arrays |= {f"bias_{k}": part for k, part in enumerate(network.biases)}
    kept = [each.name for each in fields(Known) if each.init]
    arrays |= {f"known_{name}": np.asarray(getattr(known, name)) for name in kept}
    return arrays | {"training": np.array(json.dumps(asdict(trained.training)))}


def _checksum(arrays: Mapping[str, Any]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        part = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {part.dtype.str} {part.shape} ".encode() + part.tobytes())
    return total.hexdigest()


def _trained(arrays: Mapping[str, Any], training: Training) -> Trained:
    count = sum(name.startswith("weight_") for name in arrays)
    weights = tuple(arrays[f"weight_{k}"].astype(np.float64) for k in range(count))
    biases = tuple(arrays[f"bias_{k}"].astype(np.float64) for k in range(count))
    parts = {name: arrays[f"known_{name}"] for name in ("low", "high", "mean", "inverse")}
    known = Known(**parts, farthest=float(arrays["known_farthest"]))
    return Trained(Network(weights, biases), known, training)


def _training(data: dict[str, object]) -> Training:
    lists = {name: tuple(part) for name, part in data.items() if isinstance(part, list)}
    return Training(**{**data, **lists})  # type: ignore[arg-type]


def _of_another_version(training: Training) -> str:
    """Say what does not fit this version of gpumedic, or ""."""
    if training.features != FEATURES:
        return f"it sees {len(training.features)} features that are not these {SIZE}"
    if training.choices != tuple(choice.name for choice in Choice):
        return f"it chooses from {', '.join(training.choices)}"
    if training.meaning != MEANING:
        return (
            f"it was taught where facts and choices had meaning {training.meaning}, and in this "
            f"version they have meaning {MEANING}: under the same names it would see and do "
            "something else"
        )
    return ""


def _disjoint(trained: Trained) -> str:
    """Say where the layers do not lead from the features to the choices, or ""."""
    network, known, size = trained.network, trained.known, SIZE
    for weight, bias in zip(network.weights, network.biases, strict=True):
        if weight.ndim != 2 or weight.shape[1] != size or bias.shape != weight.shape[:1]:
            return f"its layers do not join: {weight.shape} after {size} inputs"
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            return "it has weights that are not finite"
        size = weight.shape[0]
    shapes = {known.low.shape, known.high.shape, known.mean.shape}
    if shapes != {(SIZE,)} or known.inverse.shape != (SIZE, SIZE):
        return "what it saw of each feature is incomplete"
    return "" if size == len(Choice) else f"it ends in {size} choices of {len(Choice)}"
