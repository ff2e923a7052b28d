"""Copies at a second place: whole or not at all, at a pace, kept as told, good to go back to."""

import asyncio
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile
from hypothesis import given
from hypothesis import strategies as st

from agent.checkpoints.backup import Kept, dropped
from agent.checkpoints.found import State
from agent.checkpoints.keeping import How, back_up, send_one
from agent.checkpoints.pace import Pace
from agent.checkpoints.places import PARTIAL, Copy, Place
from agent.checkpoints.work import Looker
from agent.launch.jobside.gpumedic_job.manifest import Manifest, Saved, manifest_path, seal
from core.errors import ActionFailed, ActionRefused, InputError
from tests.checkpoint_copies import CLOCK, brought_back, contents, copied, in_memory
from tests.checkpoint_files import (
    cut,
    flip,
    listed,
    looked_at,
    save,
    save_distributed,
    save_hugging_face,
)
from tests.real import small_volume

ROOT = Path(__file__).parent.parent


class JumpingClock:
    """A clock on which waiting takes no time: it jumps to the end of it."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_s(self) -> float:
        return self.at_s

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds


class Failing(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store in memory that takes so many pieces and then is full, until told otherwise."""

    protocol = "failing"
    store: dict[str, Any] = {}  # noqa: RUF012 - its own, as fsspec's memory has
    pseudo_dirs = [""]  # noqa: RUF012
    takes = 10**9

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        file = super()._open(path, mode=mode, **kwargs)
        if mode != "rb":
            file.write = self._write(file)
        return file

    def _write(self, file: Any) -> Callable[[bytes], int]:
        def write(data: bytes) -> int:
            if Failing.takes <= 0:
                raise OSError(28, "No space left on device")
            Failing.takes -= 1
            return int(type(file).write(file, data))

        return write


fsspec.register_implementation("failing", Failing, clobber=True)


@pytest.fixture
def memory() -> Place:
    return in_memory()


@pytest.mark.parametrize("kind", ["file", "distributed", "hugging face"])
async def test_what_comes_back_is_what_was_saved(tmp_path: Path, memory: Place, kind: str) -> None:
    source = tmp_path / "job"
    source.mkdir()
    path = {
        "file": lambda: save(source / "step_5.pt", 5),
        "distributed": lambda: save_distributed(source / "step_5", 5),
        "hugging face": lambda: save_hugging_face(source / "checkpoint-5", 5),
    }[kind]()

    done = await copied(source, memory)
    back, found = await brought_back(tmp_path / "new", memory)

    assert [each.name for each in done.sent] == [path.name]
    assert back.done
    assert (found.state, found.step, found.sealed) == (State.COMPLETE, 5, True)
    assert contents(tmp_path / "new" / path.name) == contents(path)


async def test_a_folder_takes_copies_and_shows_no_half_one(tmp_path: Path) -> None:
    source = tmp_path / "job"
    save_distributed(source / "step_5", 5)
    place = Place(str(tmp_path / "copies"))

    await copied(source, place)

    assert looked_at(tmp_path / "copies" / "step_5").state is State.COMPLETE
    assert place.partial() == {}


async def test_only_the_newest_whole_one_is_copied(tmp_path: Path, memory: Place) -> None:
    for step in (1, 2, 3):
        save(tmp_path / f"step_{step}.pt", step)
    flip(tmp_path / "step_3.pt", 2500)

    done = await copied(tmp_path, memory)
    again = await copied(tmp_path, memory)

    assert [each.name for each in done.sent] == ["step_2.pt"]
    assert (again.sent, again.there) == ((), ("step_2.pt",))
    with pytest.raises(InputError, match=r"step_3\.pt .* is bit-flipped"):
        await copied(tmp_path, memory, "step_3.pt")


async def test_nothing_whole_is_an_error_that_says_where_to_look(
    tmp_path: Path, memory: Place
) -> None:
    cut(save(tmp_path / "step_1.pt", 1), 100)

    with pytest.raises(InputError, match=r"there is none\. `gpumedic checkpoints list"):
        await copied(tmp_path, memory)


