"""A catalogue names each checkpoint for what it is, and the newest that a job can go back to."""

import asyncio
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.checkpoints.catalogue import Look
from agent.checkpoints.found import Checked, Format, Listing, State
from agent.checkpoints.names import number_in_name, step_in_name
from agent.checkpoints.opening import loaded
from agent.checkpoints.work import Looker
from core.errors import InputError
from tests.checkpoint_files import (
    NOW_S,
    cut,
    flip,
    listed,
    looked_at,
    save,
    save_distributed,
    save_hugging_face,
    save_safetensors,
    state,
)

ROOT = Path(__file__).parent.parent


def states(found: Listing) -> dict[str, str]:
    return {each.name: str(each.state) for each in found.checkpoints}


def test_every_form_of_damage_is_named_and_the_newest_whole_one_is_chosen(tmp_path: Path) -> None:
    for step in (100, 200, 300, 400, 500):
        save(tmp_path / f"step_{step}.pt", step)
    save_distributed(tmp_path / "step_600", 600)
    cut(tmp_path / "step_300.pt", 2000)
    flip(tmp_path / "step_400.pt", 3000)
    (tmp_path / "step_500.pt").write_text("<html>404 not found</html>")
    (tmp_path / "step_600" / ".metadata").unlink()

    found = listed(tmp_path)

    assert states(found) == {
        "step_600": "torn",
        "step_500.pt": "wrong format",
        "step_400.pt": "bit-flipped",
        "step_300.pt": "truncated",
        "step_200.pt": "complete",
        "step_100.pt": "complete",
    }
    assert found.newest_valid is not None
    assert found.newest_valid.name == "step_200.pt"
    reasons = {each.name: each.reason for each in found.checkpoints}
    assert "'<html>404 not fo'" in reasons["step_500.pt"]
    assert "written last" in reasons["step_600"]
    assert "2,000 bytes" in reasons["step_300.pt"]


@pytest.mark.parametrize("old", [False, True])
def test_a_file_of_torch_save_is_known_in_both_its_forms(tmp_path: Path, old: bool) -> None:
    found = looked_at(save(tmp_path / "model.pt", 7, old=old))

    assert found.format is (Format.TORCH_LEGACY if old else Format.TORCH_ZIP)
    assert (found.state, found.step) == (State.COMPLETE, 7)
    assert found.checked is (Checked.NO_CHECKSUMS if old else Checked.CONTENTS)
    assert found.size_bytes == (tmp_path / "model.pt").stat().st_size


