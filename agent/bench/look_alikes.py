"""Generated series that look like GPU telemetry: levels, ramps, steps, waves, saw teeth, spikes."""

import numpy as np

from core.types import Floats

DAY_S = 86_400.0
KINDS = ("level", "ramp", "step", "wave", "saw", "walk")
# Spread of what readings scatter by, log-normal: between a memory gauge and a duty cycle.
_NOISE_MEDIAN, _NOISE_SPREAD = 0.02, 1.0
_PERSISTENCE = 0.9
_SPIKES = 0.003  # of the readings


def look_alikes(
    series: int, time_s: Floats, *, seed: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return (series, T) ratios around 0 to 1, each kind in turn, with noise and some spikes."""
    rng = np.random.default_rng(seed)
    length = len(time_s)
    at = np.linspace(0.0, 1.0, length)
    out = np.empty((series, length), dtype=np.float32)
    turn, size = rng.uniform(0.1, 0.9, series), rng.uniform(0.05, 0.5, series)
    size *= rng.choice([-1.0, 1.0], series)
    for kind, name in enumerate(KINDS):
        rows = np.arange(kind, series, len(KINDS))
        out[rows] = _shape(name, at, time_s, (turn[rows, None], size[rows, None], rng))
    out += rng.uniform(0.1, 0.6, (series, 1)).astype(np.float32)
    _scatter(out, rng)
    return out


def _shape(
    name: str, at: Floats, time_s: Floats, how: tuple[Floats, Floats, np.random.Generator]
) -> Floats:
    """Return (N, T); turn: where it changes, size: by how much."""
    turn, size, rng = how
    if name == "ramp":
        return np.asarray(size * np.maximum(0.0, at - turn) / (1 - turn))
    if name == "step":
        return np.asarray(size * (at > turn))
    if name == "wave":
        phase = 2 * np.pi * (time_s / DAY_S + turn)
        return np.asarray(size / 2 * np.sin(phase) + size / 8 * np.sin(3 * phase))
    if name == "saw":
        return np.asarray(np.abs(size) * ((at + turn) / np.maximum(turn, 0.2) % 1.0))
    if name == "walk":
        steps = rng.standard_normal((len(turn), len(at)), dtype=np.float32)
        return np.asarray(np.abs(size) * np.cumsum(steps, axis=1) / np.sqrt(len(at)))
    return np.zeros((len(turn), len(at)))


def _scatter(
    out: np.ndarray[tuple[int, int], np.dtype[np.float32]], rng: np.random.Generator
) -> None:
    """Add noise, half of it persistent in every other row, and spikes; in place."""
    series, length = out.shape
    spread = (_NOISE_MEDIAN * rng.lognormal(0.0, _NOISE_SPREAD, series)).astype(np.float32)
    noise = rng.standard_normal((series, length), dtype=np.float32)
    out += spread[:, None] * noise
    carried = np.zeros(series, dtype=np.float32)
    fresh = spread * (np.arange(series) % 2)
    for column in range(length):
        carried = _PERSISTENCE * carried + fresh * noise[:, column - 1]
        out[:, column] += carried
    spikes = rng.random((series, length), dtype=np.float32) < _SPIKES
    out[spikes] += 10 * np.repeat(spread, spikes.sum(axis=1))
