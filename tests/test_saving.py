"""Saves of a running job: in the background, whole or not at all, and only by the newest world."""

import fcntl
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from agent.checkpoints.found import Checked, State
from agent.checkpoints.manifest import from_text
from agent.launch.jobside import gpumedic_job
from agent.launch.jobside.gpumedic_job import checkpoints, rhythm
from agent.launch.jobside.gpumedic_job.fence import Fenced, claim, newest_world, passed
from agent.launch.jobside.gpumedic_job.manifest import (
    FileSum,
    Manifest,
    Saved,
    as_text,
    seal,
    write,
)
from agent.launch.jobside.gpumedic_job.saving import Outcome, Saver, load, save, state_of
from agent.launch.jobside.gpumedic_job.state import Parts, named
from core.errors import InputError
from tests.checkpoint_files import flip, listed, looked_at
from tests.real import small_volume

# torch says so where no process group is there, which is what is wanted.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
MIB = 2**20


def training(seed: int = 1, *, width: int = 8) -> Parts:
    """A model that has done a step, so that its optimizer has something to remember."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1 * seed)
    model(torch.randn(4, width)).square().sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5 + seed)
    return Parts(model, optimizer, [schedule], [], [1, 0, *range(2, 4)])


def same(one: Parts, other: Parts) -> bool:
    """Say whether two are alike to the last bit."""
    (first, ours), (second, theirs) = (named(whole(each)) for each in (one, other))
    return first == second and all(torch.equal(ours[name], theirs[name]) for name in ours)


def whole(parts: Parts) -> object:
    return [each.state_dict() for each in (parts.model, parts.optimizer, *parts.shared)]


class Told(list[Outcome]):
    """What a saver said of its saves."""

    @property
    def problems(self) -> list[str]:
        return [each.problem for each in self]


def saver(folder: Path, told: Told, **how: object) -> Saver:
    return Saver(folder, tell=told.append, **how)  # type: ignore[arg-type]


def saved(each: Saver, step: int, parts: Parts | None = None) -> None:
    """Save, and wait for its end."""
    each.save(state_of(parts or training()), step)
    each.wait()


def test_a_script_finds_what_it_needs_in_the_package() -> None:
    assert (gpumedic_job.Saver, gpumedic_job.Fenced) == (Saver, Fenced)
    with pytest.raises(AttributeError, match="no attribute 'Safer'"):
        _ = gpumedic_job.Safer


def test_a_save_is_what_the_state_was_then_and_the_catalogue_verifies_it(tmp_path: Path) -> None:
    parts, told = training(1), Told()
    job = saver(tmp_path, told, world=(5, 1))
    job.save(state_of(parts), 7)
    for each in parts.model.parameters():
        each.data.zero_()  # the training goes on at once
    job.close()

    found = looked_at(tmp_path / "step_7")
    best = checkpoints.newest(tmp_path, print)
    assert best is not None
    other = training(2)
    assert load(other, best) == 7
    assert same(other, training(1))
    assert other.optimizer.param_groups[0]["lr"] == 0.1
    assert (found.state, found.checked, found.step) == (State.COMPLETE, Checked.CONTENTS, 7)
    assert (found.world, found.fence, found.sealed) == ("5.1", 6, True)
    (outcome,) = told
    assert (outcome.step, outcome.problem) == (7, "")
    assert found.save_s == outcome.stall_s
    assert found.took_s is not None
    assert outcome.stall_s < found.took_s <= outcome.took_s


def test_a_world_that_is_left_over_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    told = Told()
    orphan = saver(tmp_path, told, world=(3, 9))
    saved(orphan, 1)
    with passed(tmp_path, (4, 0)):  # the next world begins while a save is on its way
        orphan.save(state_of(training()), 2)
    orphan.wait()

    says = r"world 4\.0 has claimed it, which is newer than 3\.9"
    with pytest.raises(Fenced, match=says):
        orphan.save(state_of(training()), 3)
    with pytest.raises(Fenced, match=says):
        saver(tmp_path, told, world=(3, 9)).enter()
    assert [each.fenced for each in told] == [False, True]
    assert [each.step for each in listed(tmp_path).checkpoints] == [1]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".gpumedic-world", "step_1"]


def test_who_began_last_is_newest_where_no_world_is_named(tmp_path: Path) -> None:
    told = Told()
    first, second = saver(tmp_path, told), saver(tmp_path, told)
    first.enter()
    second.enter()

    assert newest_world(tmp_path)[0] > 10**18
    saved(second, 1)
    assert told.problems == [""]


def test_a_frozen_process_that_holds_the_fence_is_passed_by(tmp_path: Path) -> None:
    claim(tmp_path, (1, 0))
    with (tmp_path / ".gpumedic-world").open("r+") as frozen:
        fcntl.flock(frozen, fcntl.LOCK_EX)
        with passed(tmp_path, (2, 0), held_s=0.0):
            assert newest_world(tmp_path) == (2, 0)
    assert [each.name for each in tmp_path.iterdir()] == [".gpumedic-world"]


def test_the_newest_whole_one_is_taken_and_why_not_another_is_said(tmp_path: Path) -> None:
    told: list[str] = []
    job = saver(tmp_path, Told(), world=(1, 0))
    for step in (1, 2, 3):
        saved(job, step)
    data = tmp_path / "step_3" / "__0_0.distcp"
    weight = state_of(training())["model"]["0.weight"].numpy().tobytes()
    flip(data, data.read_bytes().index(weight))
    (tmp_path / "step_2" / ".metadata").unlink()
    shutil.copytree(tmp_path / "step_1", tmp_path / "step_9.1.0.part")

    best = checkpoints.newest(tmp_path, told.append)

    assert best is not None
    assert best.path.name == "step_1"
    assert told == [
        "step_3 is passed over: __0_0.distcp from byte 0 on are not what was saved",
        "step_2 is passed over: its files are not what was saved",
    ]
    states = {each.name: each.state for each in listed(tmp_path).checkpoints}
    assert states == {
        "step_9.1.0.part": State.TORN,
        "step_3": State.BIT_FLIPPED,
        "step_2": State.TORN,
        "step_1": State.COMPLETE,
    }
    saver(tmp_path, Told(), world=(1, 1)).enter()
    assert not (tmp_path / "step_9.1.0.part").exists()


def test_one_that_cannot_be_read_does_not_hide_an_older_one(tmp_path: Path) -> None:
    """A file that opens with an error: here, a folder that is as long as the file was."""
    told: list[str] = []
    for step in (1, 2):
        file = tmp_path / f"step_{step}" / "data"
        file.parent.mkdir()
        file.write_bytes(b"x" * tmp_path.stat().st_size)
        seal(file.parent, Saved(float(step), step), form="x")
    file.unlink()
    file.mkdir()

    best = checkpoints.newest(tmp_path, told.append)

    assert best is not None
    assert best.path.name == "step_1"
    assert len(told) == 1
    assert told[0].startswith("step_2 is passed over: it cannot be read (IsADirectoryError: ")


@pytest.mark.parametrize(("size", "block"), [(10**15, 1), (10, 0), (-5, 5), (10**15, 64 * MIB)])
def test_a_manifest_of_lengths_that_nobody_saved_is_none(
    tmp_path: Path, size: int, block: int
) -> None:
    """Whoever writes one can seal it; as many blocks as it says must not be made of it."""
    made = Manifest(
        1, "x", 1, 1.0, "", None, None, block, (FileSum("data", size, ("0" * 64,)),)
    ).sealed()
    (tmp_path / "step_1").mkdir()
    write(tmp_path / "step_1", made)

    assert checkpoints.found(tmp_path) == []
    with pytest.raises(InputError, match=r"the checksums are not those .*Delete the manifest"):
        from_text(as_text(made), where="here")


def test_the_newest_stay_and_those_of_every_so_many_steps(tmp_path: Path) -> None:
    told = Told()
    job = saver(tmp_path, told, world=(1, 0), keep=2, keep_every=10)
    for step in (10, 11, 12, 13):
        saved(job, step)
        if step == 12:
            (tmp_path / "step_12" / ".metadata").unlink()  # damaged ones do not count
    names = {each.name for each in tmp_path.glob("step_*")}

    assert names == {"step_10", "step_11", "step_12", "step_13"}
    saved(job, 14)
    assert {each.name for each in tmp_path.glob("step_*")} == {"step_10", "step_13", "step_14"}
    assert told.problems == [""] * 5


def test_after_a_roll_back_a_step_saved_again_is_the_newer(tmp_path: Path) -> None:
    saved(saver(tmp_path, Told(), world=(1, 0)), 5, training(1))
    saved(saver(tmp_path, Told(), world=(2, 0)), 5, training(2))

    best = checkpoints.newest(tmp_path, print)

    assert best is not None
    assert best.path.name == "step_5-2"
    assert listed(tmp_path).newest_valid == looked_at(tmp_path / "step_5-2")


def test_what_cannot_be_removed_costs_no_save(tmp_path: Path) -> None:
    told = Told()
    job = saver(tmp_path, told, world=(1, 0), keep=1)
    saved(job, 1)
    (tmp_path / "step_1.0.0.part" / "in the way").mkdir(parents=True)
    saved(job, 2)

    assert {each.step for each in listed(tmp_path).checkpoints if each.valid} == {1, 2}
    assert told.problems == ["", ""]
    assert told[1].saved_s == looked_at(tmp_path / "step_2").saved_s
    assert f"old checkpoints in {tmp_path} were not removed: " in told[1].note


def test_a_full_disk_costs_a_checkpoint_and_not_the_one_before(tmp_path: Path) -> None:
    told, small, large = Told(), training(1), training(1, width=700)
    with small_volume(tmp_path / "disk", 4 * MIB) as disk:
        job = saver(disk, told, world=(1, 0))
        saved(job, 1, small)
        saved(job, 2, large)  # 5.9 MB
        there = listed(disk)
        saved(job, 3, small)
        names = sorted(each.name for each in disk.glob("step_*"))

    assert [each.name for each in there.checkpoints] == ["step_1"]
    assert there.newest_valid is not None
    assert told[1].problem.startswith(f"the disk of {tmp_path}/disk is full")
    assert told[1].problem.endswith("What was saved before stays.")
    assert not told[1].fenced
    assert names == ["step_1", "step_3"]


def test_a_folder_that_cannot_be_written_is_told_and_raises_nothing(tmp_path: Path) -> None:
    told = Told()
    job = saver(tmp_path / "saved", told, world=(1, 0))
    saved(job, 1)
    shutil.rmtree(tmp_path / "saved")
    (tmp_path / "saved").write_text("a file where the folder was")
    saved(job, 2)

    assert told[1].problem.startswith(f"saving in {tmp_path}/saved failed: ")
    assert "NotADirectoryError" in told[1].problem


def test_one_file_is_sealed_too_and_fenced(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(training(1), path, 12, (2, 0))
    before = path.read_bytes()

    with pytest.raises(Fenced, match="newer"):
        save(training(2), path, 13, (1, 7))

    found = looked_at(path)
    assert path.read_bytes() == before
    assert (found.state, found.checked, found.step) == (State.COMPLETE, Checked.CONTENTS, 12)
    assert (found.world, found.sealed) == ("2.0", True)
    assert torch.load(path, weights_only=True)["step"] == 12


def test_a_job_saves_by_steps_until_somebody_asks_for_a_time(tmp_path: Path) -> None:
    pace = rhythm.Rhythm(tmp_path, every=10)

    def due(step: int) -> bool:
        found = pace.due(step)
        if found:
            pace.began()
        return found

    by_steps = [step for step in range(1, 31) if due(step)]
    rhythm.ask(tmp_path, 3600.0)
    pace.look()
    by_time = [step for step in range(31, 61) if due(step)]
    pace.want()

    assert by_steps == [10, 20, 30]
    assert by_time == []
    assert due(61)
    assert (rhythm.asked(tmp_path), rhythm.said(tmp_path)) == (3600.0, 3600.0)
    rhythm.ask(tmp_path, 0.1)
    pace.look()
    while not due(62):
        pass
    assert not due(62)


def test_a_save_that_cannot_begin_yet_stays_due(tmp_path: Path) -> None:
    pace = rhythm.Rhythm(tmp_path, every=10)

    assert pace.due(10)
    assert pace.due(11)
    pace.began()
    assert not pace.due(12)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"interval_s": "often"}', '{"interval_s": -1}'])
def test_nonsense_is_not_gone_by(tmp_path: Path, text: str) -> None:
    (tmp_path / rhythm.ASKED).write_text(text)
    pace = rhythm.Rhythm(tmp_path, every=10)
    pace.look()

    assert pace.interval_s is None
