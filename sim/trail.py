"""A growing table of how things changed: each row holds for one entity from its start on.

The newest row of an entity is its state now; the older ones answer what it was. Rows are plain
numpy records, never changed once written, so a fork shares them and costs no copy.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints

Rows = NDArray[np.void]
_MS = 1000.0
_ENTITY_SHIFT = 41  # 2^41 ms: 69 years of simulated time, 4 million entities


class Trail:
    """Rows of a structured type that has the fields ``entity`` (int) and ``start_s`` (float).

    Rows come in order of time. An entity may change several times at one instant: the last wins.
    """

    def __init__(self, first: Rows) -> None:
        """Start with one row for each entity 0, 1, 2 ..., all from the same instant."""
        self._rows = first
        self._count = len(first)
        self._origin_s = float(first["start_s"][0]) if len(first) else 0.0
        self._last = np.arange(len(first), dtype=np.int64)
        self._index: tuple[int, Ints, Ints] | None = None

    def __len__(self) -> int:
        return self._count

    def now(self, entities: Ints | None = None) -> Rows:
        """Return a copy of the newest rows, of all entities or of those given, in that order."""
        last = self._last if entities is None else self._last[entities]
        return self._rows[last]

    def append(self, rows: Rows) -> None:
        """Add rows, at most one for an entity, from now on its newest."""
        end = self._count + len(rows)
        if end > len(self._rows):
            grown = np.empty(max(2 * len(self._rows), end, 64), dtype=self._rows.dtype)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : end] = rows
        self._last[rows["entity"]] = np.arange(self._count, end)
        self._count = end

    def at(self, entities: Ints, time_s: Floats) -> Rows:
        """Return (S, T) rows that held for each entity at each time.

        A time before the first row gets the first row; the caller knows when the world began.
        """
        keys, order = self._sorted()
        stamp = np.maximum(np.floor((time_s - self._origin_s) * _MS), 0).astype(np.int64)
        wanted = (entities.astype(np.int64) << _ENTITY_SHIFT)[:, None] + stamp[None, :]
        return self._rows[order[np.searchsorted(keys, wanted, side="right") - 1]]

    def column(self, name: str) -> NDArray[Any]:
        """Return one field of every row, oldest first; not to be written to."""
        return self._rows[name][: self._count]

    def fork(self) -> "Trail":
        """Return an independent trail that shares the rows written so far."""
        twin = Trail.__new__(Trail)
        twin._rows = self._rows[: self._count]  # no room left: its first append copies
        twin._count = self._count
        twin._origin_s = self._origin_s
        twin._last = self._last.copy()
        twin._index = self._index
        return twin

    def _sorted(self) -> tuple[Ints, Ints]:
        """Return every row's key (entity, start) in order, and the row each belongs to."""
        if self._index is None or self._index[0] != self._count:
            start = np.floor((self.column("start_s") - self._origin_s) * _MS).astype(np.int64)
            keys = (self.column("entity").astype(np.int64) << _ENTITY_SHIFT) + start
            order = np.argsort(keys, kind="stable")
            self._index = (self._count, keys[order], order)
        return self._index[1], self._index[2]
