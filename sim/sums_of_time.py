"""A share of time added up to seconds, as exporters count it, at any tick of a world's history."""

import numpy as np

from core.target import Target
from core.types import Floats, Ints
from sim.telemetry import readings
from sim.world import World

# Sums are kept at the ends of blocks of so many ticks; what lies between is read again.
_BLOCK = 240


class SumsOfTime:
    """Seconds of one metric that is a share of time, from the tick after the world's beginning on.

    ``world`` may become a fork or a later state of the same world: its past is the same.
    The same at a tick whatever else is asked for. A tick without a reading counts as the one before
    it did: the exporter was not asked, the kernel counted on.
    """

    def __init__(self, world: World, metric: str, every_s: float, began_s: float) -> None:
        self.world = world
        self._metric = metric
        self._every_s = every_s
        self._first = int(np.ceil(began_s / every_s))
        self._targets: tuple[Target, ...] = ()
        self._before: list[Floats] = []  # (S,) sum before each block
        self._open: tuple[int, Floats] = (-1, np.zeros((0, 0)))  # a block that is not over yet

    def at(self, ticks: Ints) -> tuple[tuple[Target, ...], list[Floats]]:
        """Return the targets, their (S, T) sums in seconds and over how many seconds.

        NaN where the exporter was not asked, and outside of the world's time.
        """
        last = int(self.world.now_s // self._every_s)
        valid = (ticks >= self._first) & (ticks <= last)
        if not valid.any():
            return self._known(), [np.full((len(self._known()), len(ticks)), np.nan)] * 2
        summed = np.full((len(self._known()), len(ticks)), np.nan)
        place = (ticks - self._first) // _BLOCK
        for block in np.unique(place[valid]).tolist():
            mine = valid & (place == block)
            value = self._values(block, last)
            sums = self._base(block)[:, None] + np.cumsum(_filled(value), axis=1) * self._every_s
            column = ticks[mine] - self._first - block * _BLOCK
            summed[:, mine] = np.where(np.isnan(value[:, column]), np.nan, sums[:, column])
        over_s = (ticks - self._first + 1) * self._every_s + 0 * summed
        return self._known(), [summed, over_s]

    def _known(self) -> tuple[Target, ...]:
        if not self._targets:
            (window,) = readings(
                self.world, (self._metric,), np.array([self._first * self._every_s])
            )
            self._targets = window.targets
            self._before = [np.zeros(len(self._targets))]
        return self._targets

    def _base(self, block: int) -> Floats:
        """Return the sums before a block, adding up the blocks before it where need be."""
        self._known()
        while len(self._before) <= block:
            done = len(self._before) - 1
            value = _filled(self._read(done, 0, _BLOCK))
            total = np.cumsum(value, axis=1)[:, -1] * self._every_s
            self._before.append(self._before[done] + total)
        return self._before[block]

    def _values(self, block: int, last: int) -> Floats:
        """Return (S, up to _BLOCK) readings of a block; of the newest only what is new is read."""
        count = min(_BLOCK, last - self._first - block * _BLOCK + 1)
        known, value = self._open
        if known != block:
            value = np.zeros((len(self._known()), 0))
        if value.shape[1] < count:
            value = np.concatenate([value, self._read(block, value.shape[1], count)], axis=1)
            self._open = (block, value)
        return value[:, :count]

    def _read(self, block: int, start: int, end: int) -> Floats:
        ticks = self._first + block * _BLOCK + np.arange(start, end, dtype=np.float64)
        (window,) = readings(self.world, (self._metric,), np.asarray(ticks * self._every_s))
        return window.value


def _filled(value: Floats) -> Floats:
    """Return (S, T) with each gap as the reading before it, and 0 before the first."""
    there = ~np.isnan(value)
    column = np.where(there, np.arange(value.shape[1]), 0)
    latest = np.maximum.accumulate(column, axis=1)
    filled: Floats = np.nan_to_num(np.take_along_axis(value, latest, axis=1), nan=0.0)
    return filled
