"""A metric's ring and whose rows are whose, and that list as a file beside the ring."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agent.ring import Ring, RingDamaged
from core.target import Target
from core.types import Ints

REMEMBERED_ORDERS = 4  # sources that give one metric in turn, each with its own order of targets


def _none() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(slots=True, eq=False)
class Shelf:
    """A ring and its rows. ``used`` rows were given out so far, ``free`` of them are back.

    first, last: (capacity,) columns of each row's first and newest reading
    """

    ring: Ring
    row: dict[Target, int] = field(default_factory=dict)
    first: Ints = field(default_factory=_none)
    last: Ints = field(default_factory=_none)
    used: int = 0
    free: list[int] = field(default_factory=list)
    next_prune: int = 0
    _orders: list[tuple[tuple[Target, ...], Ints]] = field(default_factory=list)
    _all: tuple[tuple[Target, ...], Ints] | None = None

    def everyone(self) -> tuple[tuple[Target, ...], Ints]:
        """Return all targets and their (S,) rows."""
        if self._all is None:
            rows = np.fromiter(self.row.values(), np.int64, len(self.row))
            self._all = tuple(self.row), rows
        return self._all

    def rows(self, targets: tuple[Target, ...]) -> Ints:
        """Return (S,) rows, -1 for a target that has none.

        Sources give the same targets in the same order cycle after cycle; comparing the two tuples
        costs 5 ns a series, looking each up some 500.
        """
        for order, rows in self._orders:
            if order == targets:
                return rows
        found = np.array([self.row.get(target, -1) for target in targets], np.int64)
        if (found >= 0).all():
            self._orders = [(targets, found), *self._orders[: REMEMBERED_ORDERS - 1]]
        return found

    def take(self, count: int) -> tuple[Ints, Ints]:
        """Return rows for that many new targets: those used before, and those never used."""
        again, self.free = self.free[:count], self.free[count:]
        fresh = np.arange(self.used, self.used + count - len(again), dtype=np.int64)
        self.used += len(fresh)
        return np.array(again, np.int64), fresh

    def enter(self, targets: list[Target], rows: Ints, first: int) -> None:
        """Give each target its row, with no reading before column ``first``."""
        room = np.zeros(self.ring.capacity - len(self.first), np.int64)
        self.first = np.concatenate([self.first, room])
        self.last = np.concatenate([self.last, room])
        self.first[rows], self.last[rows] = first, first
        self.row |= zip(targets, rows.tolist(), strict=True)
        self._all = None

    def drop_unseen(self, oldest: int) -> bool:
        """Take the row of each target whose newest reading is ``oldest`` or older; say if any."""
        gone = [target for target, row in self.row.items() if self.last[row] <= oldest]
        self.free += [self.row.pop(target) for target in gone]
        if gone:
            self._orders, self._all = [], None
        return bool(gone)

    def write(self) -> None:
        """Write the list of series beside the ring; OSError says why it is not there."""
        if self.ring.path is None:
            return
        series = [[row, int(self.first[row]), target.labels()] for target, row in self.row.items()]
        body = {"generation": self.ring.generation, "used": self.used, "series": series}
        write_json(self.ring.path.with_suffix(".json"), body, sync=False)

    def leave_disk(self) -> None:
        """Go on in memory; the files are removed."""
        if self.ring.path is not None:
            self.ring.path.with_suffix(".json").unlink(missing_ok=True)
        self.ring.to_memory()


def read_shelf(ring: Ring, path: Path) -> Shelf:
    """Read which rows are whose; RingDamaged where the list is not this ring's."""
    try:
        body = json.loads(path.read_text())
        if body["generation"] != ring.generation:
            raise RingDamaged("its list of series is another ring's")
        rows = {Target(**labels): int(row) for row, _, labels in body["series"]}
        firsts = [int(first) for _, first, _ in body["series"]]
        used = int(body["used"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RingDamaged(f"its list of series cannot be read ({error})") from error
    taken = set(rows.values())
    if len(taken) != len(firsts) or not taken <= set(range(min(used, ring.capacity))):
        raise RingDamaged("its list of series names rows twice, or rows that are not there")
    first = np.zeros(ring.capacity, np.int64)
    first[list(rows.values())] = firsts
    last = np.full(ring.capacity, ring.newest, np.int64)
    free = [row for row in range(used) if row not in taken]
    return Shelf(ring, rows, first, last, used, free)


def write_json(path: Path, body: Mapping[str, object], *, sync: bool) -> None:
    """Replace the file at once: a reader sees the old text or the new, never half."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w") as file:
        json.dump(body, file)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    draft.replace(path)
