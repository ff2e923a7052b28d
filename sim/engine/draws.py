"""Random numbers by address: the same (seed, purpose, entity, index) is the same number, always.

Nothing here has a state that a draw moves on, so what one part draws never shifts what another
gets: the same faults hit every policy, a fork repeats nothing, and any moment can be made again
alone. The generator is Philox 4x32-10 (Salmon et al., SC'11): the seed is its key, the rest of the
address its counter.
"""

import math

import numpy as np

from sim.engine.jit import compiled

_LOW = np.uint64(0xFFFFFFFF)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_32 = np.uint64(32)
_ROUNDS = 10
_GAMMA_TRIES = 64

Word = np.uint64
Block = tuple[Word, Word, Word, Word]


@compiled
def philox(key0: Word, key1: Word, a: Word, b: Word, c: Word, d: Word) -> Block:
    """Return one block: four 32-bit words for a key of two words and a counter of four."""
    for _ in range(_ROUNDS):
        left, right = _M0 * a, _M1 * c
        a = (right >> _32) ^ b ^ key0
        c = (left >> _32) ^ d ^ key1
        b, d = right & _LOW, left & _LOW
        key0, key1 = (key0 + _W0) & _LOW, (key1 + _W1) & _LOW
    return a, b, c, d


@compiled
def uniforms(seed: int, purpose: int, entity: int, index: int) -> tuple[float, float]:
    """Return the two numbers in (0, 1) of an address, 52 bits each and never 0 or 1."""
    key, who, number = np.uint64(seed), np.uint64(entity), np.uint64(index)
    a, b, c, d = philox(
        key & _LOW,
        key >> _32,
        who & _LOW,
        ((who >> _32) << np.uint64(8)) ^ np.uint64(purpose),
        number & _LOW,
        number >> _32,
    )
    first = (a << np.uint64(20)) ^ (b >> np.uint64(12))
    second = (c << np.uint64(20)) ^ (d >> np.uint64(12))
    return (float(first) + 0.5) * 2.0**-52, (float(second) + 0.5) * 2.0**-52


@compiled
def uniform(seed: int, purpose: int, entity: int, index: int) -> float:
    """Return a number in (0, 1)."""
    return uniforms(seed, purpose, entity, index)[0]


@compiled
def between(seed: int, purpose: int, entity: int, index: int, low: float, high: float) -> float:
    """Return a number in (low, high), any as likely."""
    return low + (high - low) * uniform(seed, purpose, entity, index)


@compiled
def exponential(seed: int, purpose: int, entity: int, index: int) -> float:
    """Return an exponential number of mean 1."""
    return -math.log(uniform(seed, purpose, entity, index))


@compiled
def normal(seed: int, purpose: int, entity: int, index: int) -> float:
    """Return a normal number of mean 0 and deviation 1 (Box and Muller, 1958)."""
    first, second = uniforms(seed, purpose, entity, index)
    return math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)


@compiled
def lognormal(seed: int, purpose: int, entity: int, index: int, mu: float, sigma: float) -> float:
    """Return exp of a normal number of mean ``mu`` and deviation ``sigma``."""
    return math.exp(mu + sigma * normal(seed, purpose, entity, index))


@compiled
def gamma(seed: int, purpose: int, entity: int, index: int, shape: float) -> float:
    """Return a gamma number of mean ``shape`` and scale 1 (Marsaglia and Tsang, 2000).

    Tries are the addresses ``index``, ``index + 1``, ...: leave 128 free behind it.
    """
    boost = 1.0
    if shape < 1.0:
        boost = uniform(seed, purpose, entity, index + 2 * _GAMMA_TRIES) ** (1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    for turn in range(_GAMMA_TRIES):
        x = normal(seed, purpose, entity, index + 2 * turn)
        v = (1.0 + c * x) ** 3
        if v > 0.0:
            u = uniform(seed, purpose, entity, index + 2 * turn + 1)
            if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
                return d * v * boost
    return d * boost
