"""The helper's own journal: a row on disk before each effect and after it, read at the start.

A line is a JSON object. ``begin`` says what is asked and how it was before, ``end`` what came of
it. A line that was cut by a crash is passed over; an order without an end was interrupted.
"""

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from agent.roothelper.order import Order
from core.clock import Clock
from core.errors import StoreError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Beyond it the file is set aside at a start, and the one set aside before is let go.
MAX_BYTES = 4 * 1024 * 1024

State = Any  # plain JSON: how something was, in the form its verb reads and writes


@dataclass(frozen=True, slots=True)
class Hold:
    """Something is as we set it: how it was ``before`` our first order, and what we made it."""

    before: State
    now: State


@dataclass(frozen=True, slots=True)
class Change:
    """What an order will do: from ``before`` to ``now``; ``holds``: it can be given back."""

    before: State
    now: State
    holds: bool


@dataclass(slots=True)
class Record:
    """One order as the journal knows it; ``outcome`` is "" where it was interrupted."""

    asked: Mapping[str, Any]
    before: State
    outcome: str = ""
    said: str = ""


@dataclass(slots=True)
class Journal:
    """Appends rows, each on disk before the call returns, and knows what they say together.

    StoreError where a row cannot be written: what is not written down is not done.
    """

    path: Path
    clock: Clock
    boot: str = field(default_factory=lambda: BOOT_ID.read_text().strip())
    records: dict[str, Record] = field(default_factory=dict)
    _holds: dict[tuple[str, str], Hold] = field(default_factory=dict)
    _was: dict[str, tuple[tuple[str, str], Hold | None]] = field(default_factory=dict)
    _writing: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Read what was written before."""
        aside = self.path.with_name(self.path.name + ".1")
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > MAX_BYTES:
                self.path.replace(aside)
        for path in (aside, self.path):
            with contextlib.suppress(FileNotFoundError):
                for line in path.read_bytes().splitlines():
                    self._take(line)

    def begin(self, order: Order, change: Change, who: Mapping[str, int]) -> None:
        """Write that an order begins, which who (pid and uid) asks for."""
        self._write(
            {
                "row": "begin",
                "time_s": self.clock.now_s(),
                "boot": self.boot,
                "key": order.key,
                "subject": order.subject,
                "asked": order.plain,
                "before": change.before,
                "now": change.now,
                "holds": change.holds,
                **who,
            }
        )

    def end(self, key: str, outcome: str, said: str = "") -> None:
        """Write what came of an order: done, failed, or unknown."""
        time_s = self.clock.now_s()
        self._write({"row": "end", "time_s": time_s, "key": key, "outcome": outcome, "said": said})

    def let_go(self, verb: str, subject: str) -> None:
        """Write that somebody else has set what we held: it is theirs now."""
        row = {"row": "let_go", "time_s": self.clock.now_s(), "verb": verb, "subject": subject}
        self._write(row)

    def hold(self, verb: str, subject: str) -> Hold | None:
        """Return what we hold of a subject since this boot, or None."""
        return self._holds.get((verb, subject))

    def _write(self, row: Mapping[str, Any]) -> None:
        line = json.dumps(row, separators=(",", ":")).encode()
        try:
            with self._writing:
                # Begins with a line end of its own: what a crash has cut stays a line apart.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                file = os.open(self.path, flags, 0o600)
                try:
                    whole = b"\n" + line + b"\n"
                    if os.write(file, whole) < len(whole):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file)
                finally:
                    os.close(file)
        except OSError as error:
            raise StoreError(
                f"Writing the journal {self.path}: {error.strerror}. Nothing is done that is not "
                "written down; make room, or the folder writable."
            ) from error
        self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            match row["row"]:
                case "begin":
                    self._begun(row)
                case "end":
                    self._ended(row["key"], row["outcome"], row["said"])
                case "let_go":
                    self._holds.pop((row["verb"], row["subject"]), None)
        except (ValueError, TypeError, KeyError):
            return  # cut by a crash, or empty

    def _begun(self, row: Mapping[str, Any]) -> None:
        asked, key = row["asked"], row["key"]
        self.records[key] = Record(asked, row["before"])
        if row["boot"] != self.boot or not row["holds"]:
            return
        place = (asked["verb"], row["subject"])
        held = self._holds.get(place)
        self._was[key] = place, held
        if not asked["restore"]:
            self._holds[place] = Hold(held.before if held else row["before"], row["now"])

    def _ended(self, key: str, outcome: str, said: str) -> None:
        record = self.records.get(key)
        if record is None:
            return
        record.outcome, record.said = outcome, said
        place, held = self._was.pop(key, (None, None))
        if place is None:
            return
        given_back = outcome == "done" and record.asked["restore"]
        if given_back or (outcome == "failed" and held is None):
            self._holds.pop(place, None)
        elif outcome == "failed" and held is not None:
            self._holds[place] = held
