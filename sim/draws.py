"""Random numbers by address: the same (seed, entity, purpose, index) is the same number, always.

Nothing here has a state that a draw moves on, so what one part draws never shifts what another
gets: the same faults hit every policy, a fork repeats nothing, and any reading of the past can be
made again alone. Events use numpy's Philox with the address as key and counter (Salmon et al.,
SC'11); series use a vectorised 64-bit finaliser (Steele et al., splitmix, OOPSLA'14), because a
window needs one number at each of S x T addresses.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LANES = 4  # 16-bit uniforms summed to one normal: bounded at 3.46 sigma, which sensors are too
_LANE_MEAN = 65535 / 2
_LANE_VARIANCE = (65536**2 - 1) / 12


class Purpose(IntEnum):
    """What a number is for. A new purpose goes to the end: the values are part of every seed."""

    SHAPE = 1
    ARRIVAL = 2
    FAULT = 3
    RESTART = 4
    REBOOT = 5
    DROPOUT = 6
    READING = 7
    DETECTION = 8
    REPAIR = 9


def generator(seed: int, *, entity: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Return the generator of one address; its first draws are that address' numbers."""
    key = np.array([seed % 2**64, int(purpose)], dtype=np.uint64)
    counter = np.array([0, 0, entity, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def uniform(seed: int, *, purpose: Purpose, stream: int, entity: Ints, tick: Ints) -> Floats:
    """Return (S, T) uniforms in [0, 1), one for each entity (S,) at each tick (T,)."""
    bits = _bits(seed, purpose=purpose, stream=stream, entity=entity, tick=tick)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seed: int, *, purpose: Purpose, stream: int, entity: Ints, tick: Ints) -> Floats:
    """Return (S, T) numbers of mean 0 and deviation 1, near normal, never beyond 3.47."""
    bits = _bits(seed, purpose=purpose, stream=stream, entity=entity, tick=tick)
    total = np.zeros(bits.shape)
    for lane in range(_LANES):
        total += (bits >> np.uint64(16 * lane)) & np.uint64(0xFFFF)
    scaled: Floats = (total - _LANES * _LANE_MEAN) / np.sqrt(_LANES * _LANE_VARIANCE)
    return scaled


def _bits(
    seed: int, *, purpose: Purpose, stream: int, entity: Ints, tick: Ints
) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        root = _mix(np.array([seed % 2**64], dtype=np.uint64) + np.uint64(purpose) * _GOLDEN)
        root = _mix(root + np.uint64(stream) * _GOLDEN)
        row = _mix(root + entity.astype(np.uint64) * _GOLDEN)
        return _mix(row[:, None] + tick.astype(np.uint64)[None, :] * _GOLDEN)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))
