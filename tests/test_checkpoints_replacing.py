"""A good copy stays: whatever became of its source, of the store, or of the copy in its place."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from agent.checkpoints.audit import Audit, Watched
from agent.checkpoints.backup import Kept, SourceDamaged, check, prune
from agent.checkpoints.found import Checkpoint
from agent.checkpoints.keeping import How, send_one
from agent.checkpoints.pace import Pace
from agent.checkpoints.places import PARTIAL, Copy, Place
from agent.launch.jobside.gpumedic_job.manifest import (
    MAX_BYTES,
    Saved,
    as_text,
    manifest_path,
    measure,
    seal,
)
from core.clock import ManualClock
from core.errors import ActionFailed, InputError
from tests.checkpoint_copies import (
    CLOCK,
    Counting,
    Losing,
    Stopping,
    StoppingMemory,
    brought_back,
    contents,
    copied,
    in_memory,
)
from tests.checkpoint_files import (
    flip,
    looked_at,
    save,
    save_distributed,
    save_hugging_face,
    save_safetensors,
)

HOW = How()


@pytest.fixture
def memory() -> Place:
    return in_memory()


async def sent(place: Place, path: Path, *, name: str = "", how: How = HOW) -> Copy | None:
    """Copy what was found whole, without reading it in a process of its own."""
    checkpoint = looked_at(path)
    named = replace(checkpoint, name=name or checkpoint.name)
    return await send_one(place, named, how=how, clock=CLOCK)


async def fits(place: Place, copy: Copy) -> bool:
    return await check(place, copy, Pace(CLOCK, None)) == ()


def rot(path: Path, at: int) -> None:
    """Turn over a bit as a disk does: nothing says that the file was written."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    flip(path, at)
    os.utime(path, ns=times)


async def test_what_did_not_fit_once_is_no_copy_the_next_time(
    tmp_path: Path, memory: Place
) -> None:
    """A source that changed under its manifest, whether or not an earlier try sent all of it."""
    path = save(tmp_path / "step_1.pt", 1)
    seal(path, Saved(1.0, 1), form="torch.save")
    checkpoint = looked_at(path)
    flip(path, 2500)
    tried = []
    for begun in (b"", b"", path.read_bytes()):
        if begun:
            fsspec.filesystem("memory").pipe_file(f"/copies/job/{PARTIAL}/step_1.pt", begun)
        with pytest.raises(ActionFailed, match="changed after they were verified"):
            await send_one(memory, checkpoint, how=How(), clock=CLOCK)
        tried.append((memory.copies(), dict(memory.partial())))

    assert tried == [((), {})] * 3


async def test_a_source_that_rotted_takes_no_good_copy_s_place(
    tmp_path: Path, memory: Place
) -> None:
    """Its format has no checksums: only the copy's manifest says what it was."""
    path = save_safetensors(tmp_path / "step_1.safetensors", {"w": np.ones(300)})
    good = path.read_bytes()
    await copied(tmp_path, memory)
    rot(path, len(good) - 50)

    with pytest.raises(SourceDamaged, match=r"source is damaged.*step_1\.safetensors: bytes 0"):
        await copied(tmp_path, memory)
    seal(path, Saved(path.stat().st_mtime, 1), form="safetensors")  # whole, as far as it is seen
    with pytest.raises(SourceDamaged, match="touch it and copy it again"):
        await copied(tmp_path, memory)
    await brought_back(tmp_path / "new", memory)

    assert (tmp_path / "new" / path.name).read_bytes() == good


def audit(folder: Path, clock: ManualClock) -> Audit:
    """Watch a job's folder with a second place beside it."""
    watched = Watched("train", folder / "job", 3600.0, copies=str(folder / "copies"))
    return Audit((watched,), clock)


async def test_a_source_that_rots_is_told_with_the_day_s_reading_and_its_copy_stays(
    tmp_path: Path, clock: ManualClock
) -> None:
    """A format without checksums. It is held against its copy once a day and not at each audit."""
    start_s = clock.now_s()
    (tmp_path / "job").mkdir()
    path = save_safetensors(tmp_path / "job" / "step_1.safetensors", {"w": np.ones(300)})
    good = path.read_bytes()
    os.utime(path, (start_s, start_s))
    found = audit(tmp_path, clock)
    said = []
    for hours in (0, 1, 25, 26):
        await clock.advance(start_s + hours * 3600.0 - clock.now_s())
        await found.look()
        await found.copy()
        said.append(found.standing["train"].copy_problem)
        if not hours:
            rot(path, len(good) - 50)

    assert said[:2] == ["", ""]
    assert "step_1.safetensors: the source is damaged" in said[2]
    assert said[3] == said[2]
    assert (tmp_path / "copies" / path.name).read_bytes() == good
    assert found.standing["train"].copied_s == start_s


