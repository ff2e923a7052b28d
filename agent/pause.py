"""The pause switch: kept in the store so that a restart remembers it; a stop file works too."""

import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from agent.database import Database
from agent.view import Pause
from core.codec import from_json, to_json

STOP_FILE = Path("/run/gpumedic/paused")
_KEY = "pause"


@dataclass(slots=True)
class PauseSwitch:
    """Says whether acting is paused; watching, forecasting and telling always go on."""

    database: Database
    stop_file: Path = STOP_FILE
    _kept: Pause | None = None

    async def load(self) -> None:
        """Read what an earlier process left."""
        body = await self.database.run(_read)
        self._kept = None if body is None else from_json(Pause, json.loads(body))

    def current(self, now_s: float) -> Pause | None:
        """Return the pause in force, or None; the stop file wins over everything."""
        if os.path.exists(self.stop_file):  # noqa: PTH110 - a folder closed to us is no error
            because = f"the file {self.stop_file} exists; remove it to go on"
            return Pause(by="stop file", because=because, since_s=now_s, until_s=None)
        if self._kept is None or (self._kept.until_s is not None and now_s >= self._kept.until_s):
            return None
        return self._kept

    async def set(self, pause: Pause | None) -> None:
        """Keep a new pause, or None to resume."""
        body = None if pause is None else json.dumps(to_json(pause))
        await self.database.run(lambda connection: _write(connection, body))
        self._kept = pause


def _read(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return None if row is None else str(row[0])


def _write(connection: sqlite3.Connection, body: str | None) -> None:
    connection.execute("DELETE FROM meta WHERE key = ?", (_KEY,))
    if body is not None:
        connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (_KEY, body))
