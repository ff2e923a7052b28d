"""A job's state as a small pickle and a list of tensors: to keep, to send, and to put back.

*Shared* state is alike on all ranks: parameters, optimizer, schedules. *Own* state is a rank's:
random generators, buffers such as running means, samplers.
"""

import pickle
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn import Module
from torch.optim import Optimizer


@dataclass(frozen=True, slots=True)
class Hole:
    """Where a tensor was in a structure that is pickled without its tensors."""

    index: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(slots=True)
class Parts:
    """What a training script registered; ``order`` is that in which gradients became ready."""

    model: Module
    optimizer: Optimizer
    shared: list[Any]
    own: list[Any]
    order: list[int]

    def __post_init__(self) -> None:
        for each in self.own:
            if isinstance(each, Optimizer):
                raise TypeError(
                    f"own= has an optimizer, {type(each).__name__}: what is a rank's own is lost "
                    "with its node, and ranks whose optimizers differ have models that differ. "
                    "Give it in shared=, as each optimizer beside the first."
                )

    @property
    def optimizers(self) -> list[Optimizer]:
        """All of them, the one that has a name first."""
        return [self.optimizer, *(each for each in self.shared if isinstance(each, Optimizer))]

    @property
    def small(self) -> list[Any]:
        """What else all ranks have alike: schedules, scalers."""
        return [each for each in self.shared if not isinstance(each, Optimizer)]


Packed = tuple[bytes, list[Tensor]]


class Sharded(TypeError):
    """Ranks have parts of the model each: a dead rank's part is with no other."""


def whole(wrap: Callable[[Module], Module], model: Module) -> Module:
    """Make the parallel model; Sharded where that leaves each rank with a part of the parameters.

    The optimizer has the parameters of before: it would update nothing.
    """
    name = type(model).__name__
    before = [(each, each.numel()) for each in model.parameters()]
    made = wrap(model)
    after = [*model.parameters()]
    same = len(before) == len(after) and all(
        one is other and one.numel() == size
        for (one, size), other in zip(before, after, strict=True)
    )
    if not same:
        raise Sharded(
            f"wrap= made the parameters of {name} others, as fully_shard and FSDP "
            "do: each rank has a part, and a dead rank's is with nobody. gpumedic_job is for "
            "models that are whole on every rank. Run the script without it, with --max-restarts "
            "and torch.distributed.checkpoint: it is started again in warm processes, and reads "
            "its checkpoint."
        )
    return made


def pack(value: Any) -> Packed:
    """Split into a pickle and tensors on the CPU; the tensors are not copied where they are."""
    tensors: list[Tensor] = []

    def walk(part: Any) -> Any:
        if isinstance(part, Tensor):
            data = part.detach()
            tensors.append(data.cpu().contiguous())
            return Hole(len(tensors) - 1, tuple(data.shape), data.dtype)
        if isinstance(part, dict):
            return {key: walk(each) for key, each in part.items()}
        if isinstance(part, (list, tuple)):
            walked = [walk(each) for each in part]
            return walked if isinstance(part, list) else tuple(walked)
        return part

    return pickle.dumps(walk(value)), tensors


def holes(blob: bytes) -> list[Hole]:
    """Return the tensors that a pickle lacks, in their order."""
    found: list[Hole] = []
    _fill(pickle.loads(blob), found.append)  # written by this package, in this job
    return sorted(found, key=lambda hole: hole.index)


def unpack(packed: Packed) -> Any:
    """Put the tensors back into the structure."""
    blob, tensors = packed
    return _fill(pickle.loads(blob), lambda hole: tensors[hole.index])


def _fill(part: Any, make: Any) -> Any:
    if isinstance(part, Hole):
        return make(part)
    if isinstance(part, dict):
        return {key: _fill(each, make) for key, each in part.items()}
    if isinstance(part, (list, tuple)):
        return type(part)(_fill(each, make) for each in part)
    return part


