"""All policies at the speed of the engine: the hand-written ones and the trained network.

In life they run interpreted, without the simulator; inside roll-outs and searches they are called
some hundred thousand times.
"""

import math
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from core.choice import Choice
from core.types import Floats
from remediation.policies import greedy, rulebook
from remediation.policies.features import SIZE, fill
from remediation.policies.trained import BEYOND, Known, Network
from sim.engine.jit import compiled, compiled_with_arrays
from sim.engine.tables import Array

_HEAD = 3  # numbers before the weights: the two layers' sizes, and whether what is known follows


def compiled_together(
    functions: Sequence[Callable[..., Any]], *, arrays: bool = False
) -> Callable[..., Any]:
    """Return the last of a module's functions compiled; each may call those before it.

    arrays: whether they make arrays
    """
    compile = compiled_with_arrays if arrays else compiled
    made: dict[str, Any] = {}
    for function in functions:
        code, names = function.__code__, {**function.__globals__, **made}
        bound = FunctionType(code, names, function.__name__)
        bound.__annotations__ = function.__annotations__
        made[function.__name__] = compile(bound)
    last: Callable[..., Any] = made[functions[-1].__name__]
    return last


recommend: Callable[..., int] = compiled_together(rulebook.PARTS)
choose_greedily: Callable[..., int] = compiled_together(greedy.PARTS, arrays=True)
fill_features: Callable[..., None] = compiled(fill)


def flat(network: Network, known: Known | None = None, *, fallback: Floats | None = None) -> Floats:
    """Return what ``choose_by_network`` goes by; the network must have two hidden layers.

    known, fallback: what is unlike the training is left to a runbook with these knobs
    """
    parts: list[Floats] = [
        np.array([*map(len, network.biases[:2]), known is not None], dtype=float)
    ]
    for weight, bias in zip(network.weights, network.biases, strict=True):
        parts += [weight.T.ravel(), bias]
    if known is not None and fallback is not None:
        parts += [known.low, known.high, known.mean, known.inverse.ravel()]
        parts += [np.array([known.most]), fallback]
    return np.concatenate(parts)


@compiled_with_arrays
def _added(weights: Array, given: Array, out: Array) -> None:
    """Add ``given @ weights`` to ``out``; weights: flat, (in, out): an even inner loop."""
    size = len(out)
    for which in range(len(given)):
        value, row = given[which], weights[which * size : (which + 1) * size]
        for to in range(size):
            out[to] += value * row[to]


@compiled_with_arrays
def _layer(numbers: Array, given: Array, out: Array) -> Array:
    """Write what the layer at the beginning makes of what it is given; return what follows it."""
    end = len(given) * len(out)
    out[:] = numbers[end : end + len(out)]
    _added(numbers[:end], given, out)
    return numbers[end + len(out) :]


@compiled_with_arrays
def _is_like_training(numbers: Array, seen: Array) -> bool:
    """Say what ``Known.holds`` does, of what stands at the beginning."""
    low, high, mean = numbers[:SIZE], numbers[SIZE : 2 * SIZE], numbers[2 * SIZE : 3 * SIZE]
    for at in range(SIZE):
        if seen[at] < low[at] - BEYOND or seen[at] > high[at] + BEYOND:
            return False
    off, turned, total = seen - mean, np.zeros(SIZE), 0.0
    _added(numbers[3 * SIZE :], off, turned)
    for at in range(SIZE):
        total += off[at] * turned[at]
    return bool(total <= numbers[3 * SIZE + SIZE * SIZE])


@compiled_with_arrays
def choose_by_network(facts: Array, opened: Array, numbers: Array) -> int:
    """Return what a trained network chooses, as ``LearnedChooser``; numbers: by ``flat``."""
    seen, scores = np.empty(SIZE), np.empty(len(opened))
    hidden, deeper = np.empty(int(numbers[0])), np.empty(int(numbers[1]))
    fill_features(facts, opened, seen)
    rest = _layer(numbers[_HEAD:], seen, hidden)
    for at in range(len(hidden)):
        hidden[at] = math.tanh(hidden[at])
    rest = _layer(rest, hidden, deeper)
    for at in range(len(deeper)):
        deeper[at] = math.tanh(deeper[at])
    rest = _layer(rest, deeper, scores)
    if numbers[2] > 0 and not _is_like_training(rest, seen):
        return int(recommend(facts, opened, rest[3 * SIZE + SIZE * SIZE + 1 :]))
    best, most = Choice.WAIT.value, -math.inf
    for choice in range(len(opened)):
        if opened[choice] and scores[choice] > most:
            best, most = choice, scores[choice]
    return int(best)