def test_without_its_checksums_a_zip_is_not_said_to_be_flipped(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        save(tmp_path / "step_1.pt", 1)
    finally:
        torch.serialization.set_crc32_options(True)

    found = looked_at(tmp_path / "step_1.pt")

    assert (found.state, found.checked) == (State.COMPLETE, Checked.NO_CHECKSUMS)
    assert "without checksums" in found.notes[0]


def test_parts_of_a_distributed_checkpoint_are_held_to_their_own_checksums(tmp_path: Path) -> None:
    folder = save_distributed(tmp_path / "step_5", 5)
    whole = looked_at(folder)
    (file,) = folder.glob("*.distcp")
    flip(file, file.stat().st_size // 2)

    damaged = looked_at(folder)

    assert (whole.format, whole.state) == (Format.DISTRIBUTED, State.COMPLETE)
    assert (whole.checked, whole.step) == (Checked.CONTENTS, 5)
    assert damaged.state is State.BIT_FLIPPED
    assert "model.w" in damaged.reason


def test_a_distributed_file_that_is_short_gone_or_foreign_is_told_apart(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_distributed(tmp_path / f"step_{step}", step)
    cut(next((tmp_path / "step_1").glob("*.distcp")), -10)
    next((tmp_path / "step_2").glob("*.distcp")).unlink()
    next((tmp_path / "step_3").glob("*.distcp")).write_bytes(b"not this at all" * 1000)

    found = listed(tmp_path)

    assert states(found) == {"step_3": "wrong format", "step_2": "torn", "step_1": "truncated"}
    assert found.newest_valid is None


def test_an_index_that_would_run_a_program_is_refused_and_not_run(tmp_path: Path) -> None:
    folder = save_distributed(tmp_path / "step_5", 5)
    proof = tmp_path / "ran"
    (folder / ".metadata").write_bytes(pickle.dumps(Malice(f"touch {proof}")))

    found = looked_at(folder)

    assert found.state is State.WRONG_FORMAT
    assert "posix.system" in found.reason
    assert not proof.exists()


class Malice:
    def __init__(self, order: str) -> None:
        self.order = order

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.order,)


def test_a_file_that_names_programs_is_listed_and_said_to_need_trust(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    torch.save({"step": 3, "args": Malice(f"touch {proof}")}, tmp_path / "step_3.pt")

    found = looked_at(tmp_path / "step_3.pt")

    assert "names posix.system" in found.notes[0]
    assert not proof.exists()


def test_a_hugging_face_folder_is_held_to_its_index(tmp_path: Path) -> None:
    folder = save_hugging_face(tmp_path / "checkpoint-40", 40)
    shutil.copytree(folder, tmp_path / "checkpoint-50")
    (tmp_path / "checkpoint-50" / "model-00002-of-00002.safetensors").unlink()
    shutil.copytree(folder, tmp_path / "checkpoint-60")
    cut(tmp_path / "checkpoint-60" / "model-00001-of-00002.safetensors", -4)
    shutil.copytree(folder, tmp_path / "checkpoint-70")
    other = {"another": np.ones((2, 3))}
    save_safetensors(tmp_path / "checkpoint-70" / "model-00002-of-00002.safetensors", other)
    shutil.copytree(folder, tmp_path / "checkpoint-80")
    cut(tmp_path / "checkpoint-80" / "trainer_state.json", 9)

    found = listed(tmp_path)

    assert states(found) == {
        "checkpoint-40": "complete",
        "checkpoint-50": "torn",
        "checkpoint-60": "truncated",
        "checkpoint-70": "torn",
        "checkpoint-80": "truncated",
    }
    steps = {each.name: each.step for each in found.checkpoints}
    assert steps["checkpoint-40"] == 40
    assert "head" in next(e.reason for e in found.checkpoints if e.name == "checkpoint-70")


def test_a_folder_with_configuration_and_no_weights_is_torn(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-9"
    folder.mkdir()
    (folder / "config.json").write_text("{}")

    assert looked_at(folder).state is State.TORN


def fsdp(folder: Path) -> None:
    """As a trainer saves with FSDP's sharded state: the model in a folder of its own."""
    save_distributed(folder / "pytorch_model_fsdp_0", 500)
    save_distributed(folder / "optimizer_0", 500)
    torch.save({"m": 1}, folder / "scheduler.pt")


def deepspeed(folder: Path) -> None:
    """As a trainer saves with DeepSpeed's ZeRO-3: a folder of its own, named in ``latest``."""
    (folder / "latest").write_text("global_step500")
    (folder / "global_step500").mkdir()
    save(folder / "global_step500" / "zero_pp_rank_0_mp_rank_00_model_states.pt", 500)
    save(folder / "global_step500" / "zero_pp_rank_0_mp_rank_00_optim_states.pt", 500)


def litgpt(folder: Path) -> None:
    """As litgpt saves: weights by torch.save beside a configuration of Hugging Face's."""
    (folder / "config.json").write_text("{}")
    save(folder / "lit_model.pth", 500)


@pytest.mark.parametrize("write", [fsdp, deepspeed, litgpt])
def test_weights_in_a_folder_below_or_of_torch_save_are_weights(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    if write is not litgpt:
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": 500}))
    torch.save({"lr": 0.1}, folder / "training_args.bin")
    write(folder)

    found = looked_at(folder)

    assert (found.state, found.reason[:5], found.step) == (State.COMPLETE, "every", 500)


def test_what_goes_with_a_model_is_no_model(tmp_path: Path) -> None:
    """Killed after the optimiser and before the model, or the model went later."""
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    fsdp(folder)
    torch.save({"m": 1}, folder / "rng_state_0.pth")
    shutil.rmtree(folder / "pytorch_model_fsdp_0")

    found = looked_at(folder)

    assert found.state is State.TORN
    assert "no weights are there" in found.reason


def test_a_configuration_below_a_model_needs_none_and_one_beside_does(tmp_path: Path) -> None:
    folder = tmp_path / "step_5"
    for name in ("actor/huggingface", "actor/pooling", "critic"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    save(folder / "actor" / "model_world_size_1_rank_0.pt", 5)
    torn = looked_at(folder)
    save_safetensors(folder / "critic" / "model.safetensors", {"w": np.ones(3)})

    whole = looked_at(folder)

    assert (torn.state, torn.reason[:18]) == (State.TORN, "critic: no weights")
    assert whole.state is State.COMPLETE


def test_safetensors_are_read_by_their_header(tmp_path: Path) -> None:
    path = save_safetensors(tmp_path / "a.safetensors", {"w": np.ones((4, 5))}, {"step": "12"})
    whole = looked_at(path)
    damaged = path.read_bytes().replace(b'"data_offsets": [0, 80]', b'"data_offsets": [0, 72]')
    path.write_bytes(damaged)

    assert (whole.format, whole.state, whole.step) == (Format.SAFETENSORS, State.COMPLETE, 12)
    assert looked_at(path).state is State.BIT_FLIPPED


def test_a_file_of_another_format_under_a_wrong_name_is_named(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "step_1.pt", {"w": np.ones(3)})
    shutil.copy(save(tmp_path / "step_2.pt", 2), tmp_path / "step_3.safetensors")

    reasons = {each.name: each.reason for each in listed(tmp_path).checkpoints}

    assert "is safetensors" in reasons["step_1.pt"]
    assert "torch.save writes" in reasons["step_3.safetensors"]


def test_a_folder_per_step_with_a_file_per_rank_is_one_checkpoint(tmp_path: Path) -> None:
    for step in (10, 20):
        for rank in (0, 1):
            folder = tmp_path / "run" / f"global_step{step}" / f"mp_rank_{rank:02}"
            folder.mkdir(parents=True)
            save(folder / "model_states.pt", step)
    (tmp_path / "run" / "global_step20" / "mp_rank_01" / "model_states.pt").write_bytes(b"")

    found = listed(tmp_path)

    assert states(found) == {
        "run/global_step20": "truncated",
        "run/global_step10": "complete",
    }
    assert [each.files for each in found.checkpoints] == [2, 2]


def test_temporary_files_and_empty_folders_are_torn_saves(tmp_path: Path) -> None:
    save(tmp_path / "step_5.pt.tmp", 5)
    (tmp_path / "step_6").mkdir()

    assert states(listed(tmp_path)) == {"step_5.pt.tmp": "torn", "step_6": "torn"}


def test_other_files_links_and_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "step_5.pt", 5)
    (tmp_path / "last.pt").symlink_to("step_5.pt")
    (tmp_path / "train.log").write_text("step 5")
    (tmp_path / "data.bin").write_bytes(b"tokens" * 100)
    (tmp_path / ".half").mkdir()
    save(tmp_path / ".half" / "step_9.pt", 9)

    found = listed(tmp_path)

    assert states(found) == {"step_5.pt": "complete"}
    assert found.passed_over == 2


def test_contents_are_read_newest_first_while_they_fit(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path / f"step_{step}.pt", step)
    size = (tmp_path / "step_3.pt").stat().st_size

    found = listed(tmp_path, read_bytes=2 * size)

    assert [each.checked for each in found.checkpoints] == ["contents", "contents", "headers"]


def test_a_save_that_goes_on_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    """A real process writes half a checkpoint, and is killed in the middle of it."""
    data = save(tmp_path / "whole.pt", 1).read_bytes()
    half = tmp_path / "step_2.pt"
    program = (
        "import sys, time\n"
        f"file = open({str(half)!r}, 'wb', buffering=0)\n"
        "file.write(sys.stdin.buffer.read())\n"
        "print('half', flush=True)\n"
        "time.sleep(600)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    with writer:
        try:
            writer.stdin.write(data[: len(data) // 2])
            writer.stdin.close()
            assert writer.stdout.readline() == b"half\n"
            going_on = looked_at(half)
        finally:
            writer.send_signal(signal.SIGKILL)
    killed = looked_at(half)

    assert going_on.state is State.BEING_WRITTEN
    assert str(writer.pid) in going_on.reason
    assert killed.state is State.TRUNCATED


@pytest.mark.parametrize("form", ["torch.save", "saver"])
def test_what_a_killed_job_leaves_is_told_apart_and_the_newest_valid_loads(
    tmp_path: Path, form: str
) -> None:
    """A real torch is killed in the middle of a real save, of each form."""
    step = 2
    words = [sys.executable, "-m", "tests.checkpoint_saver", str(tmp_path), form]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        try:
            while job.stdout.readline() != f"{step}\n":
                assert job.poll() is None
            while not list(tmp_path.rglob(f"step_{step}*")):
                assert job.poll() is None
        finally:
            job.send_signal(signal.SIGKILL)

    found = listed(tmp_path)

    newest = found.newest_valid
    assert newest is not None
    assert newest.step in (step - 1, step)
    assert newest.checked is Checked.CONTENTS
    assert loaded(newest.path) == ""
    unfinished = [each for each in found.checkpoints if not each.valid]
    assert all(each.step == step for each in unfinished)
    assert {each.state for each in unfinished} <= {State.TORN, State.TRUNCATED}


def test_a_save_by_two_ranks_comes_back_whole_and_without_one_file_it_is_torn(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node=2", str(ROOT / "tests" / "checkpoint_ranks.py"), str(tmp_path)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "step_8"
    whole = looked_at(folder)
    files = sorted(folder.glob("*.distcp"))
    files[1].unlink()

    assert (whole.state, whole.checked) == (State.COMPLETE, Checked.CONTENTS)
    assert (whole.step, whole.sealed) == (8, True)
    assert len(files) == 2
    assert looked_at(folder).state is State.TORN


def test_names_say_the_step() -> None:
    steps = {
        "epoch=3-step=1200.ckpt": 1200,
        "iter_0000100": 100,
        "checkpoint-500": 500,
        "global_step77": 77,
        "ep3-ba900-rank0": 900,
        "ckpt_v2": None,
        "model.pt": None,
        "stepping-stones-9.pt": None,
    }

    assert {name: step_in_name(name) for name in steps} == steps
    assert number_in_name("run2_000350.pt") == 350


def test_after_a_roll_back_the_newest_is_not_the_highest_step(tmp_path: Path) -> None:
    """A world that started over has a higher fence token, and its word counts."""
    from agent.launch.jobside.gpumedic_job.manifest import Saved, seal

    for step, fence in ((100, 1), (60, 2)):
        path = save(tmp_path / f"step_{step}.pt", step)
        seal(path, Saved(1.0, step, fence=fence), form="torch.save")

    newest = listed(tmp_path).newest_valid

    assert newest is not None
    assert newest.step == 60


def test_a_folder_that_is_not_there_or_a_name_that_is_not_is_told(tmp_path: Path) -> None:
    save(tmp_path / "step_5.pt", 5)

    with pytest.raises(InputError, match="No such file"):
        listed(tmp_path / "away")
    with pytest.raises(InputError, match=r"step_6\.pt.* the nearest is step_5\.pt"):
        listed(tmp_path, names=("step_6.pt",))


def test_a_look_is_plain_data() -> None:
    assert json.dumps(Look().names) == "[]"
    assert state(1)["step"] == 1


def test_an_index_that_asks_for_much_memory_is_unreadable_and_ends_nobody(tmp_path: Path) -> None:
    """Read as the command line does, in a process with a limit: 2**31 places in a pickle's memo."""
    folder = tmp_path / "step_1"
    folder.mkdir()
    (folder / ".metadata").write_bytes(b"\x80\x04K\x01r\xff\xff\xff\x7f.")
    save(tmp_path / "step_0.pt", 0)

    async def look() -> Listing:
        async with Looker(memory_bytes=512 * 2**20) as looker:
            return await looker.look(tmp_path, Look(), now_s=NOW_S)

    found = asyncio.run(look())

    assert states(found) == {"step_1": "unreadable", "step_0.pt": "complete"}


def test_even_torch_s_own_functions_have_no_place_in_an_index(tmp_path: Path) -> None:
    folder = save_distributed(tmp_path / "step_5", 5)
    (folder / ".metadata").write_bytes(b"\x80\x04ctorch.hub\nload\n(S'x'\ntR.")

    assert "torch.hub.load" in looked_at(folder).reason
