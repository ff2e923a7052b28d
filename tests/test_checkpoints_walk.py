"""A look finds the checkpoints below others, outlives what vanishes, and has time for many."""

import asyncio
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from agent.checkpoints.catalogue import Catalogue, Look
from agent.checkpoints.found import Listing, State
from agent.checkpoints.opening import loaded
from agent.checkpoints.progress import START_S, Progress, due_s, followed, in_time
from agent.checkpoints.verifying import seal_it
from agent.checkpoints.work import Task, listing
from core.clock import RealClock
from tests.checkpoint_files import (
    NOW_S,
    listed,
    looked_at,
    save,
    save_distributed,
    save_hugging_face,
    save_safetensors,
)


def run_with_final_model(out: Path) -> Path:
    """As a trainer leaves it: checkpoints, and the model at the end in the folder that has them."""
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_safetensors(out / "model.safetensors", {"w": np.ones(3)})
    for step in (500, 1000):
        save_hugging_face(out / f"checkpoint-{step}", step)
    return out


def test_a_final_model_does_not_hide_the_checkpoints_below_it(tmp_path: Path) -> None:
    out = run_with_final_model(tmp_path / "out")

    found = listed(out)

    files = {each.name: each.files for each in found.checkpoints}
    assert files == {"checkpoint-1000": 6, "checkpoint-500": 6, "out": 2}
    assert all(each.valid for each in found.checkpoints)
    assert found.newest_valid is not None
    assert found.newest_valid.step == 1000
    assert {each.name for each in listed(tmp_path).checkpoints} == {
        *("out", "out/checkpoint-500", "out/checkpoint-1000")
    }


def test_a_final_model_is_sealed_and_loaded_without_the_checkpoints_below_it(
    tmp_path: Path,
) -> None:
    out = run_with_final_model(tmp_path / "out")
    (out / "checkpoint-500" / "optimizer.pt").write_bytes(b"PK\x03\x04 no more")
    seal_it(listed(out, names=("out",)).checkpoints[0])
    shutil.rmtree(out / "checkpoint-1000")

    (found,) = listed(out, names=("out",)).checkpoints

    assert (found.state, found.sealed, found.files) == (State.COMPLETE, True, 2)
    assert loaded(found.path) == ""


@pytest.mark.parametrize("name", ["checkpoint-500", "best"])
def test_what_deepspeed_has_below_a_checkpoint_is_a_part_of_it(tmp_path: Path, name: str) -> None:
    """By its step, and after renaming by the file that names it."""
    folder = save_hugging_face(tmp_path / name, 500)
    (folder / "latest").write_text("global_step500\n")
    (folder / "global_step500").mkdir()
    save(folder / "global_step500" / "mp_rank_00_model_states.pt", 500)

    found = looked_at(folder)

    assert (found.name, found.files, found.state) == (name, 8, State.COMPLETE)


def test_a_folder_that_vanishes_while_it_is_looked_for_is_not_there(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_distributed(tmp_path / f"step_{step}", step)

    def retention(what: str, files: int, size_bytes: int) -> None:
        if what == str(tmp_path / "step_2"):
            shutil.rmtree(what, ignore_errors=True)

    found = Catalogue(tmp_path, Look(read_bytes=0), NOW_S, retention).listing()

    assert states(found) == {"step_3": "complete", "step_1": "complete"}


def states(found: Listing) -> dict[str, str]:
    return {each.name: str(each.state) for each in found.checkpoints}


def test_a_folder_that_cannot_be_read_is_told_and_hides_no_other(tmp_path: Path) -> None:
    """Root may read all, so a link that leads in a circle stands for a disk's error."""
    for name in ("kept", "step_2"):
        save_distributed(tmp_path / name, 2)
    (tmp_path / "circle.pt").symlink_to(tmp_path / "circle.pt")

    def break_it(what: str, files: int, size_bytes: int) -> None:
        if what == str(tmp_path / "kept") and not (tmp_path / "kept").is_symlink():
            shutil.rmtree(what)
            (tmp_path / "kept").symlink_to("kept")

    found = Catalogue(tmp_path, Look(read_bytes=0), NOW_S, break_it).listing()

    assert states(found) == {"step_2": "complete", "kept": "unreadable"}
    assert "symbolic links" in found.checkpoints[1].reason


def test_one_checkpoint_is_read_without_a_look_at_the_others(tmp_path: Path) -> None:
    for name in ("a/step_1", "a/step_2", "b/step_1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_distributed(tmp_path / name, 1)
    heard = []

    def ahead(what: str, files: int, size_bytes: int) -> None:
        heard.append(what)

    found = Catalogue(tmp_path, Look(names=("a/step_1",)), NOW_S, ahead).listing()

    assert states(found) == {"a/step_1": "complete"}
    below = [tmp_path, tmp_path / "a", tmp_path / "a" / "step_1"]
    assert set(heard) == {"a/step_1", *map(str, below)}


def test_a_look_says_how_much_there_is_to_do_next(tmp_path: Path) -> None:
    path = save(tmp_path / "step_1.pt", 1)
    save_distributed(tmp_path / "step_2", 2)
    work: dict[str, tuple[int, int]] = {}

    def ahead(what: str, files: int, size_bytes: int) -> None:
        before = work.get(what, (0, 0))
        work[what] = (max(before[0], files), max(before[1], size_bytes))

    Catalogue(tmp_path, Look(), NOW_S, ahead).listing()

    assert work[str(tmp_path)] == (2, 0)
    assert work["step_1.pt"] == (1, path.stat().st_size)
    assert work["step_2"][0] == 2


def test_a_worker_says_how_far_its_look_is(tmp_path: Path) -> None:
    save(tmp_path / "step_1.pt", 1)
    with followed("starting") as progress:
        begun_s, _ = progress.heard()

        listing(Task(str(tmp_path), Look(), NOW_S, progress.path))

        due, what = progress.heard()
    assert what == "step_1.pt"
    assert due >= begun_s


def test_so_many_files_and_bytes_have_so_much_time() -> None:
    now_s = RealClock().monotonic_s()

    assert due_s() - now_s >= START_S
    assert due_s(files=1000) - now_s >= START_S + 100
    assert due_s(size_bytes=10**10) - now_s >= START_S + 500


def test_where_progress_cannot_be_said_the_work_goes_on() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Progress(f"{folder}/gone").ahead("step_1.pt")


async def test_a_call_that_goes_on_is_waited_for_and_one_that_hangs_is_not() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    left = iter([0.001, 0.001, 60.0])

    def left_s() -> float:
        seconds = next(left)
        if seconds > 1:
            answer.set_result("done")
        return seconds

    async def call() -> str:
        return await answer

    never = asyncio.create_task(asyncio.Event().wait())

    assert await in_time(asyncio.create_task(call()), left_s) == "done"
    with pytest.raises(TimeoutError):
        await in_time(never, lambda: 0.0)
    assert never.cancelled()
