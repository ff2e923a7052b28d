"""The outbox's table, one function a statement; each runs inside one transaction of the store."""

import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass

PENDING = "pending"
DELIVERED = "delivered"
FAILED = "failed"
GONE = "gone"  # failed, and the receiver is not tried again until someone redelivers


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is not stored yet; ``sequence_key`` is what keeps its order."""

    message_id: str
    receiver: str
    sequence_key: str
    announcement: str
    body: bytes
    state: str
    created_s: float
    last_text: str


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message; ``number`` is its place in the queue, ``message_id`` what is sent."""

    number: int
    message_id: str
    receiver: str
    sequence_key: str
    announcement: str
    body: bytes
    state: str
    attempts: int
    next_try_s: float
    created_s: float
    last_text: str


@dataclass(frozen=True, slots=True)
class Note:
    """What came of a try: the new values of a message's row."""

    number: int
    state: str
    attempts: int
    next_try_s: float
    last_text: str


_COLUMNS = (
    "id, message_id, receiver, sequence_key, announcement, body, state, attempts, next_try_s, "
    "created_s, last_text"
)


def insert(db: sqlite3.Connection, messages: Iterable[NewMessage]) -> None:
    """Add messages; one whose id its receiver has already is passed over."""
    db.executemany(
        "INSERT OR IGNORE INTO outbox (message_id, receiver, sequence_key, announcement, body, "
        "state, next_try_s, created_s, last_text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                new.message_id,
                new.receiver,
                new.sequence_key,
                new.announcement,
                new.body,
                new.state,
                new.created_s,
                new.created_s,
                new.last_text,
            )
            for new in messages
        ],
    )


def note(db: sqlite3.Connection, notes: Iterable[Note]) -> None:
    """Write what came of tries."""
    db.executemany(
        "UPDATE outbox SET state = ?, attempts = ?, next_try_s = ?, last_text = ? WHERE id = ?",
        [(n.state, n.attempts, n.next_try_s, n.last_text, n.number) for n in notes],
    )


def heads(db: sqlite3.Connection, receiver: str, *, limit: int) -> tuple[Message, ...]:
    """Return the first waiting message of each sequence, the one due longest first."""
    return _messages(
        db.execute(
            f"SELECT {_COLUMNS} FROM outbox WHERE id IN ("  # noqa: S608 - constants only
            "SELECT min(id) FROM outbox WHERE receiver = ? AND state = ? GROUP BY sequence_key"
            ") ORDER BY next_try_s, id LIMIT ?",
            (receiver, PENDING, limit),
        )
    )


def following(db: sqlite3.Connection, message: Message) -> Message | None:
    """Return the message that waits next in the same sequence, or None."""
    found = _messages(
        db.execute(
            f"SELECT {_COLUMNS} FROM outbox "  # noqa: S608 - constants only
            "WHERE receiver = ? AND sequence_key = ? AND state = ? ORDER BY id LIMIT 1",
            (message.receiver, message.sequence_key, PENDING),
        )
    )
    return found[0] if found else None


def in_state(db: sqlite3.Connection, *states: str) -> tuple[Message, ...]:
    """Return the messages in any of the states, oldest first."""
    marks = ", ".join("?" * len(states))
    return _messages(
        db.execute(
            f"SELECT {_COLUMNS} FROM outbox WHERE state IN ({marks}) ORDER BY id",  # noqa: S608
            states,
        )
    )


def count_pending(db: sqlite3.Connection) -> int:
    """Return how many messages wait."""
    row = db.execute("SELECT count(*) FROM outbox WHERE state = ?", (PENDING,)).fetchone()
    return int(row[0])


def disabled(db: sqlite3.Connection) -> frozenset[str]:
    """Return the receivers that said "gone"."""
    found = db.execute("SELECT DISTINCT receiver FROM outbox WHERE state = ?", (GONE,))
    return frozenset(str(row[0]) for row in found)


def waited_for(db: sqlite3.Connection) -> frozenset[str]:
    """Return the receivers for which a message waits."""
    found = db.execute("SELECT DISTINCT receiver FROM outbox WHERE state = ?", (PENDING,))
    return frozenset(str(row[0]) for row in found)


def give_up(
    db: sqlite3.Connection, receivers: Collection[str], before_s: float, *, why: str
) -> None:
    """Fail what has waited for these receivers since before that time."""
    db.executemany(
        "UPDATE outbox SET state = ?, last_text = ? "
        "WHERE receiver = ? AND state = ? AND created_s < ?",
        [(FAILED, why, receiver, PENDING, before_s) for receiver in receivers],
    )


def redeliver(db: sqlite3.Connection, number: int | None, *, now_s: float) -> int:
    """Queue given-up messages (all: None) again and enable their receivers; returns how many."""
    given_up = db.execute(
        "SELECT id, receiver FROM outbox WHERE state IN (?1, ?2) "
        "AND (?3 IS NULL OR id = ?3) AND length(body) > 0",
        (FAILED, GONE, number),
    ).fetchall()
    db.executemany(
        "UPDATE outbox SET state = ?, attempts = 0, next_try_s = ? WHERE id = ?",
        [(PENDING, now_s, each) for each, _ in given_up],
    )
    db.executemany(
        "UPDATE outbox SET state = ? WHERE receiver = ? AND state = ?",
        [(FAILED, receiver, GONE) for receiver in {receiver for _, receiver in given_up}],
    )
    return len(given_up)


def prune(db: sqlite3.Connection, state: str, before_s: float) -> int:
    """Drop what is in a state and was made before that time; returns how many."""
    return db.execute(
        "DELETE FROM outbox WHERE state = ? AND created_s < ?", (state, before_s)
    ).rowcount


def _messages(found: Iterable[tuple[object, ...]]) -> tuple[Message, ...]:
    return tuple(Message(*row) for row in found)  # type: ignore[arg-type]
