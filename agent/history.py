"""What every series did lately: a ring per metric on one regular grid, kept across restarts.

Readings are placed by their own time, never by the time of arrival: a column is the grid point at
or after a reading. So a clock that steps back wipes nothing, and merging overlapping windows in
any order gives the same history (where two disagree on a point, the later merge stands). A column
more than a step and five minutes ahead of now is refused, one older than the ring is passed over.

On disk: per metric a ring (``agent/ring.py``) and a list of its series, and one ``index.json``.
A kill at any moment loses at most the column being written. After a crash of the machine itself
the pages on disk may be of different ages, so a history that was neither closed nor written under
the running kernel is set aside and filled again from its source.
"""

import asyncio
import errno
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.history_folder import HistoryFolder
from agent.ring import Layout, Ring
from agent.shelf import Shelf
from core.errors import SourceUnavailable, StoreError
from core.ports import MetricSource, Problem, Query
from core.target import Target
from core.types import Floats, Ints, Window

SOURCE = "history"
MAX_AHEAD_S = 300.0  # clocks of a cluster may disagree by minutes before NTP has met them all
PRUNES_A_SPAN = 16
PIECE_READINGS = 8_000_000  # of a back-fill are in memory at once: 64 MB
FIRST_PIECE = 20  # columns, where nobody knows yet how many series there are
PIECE_DEADLINE_S = 60.0
NEARLY = 1e-4  # of a step: more than float division is off by, at any step above 10 ms


@dataclass(frozen=True, slots=True)
class HistoryStats:
    """``series`` are kept; ``learning`` of them began too lately to be forecast."""

    series: int
    learning: int


