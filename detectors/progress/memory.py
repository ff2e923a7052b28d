"""What a detector keeps of each series: rows of plain numbers, found by name, forgotten in time."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from detectors.detector import Array, names

Bools = NDArray[np.bool_]
# A job that is stopped over a weekend is known again; what stays away longer is gone.
KEEP_S = 3 * 86_400.0
# A clock that is put back by more than this has the readings of then as news.
SETBACK_S = 3600.0
NEVER_S = -np.inf
SEEN = "seen_s"


class Memory:
    """Arrays with a row for each series; ``seen_s`` (N,) is the time of the newest one learned.

    fields: name -> (shape of one row, what a new row is filled with)
    """

    def __init__(self, fields: Mapping[str, tuple[tuple[int, ...], float]]) -> None:
        self._fields = {SEEN: ((), NEVER_S), **fields}
        self._keys: tuple[str, ...] | None = None
        self._rows: Ints = np.empty(0, dtype=np.int64)
        self.names: list[str] = []
        self._place: dict[str, int] = {}
        self.value: dict[str, Floats] = {
            field: np.empty((0, *shape)) for field, (shape, _) in self._fields.items()
        }

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, keys: tuple[str, ...]) -> Ints:
        """Return (S,) the row of each key, a new one where it has none."""
        if keys is self._keys:
            return self._rows
        new = list(dict.fromkeys(key for key in keys if key not in self._place))
        self._place.update({key: len(self.names) + n for n, key in enumerate(new)})
        self.names += new
        for field, (shape, fill) in self._fields.items():
            more = np.full((len(new), *shape), fill)
            self.value[field] = np.concatenate([self.value[field], more])
        self._keys = keys
        self._rows = np.array([self._place[key] for key in keys], dtype=np.int64)
        return self._rows

    def news(self, rows: Ints, time_s: Floats, value: Floats) -> Bools:
        """Return (S, T) whether a reading is there and was not learned yet."""
        seen_s = self.value[SEEN]
        if len(time_s):
            self._reset(rows[seen_s[rows] > time_s[-1] + SETBACK_S])
        return np.asarray(np.isfinite(value) & (time_s > seen_s[rows][:, None]))

    def forget(self, now_s: float) -> None:
        """Drop the rows of series unseen for ``KEEP_S``; what ``rows`` gave is void then."""
        seen_s = self.value[SEEN]
        stay = (seen_s >= now_s - KEEP_S) | (seen_s == NEVER_S)
        if self._keys is not None:
            # Named but without a reading so far: they stay only while they are named.
            stay[seen_s == NEVER_S] = False
            stay[self._rows] = True
        if stay.all():
            return
        self.value = {field: array[stay] for field, array in self.value.items()}
        self.names = [name for name, keep in zip(self.names, stay.tolist(), strict=True) if keep]
        self._index()

    def state(self) -> dict[str, Array]:
        """Return the rows as plain arrays, with their names."""
        return {"names": names(self.names), **{key: a.copy() for key, a in self.value.items()}}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        if "names" not in state or missing_of(self._fields, state):
            missing = missing_of(self._fields, state) or "names"
            raise ValueError(f"a detector's memory lacks {missing}; it begins anew without one")
        kept = [str(name) for name in state["names"].tolist()]
        for field, (shape, _) in self._fields.items():
            if state[field].shape != (len(kept), *shape):
                raise ValueError(
                    f"a detector's memory has {field} of shape {state[field].shape}, expected "
                    f"{(len(kept), *shape)}; it is of another version or damaged"
                )
        self.names = kept
        self.value = {field: state[field].astype(np.float64) for field in self._fields}
        self._index()

    def _index(self) -> None:
        self._place = {name: row for row, name in enumerate(self.names)}
        self._keys = None

    def _reset(self, rows: Ints) -> None:
        for field, (_, fill) in self._fields.items():
            self.value[field][rows] = fill


def missing_of(fields: Mapping[str, object], state: Mapping[str, Array]) -> str:
    """Return the fields that a state lacks, as words; "" for none."""
    return ", ".join(sorted(field for field in fields if field not in state))
