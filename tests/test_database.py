"""The store's file: one holder, whole transactions, and a clear word when it cannot be used."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.database import FILE_NAME, LOCK_NAME, Database
from agent.schema import MIGRATIONS
from core.errors import StoreError, StoreLocked
from tests.real import small_volume


def write(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO meta VALUES ('a', '1')")


def read(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return list(connection.execute("SELECT key, value FROM meta ORDER BY key"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path / "state", owner="test")
    yield database
    database.close()


async def test_what_is_written_is_there_after_reopening(tmp_path: Path) -> None:
    database = Database.open(tmp_path, owner="test")
    await database.run(write)
    database.close()

    again = Database.open(tmp_path, owner="test")

    assert await again.run(read) == [("a", "1")]
    again.close()


async def test_an_error_half_way_leaves_nothing_behind(database: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        write(connection)
        raise KeyError("half way")

    with pytest.raises(KeyError):
        await database.run(half)

    assert await database.run(read) == []


async def test_writes_from_many_tasks_go_one_after_the_other(database: Database) -> None:
    def count(connection: sqlite3.Connection) -> None:
        held = connection.execute("SELECT coalesce(max(value), '0') FROM meta").fetchone()[0]
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('n', ?)", (f"{int(held) + 1:05d}",))

    await asyncio.gather(*(database.run(count) for _ in range(50)))

    assert await database.run(read) == [("n", "00050")]


async def test_the_file_is_durable_at_each_commit(database: Database) -> None:
    modes = await database.run(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    )

    assert modes == ["wal", 2, 1]


def test_a_second_holder_is_told_who_holds_it(database: Database) -> None:
    with pytest.raises(StoreLocked, match=rf"test \(pid {os.getpid()}\) has held it since 20.*Z"):
        Database.open(database.path.parent, owner="second")


def test_another_process_is_locked_out_until_this_one_ends(tmp_path: Path) -> None:
    """A killed holder locks nobody out: the kernel lets go of its lock."""
    script = (
        "import sys; from pathlib import Path; from agent.database import Database;"
        "Database.open(Path(sys.argv[1]), owner='other'); print('held', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreLocked, match=rf"other \(pid {holder.pid}\).*state_dir"):
            Database.open(tmp_path, owner="second")
        holder.kill()

    Database.open(tmp_path, owner="second").close()


def test_a_lock_file_without_text_still_says_it_is_held(database: Database) -> None:
    (database.path.parent / LOCK_NAME).write_text("")

    with pytest.raises(StoreLocked, match=r"another process \(pid unknown\)"):
        Database.open(database.path.parent, owner="second")


def test_a_file_from_a_newer_version_is_refused(tmp_path: Path) -> None:
    Database.open(tmp_path, owner="test").close()
    newer = len(MIGRATIONS) + 3
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")

    with pytest.raises(StoreError, match=f"schema is version {newer}.*knows {len(MIGRATIONS)}"):
        Database.open(tmp_path, owner="test")


def test_an_older_file_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database.open(tmp_path, owner="test").close()
    grown = (*MIGRATIONS, "CREATE TABLE later (a TEXT) STRICT;")
    monkeypatch.setattr("agent.database.MIGRATIONS", grown)

    Database.open(tmp_path, owner="test").close()

    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(grown),)
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)


def test_a_migration_that_breaks_leaves_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*MIGRATIONS, "CREATE TABLE later (a TEXT); CREATE TABLE later (a TEXT);")
    monkeypatch.setattr("agent.database.MIGRATIONS", broken)

    with pytest.raises(StoreError, match="already exists"):
        Database.open(tmp_path, owner="test")

    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "later" not in tables
    assert "journal" in tables


@pytest.mark.parametrize("offset", [0, 4096, 3 * 4096])
def test_a_damaged_file_is_refused_with_a_remedy(tmp_path: Path, offset: int) -> None:
    Database.open(tmp_path, owner="test").close()
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 4096)

    with pytest.raises(StoreError, match="damaged: stop gpumedic, move the file"):
        Database.open(tmp_path, owner="test")

    (tmp_path / FILE_NAME).unlink()
    Database.open(tmp_path, owner="test").close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="state_dir"):
        Database.open(tmp_path / "file" / "state", owner="test")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()

    with pytest.raises(StoreError, match=f"Opening .*{FILE_NAME}: unable to open"):
        Database.open(tmp_path, owner="test")


def test_a_lock_file_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()

    with pytest.raises(StoreError, match="state_dir"):
        Database.open(tmp_path, owner="test")


async def test_a_closed_store_says_so_and_closes_twice(database: Database) -> None:
    database.close()
    database.close()

    with pytest.raises(StoreError, match="closed"):
        await database.run(write)


async def test_a_file_someone_else_writes_to_gives_way(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.run(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="Another program holds the file"):
        await database.run(write)

    other.execute("ROLLBACK")
    other.close()
    await database.run(write)
    assert await database.run(read) == [("a", "1")]


async def test_a_file_limit_loses_nothing_and_half_writes_nothing(database: Database) -> None:
    pages = await database.run(lambda c: int(c.execute("PRAGMA page_count").fetchone()[0]))
    await database.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 2}").fetchone())

    def big(connection: sqlite3.Connection) -> None:
        for number in range(100):
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"k{number}", "x" * 1000))

    with pytest.raises(StoreError, match=r"full\. Nothing of it was kept\. Make room"):
        await database.run(big)

    assert await database.run(read) == []
    await database.run(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    await database.run(big)
    assert len(await database.run(read)) == 100


@pytest.fixture
def full_soon(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    with small_volume(tmp_path / "volume", 2**20) as folder:
        yield folder


def fill(ballast: Path) -> None:
    """Write until the volume takes no more."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


async def test_a_really_full_disk_is_survived_and_used_again(full_soon: Path) -> None:
    database = Database.open(full_soon / "state", owner="test")
    await database.run(write)
    ballast = full_soon / "ballast"
    fill(ballast)

    def big(connection: sqlite3.Connection) -> None:
        for number in range(200):
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"k{number}", "x" * 900))

    with pytest.raises(StoreError, match="Nothing of it was kept"):
        await database.run(big)
    assert await database.run(read) == [("a", "1")]

    ballast.unlink()
    await database.run(big)
    assert len(await database.run(read)) == 201
    database.close()


def test_a_full_disk_at_the_start_is_named(full_soon: Path) -> None:
    (full_soon / "state").mkdir()
    (full_soon / "state" / LOCK_NAME).write_text("")
    fill(full_soon / "ballast")

    with pytest.raises(StoreError, match="No space left on device"):
        Database.open(full_soon / "state", owner="test")

    (full_soon / "ballast").unlink()
    Database.open(full_soon / "state", owner="test").close()