class History:
    """Readings of every metric: (S, T) each, newest ``span_s`` seconds, ``step_s`` apart."""

    def __init__(self, path: Path | None, *, step_s: float, span_s: float) -> None:
        """Open the history in a folder, or in memory for None.

        What could not be used again is told in ``found_problems`` and starts empty. StoreLocked
        where another process has the folder open; a folder that cannot be used at all means
        memory only, told likewise.
        """
        if not (step_s > 0 and span_s >= step_s):
            raise ValueError(f"history needs span >= step > 0, got {span_s} and {step_s}")
        self.step_s, self.span_s = step_s, span_s
        self.columns = math.ceil(span_s / step_s) + 1
        self.found_problems: tuple[Problem, ...] = ()
        self._folder: HistoryFolder | None = None
        self._shelves: dict[str, Shelf] = {}
        self._writes = False
        if path is not None:
            self._open(path)

    @property
    def persistent(self) -> bool:
        """Say whether a restart will find what is kept from now on."""
        return self._writes

    def merge(self, window: Window, *, now_s: float) -> tuple[Problem, ...]:
        """Keep a window's readings; a Problem tells of columns refused for lying ahead of now.

        Raises StoreError once, when the disk is full: the readings are kept all the same, from
        then on in memory.
        """
        k = np.ceil(window.time_s / self.step_s - NEARLY).astype(np.int64)
        now = math.floor(now_s / self.step_s)
        newest = math.floor((now_s + MAX_AHEAD_S) / self.step_s) + 1
        wanted = (k > max(now - self.columns, -1)) & (k <= newest)
        if wanted.any() and window.targets:
            self._keep(window.metric, window.targets, k[wanted], window.value[:, wanted], now)
        ahead = int((k > newest).sum())
        return (_ahead_of_now(window, ahead, now_s),) if ahead else ()

    def window(
        self,
        metric: str,
        *,
        start_s: float,
        end_s: float,
        targets: Sequence[Target] | None = None,
    ) -> Window:
        """Return readings on the grid with start_s <= t <= end_s, at most the ring's length.

        All series of the metric, or just ``targets`` in that order; one that is not known gives a
        row of NaN. value is float64 with about 7 digits, 16 for counters.
        """
        k = self._grid(start_s, end_s)
        time_s = (k * self.step_s).astype(np.float64)
        if (shelf := self._shelves.get(metric)) is None:
            names = tuple(targets or ())
            return Window(metric, names, time_s, np.full((len(names), len(k)), np.nan))
        if targets is None:
            names, rows = shelf.everyone()
            return Window(metric, names, time_s, shelf.ring.get(rows, k))
        names = tuple(targets)
        rows = shelf.rows(names)
        value = np.full((len(names), len(k)), np.nan)
        value[rows >= 0] = shelf.ring.get(rows[rows >= 0], k)
        return Window(metric, names, time_s, value)

    def metrics(self) -> tuple[str, ...]:
        """Return the metrics that have any series, by name."""
        return tuple(sorted(name for name, shelf in self._shelves.items() if shelf.row))

    def targets(self, metric: str) -> tuple[Target, ...]:
        """Return the metric's series, in the order of ``window``'s rows."""
        shelf = self._shelves.get(metric)
        return shelf.everyone()[0] if shelf else ()

    def newest_s(self, metric: str) -> float:
        """Return the time of the metric's newest column, NaN for none."""
        shelf = self._shelves.get(metric)
        newest = shelf.ring.newest if shelf else -1
        return newest * self.step_s if newest >= 0 else math.nan

    def gaps(
        self, start_s: float, end_s: float, *, metrics: Sequence[str] | None = None
    ) -> tuple[tuple[float, float], ...]:
        """Return spans (first, last grid point) in which no series has a reading, oldest first.

        ``metrics``: look at these only; else at all.
        """
        k = self._grid(start_s, end_s)
        empty = np.ones(len(k), bool)
        for name, shelf in self._shelves.items():
            if metrics is None or name in metrics:
                empty &= ~shelf.ring.holds(k)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], empty, [False]]).astype(np.int8)))
        time_s = k * self.step_s
        return tuple(
            (float(time_s[first]), float(time_s[behind - 1]))
            for first, behind in edges.reshape(-1, 2)
        )

    def stats(self, *, needed_s: float = 1800.0) -> HistoryStats:
        """Count the series, and those that reach back less than ``needed_s`` from their newest."""
        needed = needed_s / self.step_s
        series = learning = 0
        for shelf in self._shelves.values():
            _, rows = shelf.everyone()
            series += len(rows)
            learning += int((shelf.last[rows] - shelf.first[rows] < needed).sum())
        return HistoryStats(series, learning)

    def sync(self) -> None:
        """Wait until all is on disk; StoreError says what is not."""
        try:
            for shelf in self._shelves.values():
                shelf.ring.flush()
        except OSError as error:
            raise self._memory_only(error) from error

    def close(self) -> None:
        """Write all to disk and mark it whole; the history is empty after that."""
        if self._folder is None:
            return
        try:
            if self._writes:
                self.sync()
                for shelf in self._shelves.values():
                    shelf.write()
                self._folder.mark(clean=True)
        except OSError as error:
            raise self._memory_only(error) from error
        finally:
            self._shelves, self._writes = {}, False
            self._folder.release()

    def _grid(self, start_s: float, end_s: float) -> Ints:
        end = math.floor(end_s / self.step_s + NEARLY)
        start = max(math.ceil(start_s / self.step_s - NEARLY), end - self.columns + 1, 0)
        return np.arange(start, max(start, end + 1), dtype=np.int64)

    def _keep(
        self, metric: str, targets: tuple[Target, ...], k: Ints, value: Floats, now: int
    ) -> None:
        trouble: list[OSError] = []
        if (shelf := self._shelves.get(metric)) is None:
            shelf = self._shelves[metric] = Shelf(self._new_ring(metric, trouble))
        seen = np.isfinite(value).any(axis=1)
        rows = shelf.rows(targets)
        if (rows < 0).any():
            targets, value = tuple(targets[row] for row in np.flatnonzero(seen)), value[seen]
            self._add(shelf, targets, int(k[0]), trouble)
            rows, seen = shelf.rows(targets), np.ones(len(targets), bool)
        shelf.ring.put(rows, k, value, stale_after=now + 2 * self.columns)
        shelf.first[rows[seen]] = np.minimum(shelf.first[rows[seen]], k[0])
        shelf.last[rows[seen]] = np.maximum(shelf.last[rows[seen]], k[-1])
        if now >= shelf.next_prune:
            shelf.next_prune = now + self.columns // PRUNES_A_SPAN + 1
            if shelf.drop_unseen(now - self.columns):
                self._write(shelf.write, trouble)
        if trouble:
            raise self._memory_only(trouble[0])

    def _add(
        self, shelf: Shelf, targets: tuple[Target, ...], first: int, trouble: list[OSError]
    ) -> None:
        """Give each new target a row; the list on disk names it before its readings go there."""
        new = [target for target in dict.fromkeys(targets) if target not in shelf.row]
        again, fresh = shelf.take(len(new))
        shelf.ring.clear(again)
        self._grow(shelf, trouble)
        shelf.enter(new, np.concatenate([again, fresh]), first)
        if new:
            self._write(shelf.write, trouble)

    def _grow(self, shelf: Shelf, trouble: list[OSError]) -> None:
        """Make room; where the disk has none, this ring and all later growth go to memory."""
        if shelf.used <= shelf.ring.capacity:
            return
        grown = self._write(lambda: shelf.ring.grow(shelf.used), trouble)
        if not grown:
            shelf.leave_disk()
            shelf.ring.grow(shelf.used)

    def _new_ring(self, metric: str, trouble: list[OSError]) -> Ring:
        layout = Layout(metric, self.step_s, self.columns)
        made: list[Ring] = []
        if self._folder is not None:
            path = self._folder.path / f"{metric}.ring"
            generation = secrets.token_hex(8)
            self._write(lambda: made.append(Ring(layout, generation, path=path)), trouble)
        return made[0] if made else Ring(layout, "", path=None)

    def _write(self, write: Callable[[], object], trouble: list[OSError]) -> bool:
        """Write to disk, if anything still is; say whether it was done."""
        if not self._writes or trouble:
            return False
        try:
            write()
        except OSError as error:
            trouble.append(error)
            return False
        return True

    def _memory_only(self, error: OSError) -> StoreError:
        """Stop writing; what is mapped already stays usable, but a restart will start empty."""
        self._writes = False
        if self._folder is not None:
            self._folder.abandon()
        where = self._folder.path if self._folder else "memory"
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        return StoreError(
            f"keeping the history in {where}: {why}. Readings are kept in memory from now on and "
            "will not outlive this process; make room and restart to keep them again."
        )

    def _open(self, path: Path) -> None:
        try:
            self._folder = HistoryFolder(path)
            self._shelves, lost = self._folder.load(self.step_s, self.columns)
        except OSError as error:
            self._found(
                "history_folder",
                f"opening the history in {path}: {error}. Readings are kept in memory and will "
                "not outlive this process; make the folder writable and restart to keep them.",
            )
            return
        self._writes = True
        for text in lost:
            self._found("history_rebuilt", text)

    def _found(self, code: str, text: str) -> None:
        self.found_problems += (Problem(SOURCE, code, text),)


