"""Alerts of other systems that fire now: kept on disk from their first word to their last."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.database import Database
from core.codec import from_json, to_json
from core.types import Event

# Alertmanager repeats a firing alert every 4 h by default. One that nobody has repeated for a day
# has lost its sender, and would hold its incident open for ever.
FORGET_AFTER_S = 86400.0


@dataclass(slots=True)
class StandingAlerts:
    """Firing alerts by fingerprint; a sender tells of each once, and it is true until ended."""

    database: Database

    async def put(
        self, firing: Mapping[str, Event], resolved: Sequence[str], *, now_s: float
    ) -> None:
        """Note what fires and what has ended; it is on disk when this returns."""
        rows = [(key, now_s, json.dumps(to_json(event))) for key, event in firing.items()]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO standing VALUES (?, ?, ?)", rows)
            _delete(connection, resolved)

        await self.database.run(write)

    async def standing(self, now_s: float) -> Mapping[str, Event]:
        """Return what fires, as events of now: an alert that has not ended is still a symptom."""
        rows = await self.database.run(lambda connection: _read(connection, now_s))
        events = {key: from_json(Event, json.loads(body)) for key, body in rows}
        return {key: replace(event, time_s=now_s) for key, event in events.items()}

    async def drop(self, fingerprints: Iterable[str]) -> None:
        """Forget alerts of which nothing can be made."""
        keys = tuple(fingerprints)
        await self.database.run(lambda connection: _delete(connection, keys))


def _delete(connection: sqlite3.Connection, fingerprints: Iterable[str]) -> None:
    connection.executemany(
        "DELETE FROM standing WHERE fingerprint = ?", [(key,) for key in fingerprints]
    )


def _read(connection: sqlite3.Connection, now_s: float) -> list[tuple[str, str]]:
    connection.execute("DELETE FROM standing WHERE received_s < ?", (now_s - FORGET_AFTER_S,))
    return connection.execute("SELECT fingerprint, body FROM standing ORDER BY rowid").fetchall()
