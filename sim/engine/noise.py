"""Noise of sensors by address: one 64-bit hash gives several normal numbers of an entity at a tick.

A reading is asked for in any order and any portion, so a number depends on nothing but its address.
Readings of one sensor resemble each other over minutes: a part of the noise is quick, new at every
tick, the rest wanders between knots five minutes apart. The hash is the finaliser of splitmix
(Steele et al., OOPSLA'14); each of its five 12-bit lanes picks one of 4,096 normal quantiles, so
nothing is beyond 3.7 deviations, which a sensor is not either.
"""

from statistics import NormalDist

import numpy as np

from core.types import Floats, Ints
from sim.engine.jit import compiled

Word = np.uint64

LANES = 5
KNOT_S = 300.0
QUICK, SLOW = 0.6, 0.8  # their squares add up to 1

_BITS = 12
_SIZE = 1 << _BITS
_MASK = np.uint64(_SIZE - 1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_1 = np.uint64(1)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def _quantiles() -> Floats:
    """Return (4096,) normal numbers of mean 0 and deviation 1, each as likely."""
    even = NormalDist()
    raw = np.array([even.inv_cdf((index + 0.5) / _SIZE) for index in range(_SIZE)])
    return np.round(raw / raw.std(), 9)  # the same on every machine


NORMAL: Floats = _quantiles()


@compiled
def mixed(value: Word) -> Word:
    """Return 64 bits each of which depends on all of the value's."""
    value = (value ^ (value >> _30)) * _MIX_1
    value = (value ^ (value >> _27)) * _MIX_2
    return value ^ (value >> _31)


@compiled
def source(seed: int | Word, purpose: int, stream: int, entity: int) -> Word:
    """Return the root of an entity's numbers: ``bits`` of it are new at every tick."""
    root = mixed(np.uint64(seed) + np.uint64(purpose) * _GOLDEN)
    root = mixed(root + np.uint64(stream) * _GOLDEN)
    return mixed(root + np.uint64(entity) * _GOLDEN)


@compiled
def bits(root: Word, tick: int) -> Word:
    """Return the 64 bits of a tick."""
    return mixed(np.uint64(root) + np.uint64(tick) * _GOLDEN)


@compiled
def chance(root: Word, tick: int) -> float:
    """Return a number in [0, 1)."""
    return float(bits(root, tick) >> _11) * 2.0**-53


@compiled
def lane(word: Word, number: int) -> float:
    """Return the normal number of one of a word's lanes, 0 to 4."""
    return float(NORMAL[(word >> np.uint64(_BITS * number)) & _MASK])


@compiled
def fill(root: Word, tick: Ints, scale: float, out: Floats) -> None:
    """Write (lanes, T) normal numbers of deviation ``scale``, the first ``lanes`` of each tick."""
    for at in range(len(tick)):
        word = bits(root, tick[at])
        for number in range(len(out)):
            out[number, at] = scale * lane(word, number)


@compiled
def wander(knots: Floats, left: Ints, share: Floats, out: Floats) -> None:
    """Write (lanes, T) between the (lanes, K) knots: ``share`` of the way from ``left`` on."""
    for number in range(len(out)):
        for at in range(len(left)):
            knot = np.uint64(left[at])
            here = knots[number, knot]
            out[number, at] = here + share[at] * (knots[number, knot + _1] - here)