async def backfill(
    history: History,
    source: MetricSource,
    now_s: float,
    *,
    metrics: Sequence[str],
    span_s: float | None = None,
) -> tuple[Problem, ...]:
    """Ask the source for what the history lacks, and only for that.

    A gap is a metric's own: one that was never kept is asked for over the whole span. Metrics with
    the same gap share a query. SourceUnavailable passes through; what came before it is kept.
    """
    start_s = now_s - min(span_s or history.span_s, history.span_s)
    wanted: dict[tuple[float, float], list[str]] = {}
    for metric in metrics:
        for gap in history.gaps(start_s, now_s, metrics=(metric,)):
            wanted.setdefault(gap, []).append(metric)
    problems: list[Problem] = []
    for (first_s, last_s), names in sorted(wanted.items(), reverse=True):
        query = Query(tuple(names), first_s, last_s, history.step_s)
        problems += await fetch(history, source, query, now_s=now_s)
    return tuple(problems)


async def fetch(
    history: History, source: MetricSource, query: Query, *, now_s: float
) -> tuple[Problem, ...]:
    """Keep what the source gives for a query, asked piece by piece, the newest first.

    A piece holds as many columns of all known series as fit in ``PIECE_READINGS``, so that a day of
    a large cluster is never in memory at once. SourceUnavailable also where a piece takes longer
    than ``PIECE_DEADLINE_S``.
    """
    problems: list[Problem] = []
    end_s = query.end_s
    while end_s >= query.start_s:
        series = history.stats().series
        columns = max(1, PIECE_READINGS // series) if series else FIRST_PIECE
        start_s = max(query.start_s, end_s - (columns - 1) * query.step_s)
        piece = replace(query, start_s=start_s, end_s=end_s)
        try:
            async with asyncio.timeout(PIECE_DEADLINE_S):
                given = await source.read(piece)
        except TimeoutError:
            raise SourceUnavailable(
                f"back-filling from {source.name}: no answer within {PIECE_DEADLINE_S:g} s; it is "
                "asked again with the next refit."
            ) from None
        problems += given.problems
        for window in given.windows:
            problems += keep(history, window, now_s=now_s)
            await asyncio.sleep(0)  # the page and the cycle go on between two windows
        end_s = start_s - query.step_s
    return tuple(dict.fromkeys(problems))


def keep(history: History, window: Window, *, now_s: float) -> tuple[Problem, ...]:
    """Merge a window; a full disk is a Problem, for its readings are kept all the same."""
    try:
        return history.merge(window, now_s=now_s)
    except StoreError as error:
        return (Problem(SOURCE, error.code, str(error)),)


def _ahead_of_now(window: Window, columns: int, now_s: float) -> Problem:
    ahead_s = float(window.time_s[-1]) - now_s
    return Problem(
        SOURCE,
        "ahead_of_now",
        f"{window.metric}: {columns} of {len(window.time_s)} readings lie ahead of now, the last "
        f"by {ahead_s:.0f} s, and are not kept. Set the clock of their source, or of this machine.",
    )
