"""A training's checkpoints: read at a fresh start, written in time, told to the supervisor."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import rhythm
from .checkpoints import newest
from .fence import World
from .saving import Outcome, Saver, load, state_of
from .state import Parts

_PATIENT_S = 60.0


class Keeper:
    """Saves ``parts`` below a folder, of the rank that it is asked on.

    every, keep: see ``Training``; send: takes what is known of the checkpoints after each change
    """

    def __init__(
        self, folder: Path, parts: Parts, *, every: int, keep: int, send: Callable[..., object]
    ) -> None:
        if folder.is_file():
            raise ValueError(
                f"checkpoint={str(folder)!r} is a file. Name a folder, in which each save makes a "
                "folder of its own; job.save(path) writes a single file."
            )
        self._parts, self._send, self._every = parts, send, every
        self._rhythm = rhythm.Rhythm(folder, every)
        self._saver = Saver(folder, keep=keep, tell=self._ended)
        self._known: dict[str, Any] = {"step": None, "saved_s": None, "problem": ""}

    def load(self) -> int:
        """Take the newest checkpoint of which every byte fits; return its step, 0 without one."""
        found = newest(self._saver.folder, self._say)
        if found is None:
            return 0
        self._known |= {"step": found.manifest.step, "saved_s": found.manifest.saved_s}
        return load(self._parts, found)

    def enter(self, world: World) -> None:
        """Begin to save for a world, shutting out older ones."""
        self._saver.enter_aside(world)
        self._rhythm.began()
        self._tell()

    def want(self) -> None:
        """Save after this step."""
        self._rhythm.want()

    def ask(self, interval_s: float) -> None:
        """Save after so much time from now on; in a thread, for files may hang."""
        threading.Thread(target=self._ask, args=(interval_s,), daemon=True).start()

    def after(self, step: int) -> None:
        """Save after a step, if that is due; where the last save still runs, after a later one."""
        if self._rhythm.due(step) and not self._saver.busy:
            self._rhythm.began()
            try:
                self._saver.save(state_of(self._parts), step)
            except (OSError, RuntimeError) as error:  # it costs a checkpoint, not the training
                self._ended(Outcome(step, 0.0, 0.0, problem=str(error)))

    def close(self) -> None:
        """Wait for the last save."""
        self._saver.wait(_PATIENT_S)

    def _ask(self, interval_s: float) -> None:
        try:
            rhythm.ask(self._saver.folder, interval_s)
            self._rhythm.look()
        except OSError as error:
            self._say(f"the interval of {interval_s:g} s cannot be kept: {error}")
        self._tell()

    def _ended(self, outcome: Outcome) -> None:
        """Take in what came of a save; called in its thread."""
        self._known["problem"] = outcome.problem
        if not outcome.problem:
            self._known |= {
                "step": outcome.step,
                "saved_s": outcome.saved_s,
                "stall_s": outcome.stall_s,
                "took_s": outcome.took_s,
            }
        if outcome.note:
            self._say(outcome.note)
        self._tell(failed=outcome.step, fenced=outcome.fenced)

    def _tell(self, **more: Any) -> None:
        pace = {"interval_s": self._rhythm.interval_s, "every": self._every}
        known = {"folder": str(self._saver.folder.absolute()), **self._known, **pace}
        self._send("saved", checkpoint=known, **more)

    def _say(self, text: str) -> None:
        self._send("note", text=text)
