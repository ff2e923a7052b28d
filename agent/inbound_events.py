"""Events from webhooks wait on disk for the next cycle, so that an accepted alert is never lost."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.database import Database
from core.codec import from_json, to_json
from core.types import Event


@dataclass(slots=True)
class InboundEvents:
    """A queue in the store: ``put`` when accepted, ``drop`` when an incident holds them."""

    database: Database

    async def put(self, events: Sequence[Event]) -> None:
        """Keep the events; they are on disk when this returns."""
        rows = [(json.dumps(to_json(event)),) for event in events]
        await self.database.run(
            lambda connection: connection.executemany("INSERT INTO inbound (body) VALUES (?)", rows)
        )

    async def waiting(self) -> Mapping[int, Event]:
        """Return the events that no cycle has finished with, by their number, oldest first."""
        rows = await self.database.run(_read)
        return {number: from_json(Event, json.loads(body)) for number, body in rows}

    async def drop(self, numbers: Iterable[int]) -> None:
        """Forget the events that an incident now holds."""
        keys = [(number,) for number in numbers]
        if keys:
            await self.database.run(
                lambda connection: connection.executemany("DELETE FROM inbound WHERE id = ?", keys)
            )


def _read(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    return connection.execute("SELECT id, body FROM inbound ORDER BY id").fetchall()
