"""Whatever is cut off or turned over: a checkpoint is called whole only where it still loads."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.checkpoints import manifest as manifests
from agent.checkpoints.found import Checked, State
from agent.checkpoints.verifying import to_be_sealed
from agent.launch.jobside.gpumedic_job import manifest as sealing
from agent.launch.jobside.gpumedic_job.manifest import Saved
from core.errors import InputError
from tests.checkpoint_files import (
    NOW_S,
    cut,
    flip,
    looked_at,
    save,
    save_distributed,
    save_hugging_face,
    save_safetensors,
    state,
)

MANY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
DAMAGED = {State.TRUNCATED, State.BIT_FLIPPED, State.WRONG_FORMAT, State.TORN}


def some_file(folder: Path, kind: str) -> Path:
    """A small checkpoint of one file."""
    match kind:
        case "zip":
            return save(folder / "a.pt", 1, rows=1)
        case "old":
            return save(folder / "a.pt", 1, old=True, rows=1)
        case _:
            return save_safetensors(folder / "a.safetensors", {"w": np.ones((9, 5))})


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_file_cut_off_anywhere_is_truncated(tmp_path: Path, kind: str) -> None:
    path = some_file(tmp_path, kind)
    data = path.read_bytes()

    @MANY
    @given(size=st.integers(0, len(data) - 1))
    def check(size: int) -> None:
        path.write_bytes(data[:size])
        assert looked_at(path).state is State.TRUNCATED

    check()


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_file_whose_end_was_never_written_is_no_whole_one(tmp_path: Path, kind: str) -> None:
    """After a power failure a file may have its length, and zeros from some block on."""
    path = some_file(tmp_path, kind)
    data = path.read_bytes()
    sealing.seal(path, Saved(NOW_S), form=kind)

    @MANY
    @given(size=st.integers(0, len(data) - 64))
    def check(size: int) -> None:
        path.write_bytes(data[:size] + bytes(len(data) - size))
        assert looked_at(path).state in DAMAGED

    check()


def test_a_zip_with_a_bit_turned_over_is_damaged_or_loads_the_same(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", 1, rows=1)
    data = path.read_bytes()

    @settings(MANY, max_examples=150)
    @given(at=st.integers(0, len(data) - 1), bit=st.integers(0, 7))
    def check(at: int, bit: int) -> None:
        path.write_bytes(data)
        flip(path, at, bit)
        found = looked_at(path)
        if found.state is State.COMPLETE:
            assert same(
                torch.load(io.BytesIO(path.read_bytes()), weights_only=True), state(1, rows=1)
            )

    check()


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_distributed_checkpoint_cut_off_anywhere_is_truncated(tmp_path: Path, name: str) -> None:
    folder = save_distributed(tmp_path / "step_1", 1)
    path = folder / name
    data = path.read_bytes()

    @MANY
    @given(size=st.integers(0, len(data) - 1))
    def check(size: int) -> None:
        path.write_bytes(data[:size])
        assert looked_at(folder).state is State.TRUNCATED

    check()


@pytest.mark.parametrize("kind", ["old", "safetensors"])
def test_with_a_manifest_every_bit_counts(tmp_path: Path, kind: str) -> None:
    path = some_file(tmp_path, kind)
    sealing.seal(path, Saved(NOW_S, step=4), form=kind)
    data = path.read_bytes()
    before = looked_at(path)

    @MANY
    @given(at=st.integers(0, len(data) - 1), bit=st.integers(0, 7))
    def check(at: int, bit: int) -> None:
        path.write_bytes(data)
        flip(path, at, bit)
        assert looked_at(path).state in DAMAGED

    check()
    assert (before.state, before.checked, before.step) == (State.COMPLETE, Checked.CONTENTS, 4)


def test_a_manifest_tells_which_file_and_where(tmp_path: Path) -> None:
    folder = save_hugging_face(tmp_path / "checkpoint-3", 3)
    sealing.seal(folder, Saved(NOW_S, world="w1", fence=4, save_s=2.5), form="hugging face")
    whole = looked_at(folder)
    shard = folder / "model-00002-of-00002.safetensors"
    flip(shard, shard.stat().st_size - 3)

    damaged = looked_at(folder)

    assert whole.state is State.COMPLETE
    assert (whole.world, whole.fence, whole.save_s, whole.sealed) == ("w1", 4, 2.5, True)
    assert damaged.state is State.BIT_FLIPPED
    assert damaged.reason.startswith("model-00002-of-00002.safetensors: bytes 0 to ")


def test_a_file_that_its_manifest_has_and_the_folder_has_not_is_missed(tmp_path: Path) -> None:
    folder = save_hugging_face(tmp_path / "checkpoint-3", 3)
    sealing.seal(folder, Saved(NOW_S), form="hugging face")
    (folder / "optimizer.pt").unlink()

    found = looked_at(folder)

    assert (found.state, found.reason) == (
        State.TORN,
        "optimizer.pt is not there, and its manifest has it",
    )


def sealed_long_ago(path: Path) -> Path:
    """Seal a checkpoint, the manifest an hour older than whatever is written from now on."""
    sealing.seal(path, Saved(NOW_S), form="torch.save")
    written_s = path.stat().st_mtime
    os.utime(sealing.manifest_path(path), (written_s - 3600, written_s - 3600))
    return path


def two_ranks(folder: Path) -> Path:
    """A folder of two ranks' files and their manifest."""
    folder.mkdir()
    for rank in (0, 1):
        save(folder / f"rank_{rank}.pt", 1)
    return sealed_long_ago(folder)


