"""Where reading goes on after a restart: one small file in the state folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "kernel.cursor"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_BYTES = 4096
_MAX_NUMBER = 2**63


class CursorDamaged(Exception):
    """The file holds no cursor; reading goes on from now."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last record that was read.

    boot:    the kernel's boot id; numbers begin anew with each
    number:  the record's number in /dev/kmsg, -1 where it was read from the journal
    journal: journald's cursor, "" where it was read from /dev/kmsg
    """

    boot: str
    number: int = -1
    journal: str = ""

    @property
    def is_journals(self) -> bool:
        """Say whether it is of journald and not of /dev/kmsg."""
        return bool(self.journal)


def read_cursor(path: Path) -> Cursor | None:
    """Return the cursor that was kept, None for none; CursorDamaged for what is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CursorDamaged(f"{path}: {error.strerror}") from error
    try:
        return _checked(json.loads(raw))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CursorDamaged(f"{path}: {len(raw)} bytes that are no cursor ({error})") from error


def write_cursor(path: Path, cursor: Cursor) -> None:
    """Keep the cursor; a crash leaves the one before or this one, never a half."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(cursor)), encoding="utf-8")
    new.replace(path)


def boot_id() -> str:
    """Return this boot's id, "" where the kernel does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _checked(found: dict[str, object]) -> Cursor:
    boot, number, journal = found["boot"], found["number"], found["journal"]
    if not (isinstance(boot, str) and isinstance(journal, str)):
        raise TypeError("boot and journal must be texts")
    if type(number) is not int or not -1 <= number < _MAX_NUMBER:
        raise ValueError("number must be a count")
    if journal.startswith("-") or not journal.isprintable():
        raise ValueError("journal is no cursor of journald")
    return Cursor(boot, number, journal)