async def test_what_was_saved_again_is_copied_again(tmp_path: Path, memory: Place) -> None:
    path = save(tmp_path / "last.pt", 1)
    await copied(tmp_path, memory)
    save(path, 2)
    os.utime(path, (4e9, 4e9))

    done = await copied(tmp_path, memory)

    assert [each.name for each in done.sent] == ["last.pt"]
    assert fsspec.filesystem("memory").cat_file("/copies/job/last.pt") == path.read_bytes()


def saved(path: Path, step: int) -> Checkpoint:
    """Save a file, or where the name has no ending a folder, and seal it."""
    save(path, step) if path.suffix else save_distributed(path, step)
    seal(path, Saved(float(step), step), form="x")
    return looked_at(path)


@pytest.mark.parametrize(("name", "below"), [("a.pt", ""), ("a", ""), ("a", "a/step_9.pt")])
@pytest.mark.parametrize("store", ["stopping://copies", "stopping-folder://"])
async def test_wherever_a_copy_s_replacement_is_killed_one_can_be_gone_back_to(
    tmp_path: Path, store: str, name: str, below: str
) -> None:
    """Also where another copy lies below its name, so that no folder can just be renamed."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = (saved(tmp_path / age / name, step) for step, age in enumerate(("old", "new")))
    other = replace(saved(tmp_path / "step_9.pt", 9), name=below)
    for changes in range(100):
        StoppingMemory.store.clear()
        place = Place(store if "copies" in store else f"{store}{tmp_path}/copies-{changes}")
        for each in (old, *([other] if below else [])):
            await send_one(place, each, how=HOW, clock=CLOCK)
        Stopping.left = changes
        with suppress(ActionFailed):
            await send_one(place, new, how=HOW, clock=CLOCK)
        left, Stopping.left = Stopping.left, 10**9
        there = place.copies()
        whole = [each.whole and await fits(place, each) for each in there]
        await send_one(place, new, how=HOW, clock=CLOCK)
        prune(place, Kept(9), (name,))

        assert all(whole)
        assert {each.name for each in there} == {name, below} - {""}
        assert [each.manifest.step for each in place.copies() if each.name == name] == [1]
        assert place.partial() == {}
        if left:
            break
    assert changes > 5


async def test_a_copy_that_does_not_come_back_leaves_the_one_before(tmp_path: Path) -> None:
    place = Place("losing://copies")
    path = save(tmp_path / "last.pt", 1)
    await sent(place, path)
    save(path, 2)
    Losing.loses = True

    with pytest.raises(ActionFailed, match="did not come back as it was sent"):
        await sent(place, path, how=How(read_back=True))
    Losing.loses = False

    (copy,) = place.copies()
    assert copy.manifest.step == 1
    assert await fits(place, copy)
    assert place.partial() == {}


@pytest.mark.parametrize("where", ["memory", "folder"])
async def test_a_copy_that_goes_takes_none_below_its_name_with_it(
    tmp_path: Path, memory: Place, where: str
) -> None:
    place = memory if where == "memory" else Place(str(tmp_path / "copies"))
    await sent(place, save_hugging_face(tmp_path / "out", 9))
    await sent(place, save_hugging_face(tmp_path / "checkpoint-5", 5), name="out/checkpoint-5")
    await sent(place, save(tmp_path / "step_4.pt", 4), name="out/step_4.pt")
    (out,) = (each for each in place.copies() if each.name == "out")

    place.drop(out)

    there = place.copies()
    assert {each.name for each in there} == {"out/checkpoint-5", "out/step_4.pt"}
    assert [await fits(place, each) and each.whole for each in there] == [True] * 2
    assert place.size("out/config.json") is None


async def test_a_final_model_and_the_checkpoints_below_it_come_and_go_one_by_one(
    tmp_path: Path, memory: Place
) -> None:
    (tmp_path / "job").mkdir()
    out = save_hugging_face(tmp_path / "job" / "out", 9)
    below = save_hugging_face(out / "checkpoint-5", 5)
    await copied(tmp_path / "job", memory, "out", "out/checkpoint-5")
    kept = {each.name: each.manifest.files for each in memory.copies()}
    broken = out / "config.json"
    broken.write_text("{")
    before = contents(below)

    back, found = await brought_back(tmp_path / "job", memory, "out", anyway=True)

    assert {name: len(files) for name, files in kept.items()} == {"out": 6, "out/checkpoint-5": 6}
    assert found.valid
    assert back.aside is not None
    assert (back.aside / "config.json").read_text() == "{"
    assert not (back.aside / "checkpoint-5").exists()
    assert contents(below) == before


def saved_at(path: Path, step: int, time_s: float) -> Path:
    save(path, step)
    os.utime(path, (time_s, time_s))
    return path


async def test_after_a_roll_back_without_a_fence_the_newest_copy_is_the_one_saved_last(
    tmp_path: Path, memory: Place
) -> None:
    """The run diverged at step 300; who removed that goes on from 100 with lower steps."""
    for number, step in enumerate((200, 250, 300)):
        path = saved_at(tmp_path / f"step_{step}.pt", step, 1000.0 + number)
        await copied(tmp_path, memory)
        path.unlink()
    saved_at(tmp_path / "step_150.pt", 150, 2000.0)

    done = await copied(tmp_path, memory, keep=Kept(3))
    _, back = await brought_back(tmp_path / "new", memory)

    assert [each.name for each in done.sent] == ["step_150.pt"]
    assert [each.name for each in done.dropped] == ["step_200.pt"]
    assert [each.manifest.step for each in memory.copies()] == [150, 300, 250]
    assert back.step == 150


async def test_a_copy_that_was_asked_for_is_not_dropped_at_once(
    tmp_path: Path, memory: Place
) -> None:
    for step in (1, 2, 3):
        saved_at(tmp_path / f"step_{step}.pt", step, 1000.0 + step)
    await copied(tmp_path, memory, "step_2.pt", "step_3.pt")

    done = await copied(tmp_path, memory, "step_1.pt", keep=Kept(1))

    assert [each.name for each in done.dropped] == ["step_2.pt"]
    assert [each.name for each in memory.copies()] == ["step_3.pt", "step_1.pt"]


async def test_the_newest_copy_s_age_is_of_what_is_there(
    tmp_path: Path, clock: ManualClock
) -> None:
    """The folder has lost its newest checkpoint, of which there is a copy."""
    start_s = clock.now_s()
    job = tmp_path / "job"
    job.mkdir()
    for step in (1, 2):
        path = saved_at(job / f"step_{step}.pt", step, start_s + step)
        await copied(job, Place(str(tmp_path / "copies")))
    path.unlink()
    found = audit(tmp_path, clock)

    await found.look()
    await found.copy()

    assert found.saved_s("train") == start_s + 1
    assert found.standing["train"].copied_s == start_s + 2


@pytest.mark.parametrize(
    "name",
    ["../out.pt", "a/../../out.pt", "/out.pt", "a//out.pt", "./out.pt", ".gpumedic-world", "a\0b"],
)
async def test_a_name_that_leads_elsewhere_is_no_copy(
    tmp_path: Path, memory: Place, name: str
) -> None:
    """Whoever may write to a store chooses the names in it."""
    path = save(tmp_path / "out.pt", 1)
    manifest = measure(path, Saved(1.0, 1), form="torch.save")
    store = fsspec.filesystem("memory")
    store.pipe_file(f"/copies/job/{name}", path.read_bytes())
    store.pipe_file(f"/copies/job/{name}.gpumedic.manifest.json", as_text(manifest).encode())
    path.unlink()

    with pytest.raises(InputError, match="none is whole"):
        await brought_back(tmp_path / "job", memory)

    assert memory.copies() == ()
    assert contents(tmp_path) == {}


async def test_no_more_of_a_manifest_is_read_than_one_has(tmp_path: Path) -> None:
    """What a listing shows as a manifest may be of any size."""
    place = Place("counting://copies")
    await sent(place, save(tmp_path / "step_1.pt", 1))
    with place.open("step_2.pt.gpumedic.manifest.json") as huge:
        huge.write(bytes(MAX_BYTES + 1))
    Counting.read = 0

    (copy,) = place.copies()

    assert (copy.name, copy.whole) == ("step_1.pt", True)
    assert Counting.read < 10_000


@pytest.mark.parametrize("folder", [True, False])
async def test_what_is_put_aside_keeps_its_manifest(
    tmp_path: Path, memory: Place, folder: bool
) -> None:
    path = save_distributed(tmp_path / "last", 1) if folder else save(tmp_path / "last.pt", 1)
    seal(path, Saved(1.0, 1), form="x")
    sealed = manifest_path(path).read_bytes()
    await copied(tmp_path, memory)
    first = path / ".metadata" if folder else path
    flip(first, first.stat().st_size // 2)
    before = contents(path)

    back, found = await brought_back(tmp_path, memory)

    assert found.valid
    assert back.aside is not None
    assert list(contents(back.aside).values()) == list(before.values())
    assert manifest_path(back.aside).read_bytes() == sealed