def test_a_manifest_of_an_earlier_save_does_not_condemn_the_next(tmp_path: Path) -> None:
    """A job that overwrites last.pt and has no time left to seal it has still saved."""
    path = sealed_long_ago(save(tmp_path / "last.pt", 1))
    save(path, 2, rows=30)

    found = looked_at(path)

    assert (found.state, found.step, found.sealed) == (State.COMPLETE, 2, False)
    assert found.checked is Checked.CONTENTS
    assert found.notes[0].startswith("its manifest is of an earlier save")
    assert to_be_sealed(found)
    assert looked_at(path, read_bytes=0).checked is Checked.HEADERS


def test_a_manifest_of_an_earlier_save_does_not_condemn_a_folder_either(tmp_path: Path) -> None:
    folder = two_ranks(tmp_path / "step_1")
    for rank in (0, 1):
        save(folder / f"rank_{rank}.pt", 2, rows=30)

    found = looked_at(folder)

    assert (found.state, found.sealed) == (State.COMPLETE, False)


def test_an_interrupted_copy_that_kept_no_times_is_torn(tmp_path: Path) -> None:
    """The manifest was copied first, so whatever came after it is newer; one file never came."""
    folder = two_ranks(tmp_path / "step_1")
    (folder / "rank_1.pt").unlink()

    found = looked_at(folder)

    assert (found.state, found.sealed) == (State.TORN, True)
    assert found.reason == "rank_1.pt is not there, and its manifest has it"


def test_beside_a_manifest_that_was_cut_off_no_other_is_written(tmp_path: Path) -> None:
    """What was copied after it may never have come: nobody can say that this is all."""
    folder = two_ranks(tmp_path / "step_1")
    cut(folder / sealing.OF_FOLDER, 40)
    (folder / "rank_1.pt").unlink()

    found = looked_at(folder)

    assert "it is none of gpumedic's" in found.notes[0]
    assert not to_be_sealed(found)


def test_a_later_save_that_overwrote_some_files_only_is_not_whole(tmp_path: Path) -> None:
    folder = two_ranks(tmp_path / "step_1")
    os.utime(folder / "rank_1.pt", (1.0, 1.0))
    save(folder / "rank_0.pt", 2)

    found = looked_at(folder)

    assert found.state is State.BIT_FLIPPED
    assert found.reason.startswith("rank_0.pt: bytes 0 to ")


def test_a_manifest_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    path = save(tmp_path / "step_1.pt", 1)
    sealing.seal(path, Saved(NOW_S, step=1), form="torch.save")
    sealed = sealing.manifest_path(path)
    sealed.write_text(sealed.read_text().replace('"step": 1', '"step": 9'))

    found = looked_at(path)

    assert (found.state, found.step) == (State.COMPLETE, 1)
    assert "its own checksum is wrong" in found.notes[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"gpumedic_manifest": 3}'])
def test_what_is_no_manifest_is_said(text: str) -> None:
    with pytest.raises(InputError, match="Reading the manifest M"):
        manifests.from_text(text, where="M")


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    path = save(tmp_path / "step_1.pt", 1)
    made = sealing.measure(path, Saved(NOW_S), form="torch.save")
    text = sealing.as_text(made).replace('"step_1.pt"', '"../../etc/passwd"')
    body = sealing.as_text(
        sealing.Manifest(
            *(made.version, made.format, None, NOW_S, "", None, None, made.block_bytes),
            tuple(
                sealing.FileSum("../../etc/passwd", each.size, each.sha256) for each in made.files
            ),
        ).sealed()
    )

    with pytest.raises(InputError, match="own checksum is wrong"):
        manifests.from_text(text, where="M")
    with pytest.raises(InputError, match="leads out of the checkpoint"):
        manifests.from_text(body, where="M")


def test_a_torn_tail_of_a_part_is_truncated(tmp_path: Path) -> None:
    folder = save_distributed(tmp_path / "step_1", 1)
    cut(folder / ".metadata", -1)

    assert looked_at(folder).state is State.TRUNCATED