async def test_a_copy_that_was_cut_short_is_none_and_is_gone_on_with(tmp_path: Path) -> None:
    Failing.store.clear()
    for step in (1, 2):
        folder = save_hugging_face(tmp_path / f"checkpoint-{step}", step)
        save(folder / "extra.pt", step, rows=40)
    place = Place("failing://copies")
    Failing.takes = 3

    with pytest.raises(ActionFailed, match=r"No space left.*is kept and gone on with"):
        await copied(tmp_path, place)
    half = dict(place.partial())
    copies = place.copies()
    Failing.takes = 10**9
    done = await copied(tmp_path, place)

    assert copies == ()
    assert len(half) >= 3
    assert all(path.startswith(f"{PARTIAL}/checkpoint-2/") for path in half)
    assert [each.name for each in done.sent] == ["checkpoint-2"]
    assert place.copies()[0].whole
    assert place.partial() == {}


class Away(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store that cannot be reached, or takes what is written, as s3 does, in large parts."""

    protocol = "away"
    away = True

    def _open(self, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        return Part(self, path, mode=mode, block_size=1000)


class Part(AbstractBufferedFile):  # type: ignore[misc]
    taken = 0

    def _upload_chunk(self, final: bool = False) -> bool:
        if Away.away:
            raise OSError(111, "Connection refused")
        Part.taken += 1
        return True


def test_a_write_that_failed_is_not_tried_again_when_its_file_is_forgotten() -> None:
    """Fsspec's files do that by themselves: with s3, at the end of the process and for ever."""
    fsspec.register_implementation("away", Away, clobber=True)
    place = Place("away://copies")
    file = place.open("a")

    with pytest.raises(ActionFailed, match=r"Writing at away://copies: .*refused"):
        place.write(file, b"x" * 2000)
    Away.away = False
    place.close(file)
    del file
    gc.collect()

    assert Part.taken == 0


async def test_what_an_earlier_try_left_counts_only_where_it_is_the_same(
    tmp_path: Path, memory: Place
) -> None:
    path = save(tmp_path / "step_1.pt", 1)
    data = path.read_bytes()
    files = fsspec.filesystem("memory")
    half = f"/copies/job/{PARTIAL}/step_1.pt"
    for begun in (data[:1000], b"another" * 50, data + b"longer"):
        files.pipe_file(half, begun)
        await copied(tmp_path, memory)
        assert files.cat_file("/copies/job/step_1.pt") == data
        files.rm("/copies/job/step_1.pt.gpumedic.manifest.json")


async def test_a_source_that_changes_under_a_resumed_copy_is_noticed(
    tmp_path: Path, memory: Place
) -> None:
    """What was sent before and what is sent now must be the one block that was verified."""
    path = save(tmp_path / "step_1.pt", 1)
    checkpoint = looked_at(path)
    seal(path, Saved(1.0, 1), form="torch.save")
    flip(path, path.stat().st_size - 400)
    fsspec.filesystem("memory").pipe_file(
        f"/copies/job/{PARTIAL}/step_1.pt", path.read_bytes()[:500]
    )

    with pytest.raises(ActionFailed, match="changed after they were verified"):
        await send_one(memory, replace(checkpoint, sealed=True), how=How(), clock=CLOCK)

    assert memory.copies() == ()


def test_a_killed_backup_leaves_no_copy_and_the_next_one_ends_it(tmp_path: Path) -> None:
    """A real process is killed in the middle of a copy."""
    save(tmp_path / "step_1.pt", 1, rows=40_000)
    copies = tmp_path / "copies"
    words = ["checkpoints", "backup", str(tmp_path / "step_1.pt"), "--to", str(copies)]
    command = [sys.executable, "-m", "agent.cli", *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    half = copies / PARTIAL / "step_1.pt"
    screen, terminal = os.openpty()
    limited = [*command, "--limit", "4MB"]
    with subprocess.Popen(limited, cwd=tmp_path, env=env, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while not re.search(rb"Copying step_1\.pt: [1-9]", shown):
            shown += os.read(screen, 4096)
        process.kill()
    os.close(screen)
    begun = half.stat().st_size
    before = Place(str(copies)).copies()
    subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)

    assert 0 < begun < (tmp_path / "step_1.pt").stat().st_size
    assert before == ()
    assert (copies / "step_1.pt").read_bytes() == (tmp_path / "step_1.pt").read_bytes()


async def test_a_limit_bounds_the_bytes_a_second(tmp_path: Path, memory: Place) -> None:
    path = save(tmp_path / "step_1.pt", 1, rows=60_000)
    size = path.stat().st_size
    clock = JumpingClock()
    seen: list[float] = []

    async with Looker() as looker:
        await back_up(
            *(looker, tmp_path, memory),
            how=How(bytes_per_s=1e6),
            clock=clock,
            tell=lambda text: seen.append(clock.at_s) if "Copying" in text else None,
        )

    assert size / 1e6 - 1.0 <= clock.at_s <= size / 1e6
    assert seen == sorted(seen)


@given(sizes=st.lists(st.integers(1, 10**7), max_size=40))
def test_a_pace_never_lets_more_go_than_its_rate_and_one_piece(sizes: list[int]) -> None:
    clock, gone = JumpingClock(), 0

    async def spend() -> None:
        nonlocal gone
        pace = Pace(clock, 1e6)
        for size in sizes:
            await pace.spend(size)
            assert gone <= clock.at_s * 1e6 + 1.0
            gone += size

    asyncio.run(spend())


def copy_of(step: int, *, whole: bool = True) -> Copy:
    made = Manifest(1, "torch.save", step, float(step), "", None, None, 1, ())
    return Copy(f"step_{step}.pt", made, folder=False, missing=() if whole else ("a",))


@given(
    steps=st.lists(st.integers(0, 500), unique=True, max_size=30),
    last=st.integers(1, 6),
    every=st.integers(0, 100),
    halves=st.sets(st.integers(0, 500)),
)
def test_what_is_dropped_is_never_the_newest_nor_a_kept_step(
    steps: list[int], last: int, every: int, halves: set[int]
) -> None:
    copies = [copy_of(step, whole=step not in halves) for step in sorted(steps, reverse=True)]
    whole = [each for each in copies if each.whole]

    gone = dropped(copies, Kept(last, every))

    assert not {each.name for each in gone} & {each.name for each in whole[:last]}
    assert all(each.whole for each in gone)
    kept = [each for each in whole if each not in gone]
    assert all(not every or (each.manifest.step or 0) % every for each in gone)
    extra = [each for each in kept[last:] if not every or (each.manifest.step or 0) % every]
    assert extra == []


async def test_retention_is_applied_after_a_copy(tmp_path: Path, memory: Place) -> None:
    for step in (100, 150, 200, 250):
        save(tmp_path / f"step_{step}.pt", step)
        done = await copied(tmp_path, memory, keep=Kept(1, 200))

    assert [each.name for each in memory.copies()] == ["step_250.pt", "step_200.pt"]
    assert [each.name for each in done.dropped] == []


async def test_a_newer_valid_one_is_not_stepped_back_from(tmp_path: Path, memory: Place) -> None:
    save(tmp_path / "step_1.pt", 1)
    await copied(tmp_path, memory)
    save(tmp_path / "step_2.pt", 2)
    (tmp_path / "step_1.pt").unlink()

    with pytest.raises(ActionRefused, match=r"step_2\.pt of step 2 is there, valid and newer"):
        await brought_back(tmp_path, memory)
    cut(tmp_path / "step_2.pt", 400)
    back, _ = await brought_back(tmp_path, memory)

    assert back.done
    assert states(tmp_path) == {"step_2.pt": "truncated", "step_1.pt": "complete"}


async def test_an_older_one_comes_back_when_told(tmp_path: Path, memory: Place) -> None:
    save(tmp_path / "step_1.pt", 1)
    await copied(tmp_path, memory)
    save(tmp_path / "step_2.pt", 2)
    (tmp_path / "step_1.pt").unlink()

    back, _ = await brought_back(tmp_path, memory, "step_1.pt", anyway=True)
    again, _ = await brought_back(tmp_path, memory, "step_1.pt", anyway=True)

    assert (back.done, again.done) == (True, False)


async def test_a_newer_one_of_the_same_name_is_not_overwritten_unless_told(
    tmp_path: Path, memory: Place
) -> None:
    """A job that always saves to last.pt has gone on since the copy was made."""
    path = save(tmp_path / "last.pt", 100)
    await copied(tmp_path, memory)
    save(path, 200)
    newer = path.read_bytes()

    with pytest.raises(ActionRefused, match=r"last\.pt of step 200 is there, valid and newer"):
        await brought_back(tmp_path, memory)
    back, found = await brought_back(tmp_path, memory, anyway=True)

    assert found.step == 100
    assert back.aside is not None
    assert back.aside.read_bytes() == newer


async def test_what_has_its_name_and_is_damaged_is_put_aside(tmp_path: Path, memory: Place) -> None:
    path = save(tmp_path / "step_1.pt", 1)
    await copied(tmp_path, memory)
    flip(path, 2500)
    damaged = path.read_bytes()

    back, found = await brought_back(tmp_path, memory)

    assert found.valid
    assert back.aside is not None
    assert back.aside.read_bytes() == damaged
    assert states(tmp_path) == {"step_1.pt": "complete"}


async def test_a_damaged_copy_is_not_brought_back(tmp_path: Path, memory: Place) -> None:
    path = save(tmp_path / "step_1.pt", 1)
    await copied(tmp_path, memory)
    files = fsspec.filesystem("memory")
    data = bytearray(files.cat_file("/copies/job/step_1.pt"))
    data[2000] ^= 1
    files.pipe_file("/copies/job/step_1.pt", bytes(data))
    path.unlink()

    with pytest.raises(ActionFailed, match=r"damaged in the copy\. Choose another copy"):
        await brought_back(tmp_path, memory)

    assert contents(tmp_path) == {}


async def test_a_disk_without_room_is_told_before_anything_is_copied(tmp_path: Path) -> None:
    save(tmp_path / "step_1.pt", 1, rows=20_000)
    with small_volume(tmp_path / "small", 1_000_000) as volume:
        with pytest.raises(InputError, match=r"are free there\. Make room"):
            await copied(tmp_path / "step_1.pt", Place(str(volume)))

        assert list(volume.rglob("*.pt")) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nowhere://a", "Name a folder, or an address"),
        ("s3://key:secret@bucket/a", "holds a user or password"),
    ],
)
def test_an_address_that_cannot_be_used_says_what_can(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as found:
        Place(url)

    assert "secret" not in str(found.value)


async def test_a_place_to_read_from_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for name, found in (("nowhere", "there is no such folder"), ("file", "it is a file")):
        with pytest.raises(InputError, match=found):
            await brought_back(tmp_path / "new", Place(str(tmp_path / name)))

    assert not (tmp_path / "new").exists()


async def test_a_copy_is_not_brought_back_to_where_no_folder_can_be(
    tmp_path: Path, memory: Place
) -> None:
    save(tmp_path / "step_1.pt", 1)
    await copied(tmp_path, memory)
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(InputError, match=r"Not a directory.*Name a folder"):
        await brought_back(tmp_path / "file", memory)


async def test_a_sealed_checkpoint_keeps_its_word_in_the_copy(
    tmp_path: Path, memory: Place
) -> None:
    path = save(tmp_path / "step_9.pt", 9)
    seal(path, Saved(77.0, 9, world="w", fence=3, save_s=1.5), form="torch.save")

    await copied(tmp_path, memory)
    path.unlink()
    manifest_path(path).unlink()
    _, found = await brought_back(tmp_path, memory)

    assert (found.saved_s, found.world, found.fence, found.save_s) == (77.0, "w", 3, 1.5)


def states(folder: Path) -> dict[str, str]:
    return {each.name: str(each.state) for each in listed(folder).checkpoints}