_PLACE = "gpumedic.tensor"


def named(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split into a structure of plain values and tensors by where they were, such as model.0.bias.

    The tensors are not copied, nor moved.
    """
    tensors: dict[str, Tensor] = {}

    def walk(part: Any, at: str) -> Any:
        if isinstance(part, Tensor):
            tensors[at] = part.detach()
            return {_PLACE: at}
        if isinstance(part, dict):
            return {key: walk(each, f"{at}.{key}".lstrip(".")) for key, each in part.items()}
        if isinstance(part, (list, tuple)):
            walked = [walk(each, f"{at}.{number}") for number, each in enumerate(part)]
            return walked if isinstance(part, list) else tuple(walked)
        return part

    return walk(value, ""), tensors


def unnamed(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """Put the tensors back where ``named`` took them from."""
    if isinstance(structure, dict):
        if structure.keys() == {_PLACE}:
            return tensors[structure[_PLACE]]
        return {key: unnamed(each, tensors) for key, each in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(unnamed(each, tensors) for each in structure)
    return structure


def as_bytes(tensor: Tensor) -> Tensor:
    """View a CPU tensor as its bytes."""
    return tensor.reshape(-1).view(torch.uint8)


def take_shared(parts: Parts) -> Packed:
    """Return what all ranks have alike, and this rank's buffers for one that has lost its own."""
    return pack(
        {
            "parameters": [each.data for each in parts.model.parameters()],
            "buffers": list(parts.model.buffers()),
            "optimizer": parts.optimizer.state_dict(),
            "shared": [each.state_dict() for each in parts.shared],
            "order": list(parts.order),
        }
    )


def put_shared(parts: Parts, packed: Packed) -> None:
    """Make this rank's shared state the one given."""
    state = unpack(packed)
    with torch.no_grad():
        _copy(parts.model.parameters(), state["parameters"])
        _copy(parts.model.buffers(), state["buffers"])
    parts.optimizer.load_state_dict(state["optimizer"])
    _load(parts.shared, state["shared"])
    parts.order[:] = state["order"]


def take_own(parts: Parts) -> Packed:
    """Return what only this rank has, and the small shared things that a failed step may alter.

    What an update alters is not among them: a step whose update began is not redone from here.
    """
    return pack(
        {
            "random": _random_states(),
            "buffers": list(parts.model.buffers()),
            "groups": [_without_parameters(each) for each in _groups(parts)],
            "small": [each.state_dict() for each in parts.small],
            "own": [each.state_dict() for each in parts.own],
        }
    )


def put_own(parts: Parts, packed: Packed) -> None:
    """Make this rank's own state the one given."""
    state = unpack(packed)
    with torch.no_grad():
        _copy(parts.model.buffers(), state["buffers"])
    for group, saved in zip(_groups(parts), state["groups"], strict=True):
        group.update(saved)
    _load([*parts.small, *parts.own], [*state["small"], *state["own"]])
    _put_random_states(state["random"])


def _load(objects: list[Any], states: list[Any]) -> None:
    for each, saved in zip(objects, states, strict=True):
        each.load_state_dict(saved)
        if isinstance(each, GradScaler):
            # Its state does not say which gradients it has unscaled: those of the failed step. It
            # would leave them scaled when they are computed again.
            each._per_optimizer_states.clear()


def _groups(parts: Parts) -> list[dict[str, Any]]:
    return [group for each in parts.optimizers for group in each.param_groups]


def _without_parameters(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def draw_random_states(seed: int) -> None:
    """Start this rank's generators afresh, where their states were lost with a node."""
    torch.manual_seed(seed)
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)


def _copy(to: Iterable[Tensor], values: list[Tensor]) -> None:
    for each, value in zip(to, values, strict=True):
        each.data.copy_(value)


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {"torch": torch.get_rng_state(), "python": random.getstate()}
    if numpy := sys.modules.get("numpy"):
        states["numpy"] = numpy.random.get_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _put_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
