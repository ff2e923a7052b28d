"""One SQLite file, one process that holds it, one thread that writes: what is written stays."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from agent.schema import MIGRATIONS
from agent.times import rfc3339
from core.errors import StoreError, StoreLocked

T = TypeVar("T")

FILE_NAME = "gpumedic.db"
LOCK_NAME = "lock"
# Nobody else writes, so only a reader's checkpoint or a back-up can hold the file for a moment.
BUSY_TIMEOUT_S = 5.0
RELEASED = -1


class Database:
    """The store's file, held by this process alone until ``close``.

    A transaction is one call of ``run``: all of it is on disk when the call returns, or none of it.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def open(cls, folder: Path, *, owner: str) -> "Database":
        """Take the folder's lock and open its file, brought to the newest schema.

        owner: what this process calls itself to the one that finds the store locked

        StoreLocked while another process holds the folder; StoreError where the folder cannot be
        written, the file is damaged, or a newer gpumedic has written it.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _lock(folder, owner)
        except OSError as error:
            raise StoreError(
                f"Opening the store in {folder}: {error.strerror}. Make the folder writable for "
                f"this user, or name another one as state_dir."
            ) from error
        database = cls(folder / FILE_NAME, lock)
        try:
            database._writer.submit(database._open).result()
        except BaseException:
            database.close()
            raise
        return database

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do ``work`` in the writer's thread as one transaction and return what it gives.

        StoreError where SQLite refuses (a full disk above all): nothing of it was kept, and the
        next call may succeed. An error of the work's own rolls back and passes through.
        """
        if self._connection is None:
            raise StoreError(f"Using {self.path}: the store is closed. Open it again.")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._transaction, self._connection, work)

    def close(self) -> None:
        """Finish what is queued, fold the log into the file and give the folder free."""
        if self._lock == RELEASED:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            self._writer.submit(connection.close).result()
        self._writer.shutdown()
        os.close(self._lock)
        self._lock = RELEASED

    def _open(self) -> None:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
        except sqlite3.Error as error:
            raise self._failed("Opening", error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._failed("Opening", error) from error
        except StoreError:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise StoreError(f"Opening {self.path}: {found}. {_DAMAGED}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise StoreError(
                f"Opening {self.path}: its schema is version {version}, this gpumedic knows "
                f"{len(MIGRATIONS)}. Install the version that wrote it, or name another state_dir."
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            _migrate(connection, script, number)

    def _transaction(
        self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]
    ) -> T:
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(connection)
            raise self._failed("Using", error) from error
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def _failed(self, attempt: str, error: sqlite3.Error) -> StoreError:
        return StoreError(f"{attempt} {self.path}: {error}. {_remedy(error)}")


_DAMAGED = (
    "The file is damaged: stop gpumedic, move the file and those beside it that share its name "
    "away (or put a back-up in their place), and start again; without it the history is empty."
)


def _remedy(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            return "Nothing of it was kept. Make room on that volume; the next try may succeed."
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return _DAMAGED
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "Another program holds the file: end it, or let it finish."
        case _:
            return "Nothing of it was kept. Check that volume and the file's permissions."


def _migrate(connection: sqlite3.Connection, script: str, number: int) -> None:
    """Run one script and count it, as one transaction."""
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;"
        )
    except sqlite3.Error:
        _roll_back(connection)
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    """Undo the open transaction; on some errors, a full disk say, SQLite has done so by itself."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _lock(folder: Path, owner: str) -> int:
    """Take the folder's lock for as long as the descriptor stays open; returns the descriptor.

    The kernel lets go of it when the process ends in whatever way, so a stale file locks nobody
    out. The file's text names the holder and its modification time says since when.
    """
    path = folder / LOCK_NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {owner}\n".encode())
    except BlockingIOError as error:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        since_s = os.fstat(descriptor).st_mtime
        os.close(descriptor)
        pid, _, name = holder.partition(" ")
        raise StoreLocked(
            f"Opening the store in {folder}: {name or 'another process'} (pid {pid or 'unknown'}) "
            f"has held it since {rfc3339(since_s)}. Stop that process, or give this one another "
            f"state_dir: two controllers on one store would heal the same thing twice."
        ) from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
