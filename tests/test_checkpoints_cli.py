"""The command line on checkpoints: what it finds, what it says of wrong words, how it exits."""

import json
from pathlib import Path

from agent.launch.jobside.gpumedic_job.manifest import Saved, seal
from tests.checkpoint_files import cut, flip, save, save_distributed
from tests.command_line import gpumedic


def some(folder: Path) -> Path:
    """A folder with a checkpoint of each kind of damage below two whole ones."""
    for step in (1, 2, 3, 4):
        save(folder / f"step_{step}.pt", step)
    save_distributed(folder / "step_5", 5)
    flip(folder / "step_3.pt", 2000)
    cut(folder / "step_4.pt", -30)
    (folder / "step_5" / ".metadata").unlink()
    (folder / "step_6.pt").write_text("not a checkpoint")
    return folder


async def test_list_shows_each_and_names_the_newest_valid(tmp_path: Path) -> None:
    folder = str(some(tmp_path))
    said = await gpumedic("checkpoints", "list", folder)
    plain = json.loads((await gpumedic("checkpoints", "list", folder, "--json")).out)

    assert (said.code, said.plain) == (0, True)
    assert "newest valid: step_2.pt, step 2" in said.out
    for line in (
        "step_3.pt (bit-flipped): ",
        "step_4.pt (truncated): ",
        "step_5 (torn): ",
        "step_6.pt (wrong format): ",
    ):
        assert line in said.out
    assert plain["newest_valid"] == "step_2.pt"
    assert {each["name"]: each["state"] for each in plain["checkpoints"]} == {
        "step_6.pt": "wrong format",
        "step_5": "torn",
        "step_4.pt": "truncated",
        "step_3.pt": "bit-flipped",
        "step_2.pt": "complete",
        "step_1.pt": "complete",
    }


async def test_verify_loads_and_seals_and_fails_where_one_is_damaged(tmp_path: Path) -> None:
    folder = str(some(tmp_path))
    one = await gpumedic("checkpoints", "verify", folder, "step_2.pt", "--load", "--seal")
    all_of_them = await gpumedic("checkpoints", "verify", folder)
    (tmp_path / "step_2.pt").write_bytes(
        (tmp_path / "step_2.pt").read_bytes().replace(b"version", b"vErsion", 1)
    )
    after = await gpumedic("checkpoints", "verify", folder, "step_2.pt", "--json")

    assert (one.code, all_of_them.code) == (0, 1)
    assert "step_2.pt loads with weights_only" in one.out
    assert "step_2.pt: its manifest was written" in one.out
    assert (tmp_path / "step_2.pt.gpumedic.manifest.json").exists()
    assert after.code == 1
    assert json.loads(after.out)["checkpoints"][0]["state"] == "bit-flipped"


async def test_wrong_words_are_answered_with_what_would_work(tmp_path: Path) -> None:
    save(tmp_path / "step_2.pt", 2)
    folder = str(tmp_path)
    away = await gpumedic("checkpoints", "list", f"{folder}/away")
    name = await gpumedic("checkpoints", "verify", folder, "step_22.pt")
    size = await gpumedic("checkpoints", "list", folder, "--read", "5")
    verb = await gpumedic("checkpoints", "lits", folder)
    (tmp_path / "empty").mkdir()
    empty = await gpumedic("checkpoints", "list", f"{folder}/emty")
    nothing = await gpumedic("checkpoints", "list", f"{folder}/empty")
    store = await gpumedic("checkpoints", "restore", "s3://bucket/a", "--from", folder)

    everything = (away, name, size, verb, empty, nothing, store)
    assert [said.plain for said in everything] == [True] * 7
    assert [said.code for said in everything] == [1, 1, 2, 2, 1, 1, 2]
    assert "No such file or directory. Name a folder" in away.err
    assert "the nearest is step_2.pt" in name.err
    assert '"2GiB"' in size.err
    assert "Did you mean 'list'" in verb.err
    assert f"the nearest is {folder}/empty" in empty.err
    assert "No checkpoint is in" in nothing.err
    assert "s3://bucket/a is a second place" in " ".join(store.err.split())


async def test_list_advises_how_often_to_save_where_manifests_say_the_cost(tmp_path: Path) -> None:
    for step in (100, 200):
        path = save(tmp_path / f"step_{step}.pt", step)
        seal(path, Saved(1000.0 + step, step, save_s=10.0), form="torch.save")
    (tmp_path / "other").mkdir()
    save(tmp_path / "other" / "step_1.pt", 1)

    said = await gpumedic("checkpoints", "list", str(tmp_path), "--nodes", "256", "--json")
    without = await gpumedic("checkpoints", "list", str(tmp_path / "other"), "--nodes", "256")

    advice = json.loads(said.out)["advice"]
    assert (advice["save_s"], advice["now_s"]) == (10.0, 100.0)
    assert 900 < advice["best_s"] < 1100  # sqrt(2 * 10 s * 14.4 h), less the save
    assert "no manifest says how long the job stood" in without.out
