"""The memory of one metric: whose rows are whose, which readings are learned, when hours end."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.target import Target
from core.types import Forecast, Window
from detectors.anomaly import alarm, pool, scores
from detectors.anomaly.band import Bands
from detectors.detector import names

Array = NDArray[Any]
FORGET_S = 3600.0  # a series that has said nothing for so long is forgotten
# What is anomalous is not ranked among the ordinary for so long; then it is what the series does.
HELD_S = 3600.0
# A scrape may be half done at a look: columns before the newest one learned are looked at again.
LATE_COLUMNS = 2
PARTS = ("node", "gpu", "port", "volume", "job", "rank", "switch", "rack")
# Readings of a series before its surprise counts; with fewer a rare one cannot be told from a new.
NEEDED = 960  # 4 h at 15 s


class Series:
    """Scores and alarms of all series of a metric."""

    def __init__(self, least_sigma: float = 1e-9) -> None:
        """Begin without any series; ``least_sigma`` is what hardly counts in the metric's unit."""
        self.least_sigma = least_sigma
        self.targets: tuple[Target, ...] = ()
        self.memory = scores.empty(0)
        self.pool = pool.empty()
        self.learned_s = np.empty(0)
        self.hour = -1
        self.threshold = np.inf
        self._row: dict[Target, int] = {}
        self._asked: tuple[tuple[Target, ...], Array] = ((), np.empty(0, np.int64))
        self._forecast: Forecast | None = None
        self._bands: Bands | None = None

    def expect(self, forecast: Forecast) -> None:
        """Hold readings from now on against this forecast's bands too."""
        self._forecast, self._bands = forecast, None

    def learn(
        self, window: Window, *, now_s: float, per_day: float, learn_anomalies: bool = False
    ) -> Array:
        """Score and learn what is new in a window; return the memory's row of each target (S,).

        A reading is new when it is later than all that its series has learned; one later than
        ``now_s`` waits until then.
        """
        # A clock that was set back: what was learned from the time ahead is not waited for.
        np.minimum(self.learned_s, now_s, out=self.learned_s)
        self.hour = min(self.hour, int(now_s // pool.BLOCK_S))
        for name in ("onset_s", "last_s"):
            np.minimum(self.memory["alarm"][name], now_s, out=self.memory["alarm"][name])
        rows = self._rows(window, now_s)
        newest = float(np.max(self.learned_s, initial=-np.inf))
        first = int(np.searchsorted(window.time_s, newest, side="right"))
        last = int(np.searchsorted(window.time_s, now_s, side="right"))
        for column in range(max(first - LATE_COLUMNS, 0), last):
            time_s = float(window.time_s[column])
            value = np.full(len(self.targets), np.nan)
            value[rows] = window.value[:, column]
            value[(time_s <= self.learned_s) | ~np.isfinite(value)] = np.nan
            known = ~np.isnan(value)
            if known.any():
                self.learned_s[known] = time_s
                self._column(value, time_s, per_day, learn_anomalies)
        return rows

    def state(self) -> dict[str, Array]:
        """Return all that is known as plain arrays."""
        parts = [[getattr(target, part) for part in PARTS] for target in self.targets]
        listed = names([text for row in parts for text in row]).reshape(-1, len(PARTS))
        copies = {name: array.copy() for name, array in scores.flat(self.memory).items()}
        return {
            **copies,
            "pool.counts": self.pool["counts"].copy(),
            "learned_s": self.learned_s.copy(),
            "hour": np.array(self.hour),
            "threshold": np.array(self.threshold),
            "targets": listed,
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        targets = tuple(Target(*map(str, row)) for row in state["targets"])
        memory = scores.empty(len(targets))
        for name, fresh in {**scores.flat(memory), "learned_s": np.empty(len(targets))}.items():
            if name not in state:
                raise ValueError(f"anomaly memory has no {name!r}")
            kept = state[name]
            if kept.shape != fresh.shape or kept.dtype != fresh.dtype:
                raise ValueError(
                    f"anomaly memory: {name!r} is {kept.dtype} {kept.shape}, "
                    f"expected {fresh.dtype} {fresh.shape}"
                )
        for part, arrays in memory.items():
            for name, array in arrays.items():
                array[:] = state[f"{part}.{name}"]
        if state["pool.counts"].shape != (pool.BINS,):
            raise ValueError(f"anomaly memory: 'pool.counts' has not {pool.BINS} bins")
        self.targets, self.memory = targets, memory
        self._asked = ((), np.empty(0, np.int64))
        self._row = {target: k for k, target in enumerate(targets)}
        self.pool = {"counts": state["pool.counts"].copy()}
        self.learned_s = np.array(state["learned_s"])
        self.hour, self.threshold = int(state["hour"]), float(state["threshold"])
        self._bands = None

    def _column(self, value: Array, time_s: float, per_day: float, learn_anomalies: bool) -> None:
        alarms = self.memory["alarm"]
        if (hour := int(time_s // pool.BLOCK_S)) > self.hour:
            old = (self.memory["baseline"]["count"] >= NEEDED) & (alarms["highest"] > 0)
            pool.learn(self.pool, alarms["highest"][old], per_day)
            alarms["highest"][:] = 0
            self.hour, self.threshold = hour, pool.threshold(self.pool, per_day)
        known = learn_anomalies | (time_s - alarms["onset_s"] > HELD_S)
        surprise, most = scores.surprise(
            value,
            self.memory,
            bands=self._band(time_s),
            held=alarms["live"] & ~known,
            learn_anomalies=learn_anomalies,
            least_sigma=self.least_sigma,
        )
        surprise[self.memory["baseline"]["count"] < NEEDED] = np.nan
        alarm.update(surprise, most, alarms, time_s=time_s, least=self.threshold)

    def _band(self, time_s: float) -> tuple[Array, Array] | None:
        if self._forecast is None:
            return None
        if self._bands is None:
            self._bands = Bands(self._forecast, self._row, len(self.targets))
        return self._bands.at(time_s)

    def _rows(self, window: Window, now_s: float) -> Array:
        """Return each target's row, after giving new ones one and forgetting the silent."""
        if window.targets == self._asked[0]:  # by identity first: cheap where nothing changed
            return self._asked[1]
        if any(target not in self._row for target in window.targets):
            self._admit(window.targets, now_s)
        rows = np.array([self._row[target] for target in window.targets], np.int64)
        self._asked = window.targets, rows
        return rows

    def _admit(self, targets: tuple[Target, ...], now_s: float) -> None:
        listed = dict.fromkeys(targets)
        silent = (
            target
            for target, learned_s in zip(self.targets, self.learned_s, strict=True)
            if target not in listed and now_s - learned_s <= FORGET_S
        )
        kept = (*listed, *silent)
        rows = np.array([self._row.get(target, -1) for target in kept], np.int64)
        learned_s = np.full(len(kept), -np.inf)
        learned_s[rows >= 0] = self.learned_s[rows[rows >= 0]]
        self.memory, self.learned_s = scores.take(self.memory, rows), learned_s
        self.targets, self._bands = kept, None
        self._row = {target: k for k, target in enumerate(kept)}
