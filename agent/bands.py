"""The bands of every series: what the next readings are held against, and what widens intervals.

A round of forecasts -> ``thinned`` parts -> Bands.renew -> one Forecast a metric for the detectors
the oldest of them, when its horizon is over -> Bands.mature -> how much each interval must widen

All of it together takes 600 bytes a series.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from agent.even_grid import Values
from agent.recent import Recent
from core.target import Target
from core.types import Floats, Forecast
from detectors.detector import Array, names
from detectors.forecast.matured import Learned, matured

# Steps of a forecast that are kept: five minutes each of two hours.
STEPS = 24
NOTHING = Learned()
_PARTS = tuple(part.name for part in fields(Target))


def thinned(forecast: Forecast) -> Forecast:
    """Return a forecast with STEPS of its steps at most, the last among them, in float32."""
    count = len(forecast.time_s)
    stride = max(1, math.ceil(count / STEPS))
    kept = slice((count - 1) % stride, None, stride)
    bands = np.array(
        [band[:, kept] for band in (forecast.mean, forecast.lower, forecast.upper)], np.float32
    )
    return replace(
        forecast, time_s=forecast.time_s[kept], mean=bands[0], lower=bands[1], upper=bands[2]
    )


@dataclass(slots=True)
class Bands:
    """Holds one forecast a metric until its horizon is over, and what such forecasts taught."""

    _waiting: dict[str, Forecast] = field(default_factory=dict)
    _learned: dict[str, Learned] = field(default_factory=dict)

    def mature(self, metric: str, seen: Recent) -> Floats:
        """Score the forecast that waits, once its horizon is over; series that ended are forgotten.

        Returns (S,) logarithms of the factors on the intervals of the series that are seen.
        Cost: 1 us a series and horizon, 2 us where series came or went since.
        """
        known = self._learned.get(metric, NOTHING)
        waiting = self._waiting.get(metric)
        if waiting is not None and len(seen.time_s) and seen.time_s[-1] >= waiting.time_s[-1]:
            del self._waiting[metric]
            value = _rows_of(waiting.targets, seen)
            known = matured(known, waiting, seen.time_s, value)
        known = Learned(seen.targets, known.width_of(seen.targets))
        self._learned[metric] = known
        return known.width

    def renew(self, parts: Mapping[str, Sequence[Forecast]]) -> Mapping[str, Forecast]:
        """Join the chunks of a whole round; return the newest bands of each metric."""
        newest = {metric: _joined(chunks) for metric, chunks in parts.items()}
        for metric, forecast in newest.items():
            self._waiting.setdefault(metric, forecast)
        return newest

    def state(self) -> Mapping[str, Array]:
        """Return what was learned as plain arrays: ``metric/targets`` and ``metric/width``."""
        state: dict[str, Array] = {}
        for metric, learned in self._learned.items():
            texts = [getattr(target, part) for target in learned.targets for part in _PARTS]
            state[f"{metric}/targets"] = names(texts).reshape(-1, len(_PARTS))
            state[f"{metric}/width"] = learned.width
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        learned = {}
        for metric in {name.partition("/")[0] for name in state}:
            texts, width = state[f"{metric}/targets"], state[f"{metric}/width"]
            if texts.shape != (len(width), len(_PARTS)):
                raise ValueError(
                    f"Widths of {metric} for targets of shape {texts.shape}, expected "
                    f"{(len(width), len(_PARTS))}: they were put away by another version."
                )
            targets = tuple(Target(*map(str, parts)) for parts in texts)
            learned[metric] = Learned(targets, np.asarray(width, dtype=np.float64))
        self._learned = learned


def _rows_of(targets: tuple[Target, ...], seen: Recent) -> Values:
    """Return (S, T) readings of these targets, NaN for one that is not seen any more."""
    if targets == seen.targets:
        return seen.value
    row = {target: number for number, target in enumerate(seen.targets)}
    rows = np.array([row.get(target, -1) for target in targets], np.int64)
    value = seen.value[rows]
    value[rows < 0] = np.nan
    return value


def _joined(chunks: Sequence[Forecast]) -> Forecast:
    first = chunks[0]
    return replace(
        first,
        targets=tuple(target for chunk in chunks for target in chunk.targets),
        mean=np.concatenate([chunk.mean for chunk in chunks]),
        lower=np.concatenate([chunk.lower for chunk in chunks]),
        upper=np.concatenate([chunk.upper for chunk in chunks]),
        model=tuple(model for chunk in chunks for model in chunk.model),
        skill=np.concatenate([chunk.skill for chunk in chunks]),
    )
