"""When a job saves: every so many steps, or after so much time where somebody has asked for that.

Whoever finds a better interval leaves it in ``.gpumedic-interval`` beside the checkpoints; the job
looks there every few seconds, goes by it, and says in ``.gpumedic-saving`` by what it goes. Files,
because the folder is what a controller on another machine shares with the job. Imports no torch.
"""

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ASKED, SAID = ".gpumedic-interval", ".gpumedic-saving"
_LOOK_S = 5.0
LEAST_S = 0.1


def ask(folder: Path, interval_s: float) -> None:
    """Ask the job that saves in a folder to do so after this much time; OSError: cannot write."""
    _write(folder / ASKED, {"interval_s": interval_s})


def asked(folder: Path) -> float | None:
    """Return the interval that somebody has asked for, None where nobody has."""
    return _interval(_read(folder / ASKED))


def said(folder: Path) -> float | None:
    """Return the interval that the job says it goes by; None: it goes by steps, or is silent."""
    return _interval(_read(folder / SAID))


def listens(folder: Path) -> bool:
    """Say whether the job that saves in a folder goes by what is asked here."""
    return (folder / SAID).exists()


class Rhythm:
    """Says when the next save is due; of the rank that saves.

    every: steps from one save to the next where nobody asked for a time; 0: none
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every
        self.interval_s: float | None = None
        self._began_s = self._looked_s = time.monotonic()
        self._due = False
        self._looking: threading.Thread | None = None

    def want(self) -> None:
        """Make a save due at once."""
        self._due = True

    def due(self, step: int) -> bool:
        """Say after each step whether to save; it stays due until ``began``."""
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s = now_s
            self._look_aside()
        if self.interval_s is not None:
            self._due = self._due or now_s - self._began_s >= self.interval_s
        elif self._every:
            self._due = self._due or step % self._every == 0
        return self._due

    def began(self) -> None:
        """A save begins."""
        self._due, self._began_s = False, time.monotonic()

    def look(self) -> None:
        """See what is asked for, and say what is gone by."""
        found = asked(self._folder)
        if found is not None:
            self.interval_s = max(LEAST_S, found)
        if not listens(self._folder) or said(self._folder) != self.interval_s:
            _write(self._folder / SAID, {"interval_s": self.interval_s, "every": self._every})

    def _look_aside(self) -> None:
        """Look in a thread: a file system that hangs must not hold up the training."""
        if self._looking is None or not self._looking.is_alive():
            self._looking = threading.Thread(target=self._try, name="gpumedic-look", daemon=True)
            self._looking.start()

    def _try(self) -> None:
        try:
            self.look()
        except OSError:
            return  # a folder that cannot be written is told by the save itself


def _write(path: Path, data: Mapping[str, Any]) -> None:
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_text(json.dumps(data))
    half.replace(path)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _interval(data: Any) -> float | None:
    found = data.get("interval_s") if isinstance(data, dict) else None
    if not isinstance(found, (int, float)):
        return None
    return float(found) if math.isfinite(found) and found > 0 else None
