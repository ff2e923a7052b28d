"""Reads the kernel's lines from journald, by its own program: where /dev/kmsg is not to be had."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.kernel.cursor import Cursor, CursorDamaged
from agent.kernel.ration import MOST_LINES
from agent.kernel.records import Record, journal_record
from core.errors import SourceUnavailable

DEADLINE_S = 10.0
# Without a cursor: of a boot weeks ago, as many as may be read at once.
_NEWEST = ("--boot", f"--lines={MOST_LINES}")
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_KERNEL_DEVICE,_SOURCE_MONOTONIC_TIMESTAMP"


@dataclass(slots=True)
class Journal:
    """``journalctl -k``, run at each call of ``read``, from the cursor on.

    lost: 1 for each time that more had come than was read; nobody can say how many lines
    garbled: what was no line of the journal
    """

    command: tuple[str, ...] = ("journalctl",)
    deadline_s: float = DEADLINE_S
    lost: int = 0
    garbled: int = 0
    _after: str = ""
    _options: tuple[str, ...] = field(default_factory=tuple)

    def open(self, after: Cursor | None, boot: str) -> None:
        """Read on after a cursor; else from the boot's beginning. OSError without the program."""
        del boot  # a cursor of journald names its boot
        if shutil.which(self.command[0]) is None:
            raise FileNotFoundError(f"{self.command[0]} is not on PATH")
        self._after = after.journal if after is not None else ""

    def skip(self) -> None:
        """Go to the end: what is written from now on is read."""
        for found in self._lines("--lines=1"):
            self._after = found[1]

    def read(self, ration: Iterator[bool]) -> Iterator[Record]:
        """Yield the lines that are new, one for each of the ration at most; the rest is skipped.

        SourceUnavailable where journalctl will not give them, CursorDamaged where it does not know
        the cursor.
        """
        where = ("--after-cursor", self._after) if self._after else _NEWEST
        for record, cursor in self._lines(*where):
            if not next(ration, False):
                self.lost += 1
                self.skip()
                return
            self._after = cursor
            yield record

    def cursor(self, boot: str) -> Cursor | None:
        """Return where reading stands, None before the first line."""
        return Cursor(boot, journal=self._after) if self._after else None

    def close(self) -> None:
        """Nothing is held between two reads."""

    def _lines(self, *options: str) -> Iterator[tuple[Record, str]]:
        command = (
            *self.command,
            *("--dmesg", "--quiet", "--no-pager", "--output=json", f"--output-fields={_FIELDS}"),
            *options,
        )
        with subprocess.Popen(  # noqa: S603 - the program is ours to choose, its input a cursor
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running:
            late = threading.Timer(self.deadline_s, running.kill)
            late.start()
            try:
                yield from self._read(running)
            finally:
                late.cancel()
                running.kill()

    def _read(self, running: "subprocess.Popen[bytes]") -> Iterator[tuple[Record, str]]:
        if running.stdout is None or running.stderr is None:
            return
        for line in running.stdout:
            if (found := journal_record(line)) is not None:
                yield found
            else:
                self.garbled += 1
        said = running.stderr.read(500).decode(errors="replace").strip()
        if "cursor" in said:
            raise CursorDamaged(said)
        if running.wait() not in (0, 1) or said:
            raise SourceUnavailable(
                f"{' '.join(self.command)}: {said or f'status {running.returncode}'}. "
                "Is this user in the group systemd-journal?"
            )
