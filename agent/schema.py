"""The store's tables, as the ordered scripts that make them.

``PRAGMA user_version`` counts the scripts a file has been through. A script that has been released
is never edited: a change is a new script at the end.
"""

MIGRATIONS: tuple[str, ...] = (
    # records: incidents, diagnoses and plans as JSON; live: 0 for resolved and final ones.
    # outbox: messages to send, in order within a sequence_key; body is the bytes, rendered once.
    # inbox: alerts taken already, so that a repeated delivery changes nothing.
    # standing: alerts of other systems that fire now, each as the event it is.
    """
    CREATE TABLE records (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        live INTEGER NOT NULL,
        updated_s REAL NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX records_newest ON records (kind, live, updated_s);

    CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time_s REAL NOT NULL,
        incident_id TEXT NOT NULL,
        plan_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX journal_incident ON journal (incident_id, id);

    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL,
        receiver TEXT NOT NULL,
        sequence_key TEXT NOT NULL,
        announcement TEXT NOT NULL,
        body BLOB NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_try_s REAL NOT NULL,
        created_s REAL NOT NULL,
        last_text TEXT NOT NULL DEFAULT '',
        UNIQUE (message_id, receiver)
    ) STRICT;
    CREATE INDEX outbox_due ON outbox (state, next_try_s);
    CREATE INDEX outbox_sequence ON outbox (receiver, sequence_key, id);

    CREATE TABLE inbox (
        group_key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        starts_at TEXT NOT NULL,
        status TEXT NOT NULL,
        received_s REAL NOT NULL,
        PRIMARY KEY (group_key, fingerprint, starts_at, status)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE standing (
        fingerprint TEXT PRIMARY KEY,
        received_s REAL NOT NULL,
        body TEXT NOT NULL
    ) STRICT;

    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
)
