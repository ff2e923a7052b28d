"""Incidents, diagnoses, plans and the journal, as JSON rows of the one database."""

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from agent.database import Database
from core.codec import from_json, to_json
from core.errors import InputError, StoreError
from core.types import Diagnosis, Incident, IncidentState, JournalEntry, PlanRecord

Record = Incident | Diagnosis | PlanRecord
R = TypeVar("R", Incident, Diagnosis, PlanRecord)

_KINDS: dict[type[Record], str] = {
    Incident: "incident",
    Diagnosis: "diagnosis",
    PlanRecord: "plan",
}


class Row(NamedTuple):
    """A record as its table has it, column by column."""

    kind: str
    id: str
    live: bool
    updated_s: float
    body: str


class SqliteStore:
    """Keeps what must outlive the process; a write returns when it is on disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, *records: Record) -> None:
        """Insert or replace each record, all in one transaction."""
        rows = [_row(record) for record in records]
        await self._database.run(lambda connection: _put(connection, rows))

    async def get(self, kind: type[R], record_id: str) -> R | None:
        """Return the record of that id (a diagnosis by its incident's), or None."""
        bodies = await self._bodies(
            "SELECT body FROM records WHERE kind = ? AND id = ?", (_KINDS[kind], record_id)
        )
        return _read(kind, bodies[0]) if bodies else None

    async def find(
        self, kind: type[R], *, live: bool = False, since_s: float | None = None
    ) -> tuple[R, ...]:
        """Return records newest first by when they last changed.

        live: leave out resolved incidents and final plans
        since_s: leave out what last changed before that time
        """
        bodies = await self._bodies(
            "SELECT body FROM records WHERE kind = ? AND live >= ? AND updated_s >= ?"
            " ORDER BY updated_s DESC, id DESC",
            (_KINDS[kind], int(live), float("-inf") if since_s is None else since_s),
        )
        return tuple(_read(kind, body) for body in bodies)

    async def journal(self, entries: Sequence[JournalEntry]) -> None:
        """Append to the journal, in order, all in one transaction."""
        await self._database.run(lambda connection: _append(connection, entries))

    async def entries(self, incident_id: str) -> tuple[JournalEntry, ...]:
        """Return an incident's journal, oldest first."""
        rows = await self._database.run(
            lambda connection: connection.execute(
                "SELECT time_s, incident_id, plan_id, kind, text FROM journal"
                " WHERE incident_id = ? ORDER BY id",
                (incident_id,),
            ).fetchall()
        )
        return tuple(JournalEntry(*row) for row in rows)

    async def prune(self, before_s: float) -> None:
        """Forget what ended before that time: incidents, their diagnoses and journal, and plans.

        Nothing that is live goes, nor the incident of a plan that is.
        """
        await self._database.run(lambda connection: _prune(connection, before_s))

    async def _bodies(self, query: str, values: tuple[object, ...]) -> list[str]:
        return await self._database.run(
            lambda connection: [row[0] for row in connection.execute(query, values)]
        )


def _row(record: Record) -> Row:
    match record:
        case Incident():
            live = record.state is not IncidentState.RESOLVED
            key, updated_s = record.id, record.updated_s
        case Diagnosis():
            key, live, updated_s = record.incident_id, True, record.made_at_s
        case _:
            key, live, updated_s = record.plan.id, not record.state.final, record.since_s
    body = json.dumps(to_json(record), allow_nan=False, separators=(",", ":"))
    return Row(_KINDS[type(record)], key, live, updated_s, body)


def _put(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    connection.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", rows)


def _prune(connection: sqlite3.Connection, before_s: float) -> None:
    connection.execute(
        "DELETE FROM records WHERE kind IN ('incident', 'plan') AND live = 0 AND updated_s < ?"
        " AND id NOT IN (SELECT json_extract(body, '$.plan.incident_id') FROM records"
        " WHERE kind = 'plan' AND live = 1)",
        (before_s,),
    )
    for table, old, key in (
        ("records", "kind = 'diagnosis' AND updated_s < ?", "id"),
        ("journal", "time_s < ?", "incident_id"),
    ):
        connection.execute(
            f"DELETE FROM {table} WHERE {old} AND {key} NOT IN"  # noqa: S608 - constants only
            " (SELECT id FROM records WHERE kind = 'incident')",
            (before_s,),
        )


def _append(connection: sqlite3.Connection, entries: Sequence[JournalEntry]) -> None:
    connection.executemany(
        "INSERT INTO journal (time_s, incident_id, plan_id, kind, text) VALUES (?, ?, ?, ?, ?)",
        [(e.time_s, e.incident_id, e.plan_id, e.kind, e.text) for e in entries],
    )


def _read(kind: type[R], body: str) -> R:
    try:
        return from_json(kind, json.loads(body))
    except (InputError, ValueError) as error:
        raise StoreError(
            f"Reading a kept {_KINDS[kind]}: {error}. It was written by another version or changed "
            f"by hand: restore a back-up, or move the store away to begin an empty one."
        ) from error
