"""The folder a history is kept in: one process at a time, and nothing half-written is trusted."""

import fcntl
import json
from pathlib import Path
from typing import IO

from agent.ring import Layout, Ring, RingDamaged
from agent.shelf import Shelf, read_shelf, write_json
from core.errors import StoreLocked

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
VERSION = 1


class HistoryFolder:
    """Holds the folder's lock; ``index.json`` says whether its files were closed."""

    def __init__(self, path: Path) -> None:
        """Take the folder; StoreLocked where another has it, OSError where it cannot be used."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = (path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise StoreLocked(
                f"opening the history in {path}: another gpumedic process has it open. Stop that "
                "one, or give this one its own state_dir."
            ) from None

    def load(self, step_s: float, columns: int) -> tuple[dict[str, Shelf], list[str]]:
        """Return what is kept by metric, and what had to start empty and why."""
        found: dict[str, Shelf] = {}
        lost: list[str] = []
        if why := self._untrusted():
            lost.append(f"the history in {self.path} starts empty: {why}")
            for path in self.path.glob("*.ring"):
                _remove(path)
        self.mark(clean=False)
        for path in sorted(self.path.glob("*.ring")):
            try:
                ring = Ring.open(Layout(path.stem, step_s, columns), path)
                found[path.stem] = read_shelf(ring, path.with_suffix(".json"))
            except RingDamaged as error:
                lost.append(f"the history of {path.stem} starts empty: {error}")
                _remove(path)
        return found, lost

    def mark(self, *, clean: bool) -> None:
        """Write the index: ``clean`` says that all files are whole and on disk."""
        body = {"version": VERSION, "clean": clean, "boot_id": _boot_id()}
        write_json(self.path / "index.json", body, sync=True)

    def abandon(self) -> None:
        """See to it that nothing of what lies here is used again."""
        (self.path / "index.json").unlink(missing_ok=True)

    def release(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def _untrusted(self) -> str:
        """Say why what lies here cannot be used, "" where it can."""
        index = self.path / "index.json"
        if not index.exists():
            return "its index.json is missing" if any(self.path.glob("*.ring")) else ""
        try:
            found = json.loads(index.read_text())
            version, clean, boot = found["version"], found["clean"], found["boot_id"]
        except (ValueError, KeyError, TypeError) as error:
            return f"its index.json is damaged ({error})"
        if version != VERSION:
            return f"its index.json is of version {version}, wanted {VERSION}"
        if clean is not True and boot != _boot_id():
            return "the machine went down before it was closed, so readings may be missing"
        return ""


def _remove(ring: Path) -> None:
    ring.with_suffix(".json").unlink(missing_ok=True)
    ring.unlink()


def _boot_id() -> str:
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
