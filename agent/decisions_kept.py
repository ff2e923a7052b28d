"""The journal's decisions, read beside a running controller: SQLite lets others look on."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from agent.database import BUSY_TIMEOUT_S, FILE_NAME
from core.codec import from_json
from core.errors import InputError, StoreError
from core.types import Incident, JournalEntry
from remediation.deciding.decided import KIND, Decided, read

_DECISIONS = (
    "SELECT time_s, incident_id, plan_id, kind, text FROM journal"
    " WHERE kind = ? AND time_s >= ? ORDER BY id"
)
_ENDED = "SELECT body FROM records WHERE kind = 'incident' AND live = 0"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was decided, and when each incident that is over ended, seconds since the epoch."""

    decisions: tuple[Decided, ...]
    ended_s: dict[str, float]


def kept(state_dir: Path, *, since_s: float = 0.0) -> Kept:
    """Read the decisions since a time; InputError without a store, StoreError where torn."""
    path = state_dir / FILE_NAME
    if not path.exists():
        raise InputError(
            f"Reading decisions from {path}: there is no store. Name the settings of the "
            "controller whose decisions are meant with --config."
        )
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        try:
            lines = connection.execute(_DECISIONS, (KIND, since_s)).fetchall()
            bodies = connection.execute(_ENDED).fetchall()
        finally:
            connection.close()
        decisions = read(JournalEntry(*line) for line in lines)
        over = [from_json(Incident, json.loads(body)) for (body,) in bodies]
    except (sqlite3.Error, InputError, ValueError) as error:
        raise StoreError(
            f"Reading decisions from {path}: {error}. It was written by another version or is "
            "damaged: use the gpumedic that wrote it."
        ) from error
    ended = {each.id: each.resolved_s for each in over if each.resolved_s is not None}
    return Kept(decisions, ended)
