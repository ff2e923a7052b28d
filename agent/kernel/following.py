"""Follows the kernel's log from where the process before left off, and says what it missed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.kernel.cursor import FILE, Cursor, CursorDamaged, boot_id, read_cursor, write_cursor
from agent.kernel.journal import Journal
from agent.kernel.kmsg import Kmsg
from agent.kernel.ration import MOST_LINES, Ration
from agent.kernel.records import Record, joined
from core.clock import Clock
from core.errors import SourceUnavailable
from core.ports import Problem

NAME = "kernel"
UNREADABLE = "log_unreadable"
# Without a cursor, what was said before is of an earlier life, but for its last minutes.
LOOK_BACK_S = 900.0


@dataclass(slots=True)
class Following:
    """The lines of the first source that can be opened, each once, with the time of each.

    sources:   where the log may be; none: it is not read
    state_dir: where the cursor is kept; None: it is not
    most:      lines that are read at once; in the long run they cost 1 % of a core
    lost:      lines that were overwritten or left out, and 1 for each cursor that was no use
    """

    clock: Clock
    state_dir: Path | None = None
    sources: Sequence[Kmsg | Journal] = field(default_factory=lambda: (Kmsg(), Journal()))
    look_back_s: float = LOOK_BACK_S
    most: int = MOST_LINES
    lines: int = 0
    _damaged: int = 0
    _source: Kmsg | Journal | None = None
    _kept: Cursor | None = None
    _since_s: float = -math.inf
    _boot: str = field(default_factory=boot_id)
    _ration: Ration = field(init=False)

    def __post_init__(self) -> None:
        self._ration = Ration(self.clock, self.most)

    @property
    def lost(self) -> int:
        """Return how much was not read, of all that was there to read."""
        return self._damaged + sum(source.lost for source in self.sources)

    @property
    def garbled(self) -> int:
        """Return how many lines were none."""
        return sum(source.garbled for source in self.sources)

    def read(self, problems: list[Problem]) -> Iterator[tuple[float, Record]]:
        """Yield what is new and when it was said, seconds since the epoch.

        What is in the way goes to ``problems``; the next call tries again.
        """
        source = self._opened(problems)
        if source is None:
            return
        booted_s = self.clock.now_s() - self.clock.monotonic_s()
        try:
            for record in joined(source.read(self._ration.lines())):
                self.lines += 1
                if (time_s := booted_s + record.boot_s) >= self._since_s:
                    yield time_s, record
        except CursorDamaged as error:
            self._from_now(source, str(error), problems)
        except (OSError, SourceUnavailable) as error:
            problems.append(Problem(NAME, UNREADABLE, f"The kernel's log: {error}"))
            self._source = None
            source.close()

    def keep(self, problems: list[Problem]) -> None:
        """Keep where reading stands, for the next process."""
        cursor = self._source.cursor(self._boot) if self._source else None
        if self.state_dir is None or cursor is None or cursor == self._kept:
            return
        try:
            write_cursor(self.state_dir / FILE, cursor)
            self._kept = cursor
        except OSError as error:
            text = f"{self.state_dir / FILE}: {error.strerror}. A restart reads lines again."
            problems.append(Problem(NAME, "cursor_not_kept", text))

    def close(self) -> None:
        """Let go of the log."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _opened(self, problems: list[Problem]) -> Kmsg | Journal | None:
        """Return the open source, or open the first that lets itself be."""
        if self._source is not None or not self.sources:
            return self._source
        found = []
        for source in self.sources:
            try:
                self._open(source, problems)
            except (OSError, SourceUnavailable) as error:
                found.append(str(error))
                continue
            self._source = source
            return source
        text = (
            f"The kernel's log cannot be read ({'; '.join(found)}). It takes CAP_SYSLOG for "
            "/dev/kmsg, or journalctl and the group systemd-journal."
        )
        problems.append(Problem(NAME, UNREADABLE, text))
        return None

    def _open(self, source: Kmsg | Journal, problems: list[Problem]) -> None:
        try:
            cursor = self._kept or self._read_cursor()
        except CursorDamaged as error:
            source.open(None, self._boot)
            self._from_now(source, str(error), problems)
            return
        if cursor is not None and cursor.is_journals != isinstance(source, Journal):
            cursor = None
        source.open(cursor, self._boot)
        self._since_s = -math.inf if cursor else self.clock.now_s() - self.look_back_s

    def _read_cursor(self) -> Cursor | None:
        return None if self.state_dir is None else read_cursor(self.state_dir / FILE)

    def _from_now(self, source: Kmsg | Journal, found: str, problems: list[Problem]) -> None:
        """Go on from now where the cursor is no use, and say so."""
        source.skip()
        self._damaged += 1
        self._since_s = -math.inf
        text = f"{found}. The kernel's log is read from now on; what was said before is not."
        problems.append(Problem(NAME, "cursor_damaged", text))
