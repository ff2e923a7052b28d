"""One metric's readings on a ring of columns, in memory or mapped to a file.

The file is a page of text that says what it is, one stamp per column, then blocks of 256 series.
Within a block the readings of one moment lie together, so that a cycle dirties few pages. Two
choices keep it safe. A missing reading is all zero bits (a float's bits are stored xor NaN's), so
that fresh disk blocks hold nothing rather than zeros. And blocks are reserved before they are
mapped, because writing a mapped page on a full disk would kill the process.
"""

import json
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from core.units import CATALOG

LANES = 256  # series a block: one moment's readings of a block are 1 KiB of a page
PAGE = 4096
FORMAT = "gpumedic ring 1"

Bits = NDArray[np.unsignedinteger]


class RingDamaged(Exception):
    """The file is not the ring it should be; the text says what was found."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a ring holds: ``columns`` readings a series, ``step_s`` seconds apart.

    Counters keep 64 bits: at 1e12 bytes a 32-bit float moves in steps of 65,536, which would hide
    growth. All else keeps 32.
    """

    metric: str
    step_s: float
    columns: int

    @property
    def wide(self) -> bool:
        """Say whether a reading takes 64 bits."""
        return self.metric in CATALOG and CATALOG[self.metric].counter

    @property
    def block_bytes(self) -> int:
        """Return the size of one block of series."""
        return self.columns * LANES * (8 if self.wide else 4)

    @property
    def start_bytes(self) -> int:
        """Return where the first block starts: behind the header and the stamps."""
        return PAGE + -(-self.columns * 8 // PAGE) * PAGE


class Ring:
    """(rows, columns) readings by absolute column number ``k``, that is time / step.

    A slot keeps one ``k`` at a time, the newest it was given; ``stamp`` (k + 1, 0 for none) says
    which, so that what an earlier lap left is never taken for news.
    """

    def __init__(self, layout: Layout, generation: str, *, path: Path | None) -> None:
        """Start an empty ring; OSError where the file cannot be made."""
        self.layout, self.generation, self.path = layout, generation, path
        self._map: mmap.mmap | None = None
        if path is None:
            self._stamp: Ints = np.zeros(layout.columns, np.int64)
            self._bits: Bits = np.zeros((0, layout.columns, LANES), self._kind)
        else:
            path.unlink(missing_ok=True)
            _reserve(path, layout.start_bytes)
            with path.open("r+b") as file:
                file.write(_header(layout, generation))
            self._attach()

    @classmethod
    def open(cls, layout: Layout, path: Path) -> "Ring":
        """Map an existing file; RingDamaged where it is not a whole ring of this layout."""
        try:
            with path.open("rb") as file:
                head = file.read(PAGE)
            size = path.stat().st_size
        except OSError as error:
            raise RingDamaged(f"it cannot be read ({error})") from error
        generation = _read_header(head, layout)
        if (size - layout.start_bytes) % layout.block_bytes or size < layout.start_bytes:
            raise RingDamaged(f"it has {size} bytes, which is no whole number of blocks")
        ring = cls.__new__(cls)
        ring.layout, ring.generation, ring.path = layout, generation, path
        ring._attach()
        return ring

    @property
    def capacity(self) -> int:
        """Return how many rows fit without growing."""
        return len(self._bits) * LANES

    @property
    def newest(self) -> int:
        """Return the newest column held, -1 for none."""
        return int(self._stamp.max(initial=0)) - 1

    def grow(self, rows: int) -> None:
        """Make room for that many rows; OSError where the disk is full, and nothing is lost."""
        blocks = -(-rows // LANES)
        if blocks <= len(self._bits):
            return
        if self.path is None:
            blocks = max(blocks, len(self._bits) * 3 // 2)
            grown: Bits = np.zeros((blocks, self.layout.columns, LANES), self._kind)
            grown[: len(self._bits)] = self._bits
            self._bits = grown
            return
        _reserve(self.path, self.layout.start_bytes + blocks * self.layout.block_bytes)
        self._attach()

    def put(self, rows: Ints, k: Ints, value: Floats, *, stale_after: int) -> None:
        """Keep value (S, C) of rows (S,) at columns k (C,), each column once; NaN changes nothing.

        A column older than what its slot holds is passed over, unless the slot holds one beyond
        ``stale_after``: a time so far ahead that it was a wrong clock's.
        """
        given = self._encode(value)
        held = self._stamp[k % self.layout.columns] - 1
        wanted = ((held <= k) | (held > stale_after)) & (given != 0).any(axis=0)
        for column in np.flatnonzero(wanted):
            self._put_column(rows, int(k[column]), given[:, column])

    def get(self, rows: Ints, k: Ints) -> Floats:
        """Return (S, C) readings of rows (S,) at columns k (C,); NaN where there is none."""
        slots = k % self.layout.columns
        if len(rows) * 4 > self.capacity:
            every = self._bits[:, slots, :].transpose(0, 2, 1)
            bits = every.reshape(len(every) * LANES, len(k))[rows]
        else:
            bits = self._bits[rows[:, None] // LANES, slots[None, :], rows[:, None] % LANES]
        bits[:, self._stamp[slots] != k + 1] = 0
        return self._decode(bits)

    def holds(self, k: Ints) -> NDArray[np.bool_]:
        """Return (C,) whether any series has, or had, a reading at each column."""
        return np.asarray(self._stamp[k % self.layout.columns] == k + 1)

    def clear(self, rows: Ints) -> None:
        """Forget what these rows hold."""
        self._bits[rows // LANES, :, rows % LANES] = 0

    def to_memory(self) -> None:
        """Go on without the file, keeping all readings."""
        self._stamp, self._bits = self._stamp.copy(), self._bits.copy()
        self._map, path, self.path = None, self.path, None
        if path is not None:
            path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Wait until the file is on disk; OSError says why it is not."""
        if self._map is not None:
            self._map.flush()

    @property
    def _kind(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype(np.uint64 if self.layout.wide else np.uint32)

    def _attach(self) -> None:
        """Map the file as it now is; the old mapping goes when its last array does."""
        assert self.path is not None  # noqa: S101 - only a ring with a file is attached
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        columns = self.layout.columns
        self._stamp = np.frombuffer(self._map, np.int64, columns, PAGE)
        bits = np.frombuffer(self._map, self._kind, offset=self.layout.start_bytes)
        self._bits = bits.reshape(-1, columns, LANES)

    def _put_column(self, rows: Ints, k: int, given: Bits) -> None:
        """Write one column; its stamp comes last, so that a kill in between leaves it missing."""
        slot = k % self.layout.columns
        if self._stamp[slot] == k + 1:
            flat = self._bits[:, slot, :].reshape(-1)
        else:
            self._stamp[slot] = 0
            flat = np.zeros(self.capacity, self._kind)
        known = given != 0
        flat[rows[known]] = given[known]
        self._bits[:, slot, :] = flat.reshape(-1, LANES)
        self._stamp[slot] = k + 1

    def _encode(self, value: Floats) -> Bits:
        with np.errstate(over="ignore"):
            kept = value.astype(np.float64 if self.layout.wide else np.float32)
        kept[~np.isfinite(kept)] = np.nan
        return kept.view(self._kind) ^ self._nan

    def _decode(self, bits: Bits) -> Floats:
        plain = np.ascontiguousarray(bits) ^ self._nan
        return plain.view(np.float64 if self.layout.wide else np.float32).astype(np.float64)

    @property
    def _nan(self) -> Bits:
        nan = np.array(np.nan, np.float64 if self.layout.wide else np.float32)
        return nan.view(self._kind)


def _reserve(path: Path, size: int) -> None:
    """Make the file that long with its blocks reserved, or leave it as it was."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    before = os.fstat(handle).st_size
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError:
        os.ftruncate(handle, before)
        raise
    finally:
        os.close(handle)


def _header(layout: Layout, generation: str) -> bytes:
    text = json.dumps(
        {
            "format": FORMAT,
            "metric": layout.metric,
            "step_s": layout.step_s,
            "columns": layout.columns,
            "generation": generation,
        }
    )
    return text.encode().ljust(PAGE)


def _read_header(head: bytes, layout: Layout) -> str:
    """Return the generation; RingDamaged where the header is another's."""
    try:
        found = json.loads(head)
        generation = str(found["generation"])
    except (ValueError, KeyError, TypeError) as error:
        raise RingDamaged("its first page is not a ring's header") from error
    wanted = json.loads(_header(layout, generation))
    if found != wanted:
        differs = next(key for key in wanted if found.get(key) != wanted[key])
        raise RingDamaged(f"its {differs} is {found.get(differs)!r}, wanted {wanted[differs]!r}")
    return generation
