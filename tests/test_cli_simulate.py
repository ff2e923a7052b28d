"""``gpumedic simulate`` answers in one document, keeps what it has done, and refuses in words."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agent.experiments.report import report
from sim.library import names
from tests.command_line import ROOT, gpumedic, python

ALONE = ("simulate", "demo", "--policy", "none", "--duration", "30m")


def kept(folder: Path) -> list[Path]:
    """Return the results in an experiment's folder."""
    return list(folder.glob("found/runs/*/result.json"))


async def test_the_library_is_listed() -> None:
    rows = json.loads((await gpumedic("simulate", "list", "--json")).out)

    assert tuple(row["name"] for row in rows) == names()
    assert all(row["text"] and row["gpus"] >= 2 and row["duration_s"] > 0 for row in rows)


async def test_a_scenario_that_is_shown_can_be_run_from_its_file(tmp_path: Path) -> None:
    shown = await gpumedic("simulate", "show", "demo")
    (tmp_path / "mine.toml").write_text(shown.out)

    own = await gpumedic("simulate", "mine.toml", *ALONE[2:], "--json", folder=tmp_path)
    known = await gpumedic(*ALONE, "--json")

    assert own.code == 0
    keys = ("goodput_ratio", "lost_gpu_s", "faults", "interruptions")
    assert {key: json.loads(own.out)[key] for key in keys} == {
        key: json.loads(known.out)[key] for key in keys
    }


async def test_seeds_and_sweeps_make_tables_truth_and_a_report(tmp_path: Path) -> None:
    words = (*ALONE, "--seeds", "2", "--sweep", "cluster.racks=2,4", "--out", "found", "--json")

    said = await gpumedic(*words, folder=tmp_path)
    again = await gpumedic(*words, folder=tmp_path)

    found = json.loads(said.out)
    assert said.code == 0
    assert [row["settings"] for row in found["settings"]] == [
        {"cluster.racks": "2"},
        {"cluster.racks": "4"},
    ]
    assert [row["seed"] for row in found["runs"]] == [0, 1, 0, 1]
    table = pq.read_table(tmp_path / "found" / "runs.parquet").to_pylist()
    assert [row["goodput_ratio"] for row in table] == [
        row["goodput_ratio"] for row in found["runs"]
    ]
    assert [row["set.cluster.racks"] for row in table] == ["2", "2", "4", "4"]
    assert pq.read_table(tmp_path / "found" / "timeline.parquet").num_rows == 4 * 240
    truth = json.loads(kept(tmp_path)[0].with_name("truth.json").read_text())
    assert truth["best"]
    assert {"fault", "target", "onset_s", "symptoms", "best"} <= truth["faults"][0].keys()
    assert "<svg" in (tmp_path / "found" / "report.html").read_text()
    assert "4 of 4 runs were in found already" in again.err
    assert json.loads(again.out) == {**found, "taken_from_folder": 4}


async def test_another_setting_is_another_run(tmp_path: Path) -> None:
    await gpumedic(*ALONE, "--out", "found", "--json", folder=tmp_path)

    said = await gpumedic(*ALONE, "--set", "cluster.racks=2", "--out", "found", folder=tmp_path)

    assert "already" not in said.err


RUNS = 20_000  # more than are done before anybody can interrupt


async def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    words = (*ALONE, "--seeds", str(RUNS), "--jobs", "1", "--out", "found")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent.cli", *words,
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        while not kept(tmp_path):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = await process.communicate()

    done = len(kept(tmp_path))
    assert process.returncode == 130
    assert f"{RUNS - done} of {RUNS} runs were not finished" in told.decode()
    assert pq.read_table(tmp_path / "found" / "runs.parquet").num_rows == done


async def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    await gpumedic(*ALONE, "--out", "found", folder=tmp_path)
    file = kept(tmp_path)[0]
    file.write_text(file.read_text()[:100])

    said = await gpumedic(*ALONE, "--out", "found", folder=tmp_path)

    assert said.code == 1
    assert "Delete the file to have the run computed again" in said.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("silent-hnag", 1, "silent-hang"),
        ("nowhere.toml", 1, "nowhere.toml"),
        ("demo --set cluster.nods=4", 1, "no key cluster.nods; did you mean 'cluster.nodes'?"),
        ("demo --set nodes=4", 1, "there is no key nodes; did you mean cluster.nodes?"),
        ("list demo", 2, "only `simulate show NAME` has two"),
        ("demo --set nodes", 1, "--set 'nodes': found no key and value"),
        ("demo --set cluster.nodes=many", 1, "many"),
        ("demo --sweep cluster.racks=2,2", 1, "a value is empty or stands there twice"),
        ("demo --set cluster.racks=2 --sweep cluster.racks=2,4", 1, "cluster.racks is set twice"),
        ("demo --policy ruels", 1, "no policy 'ruels'; there are none, rules"),
        ("demo --policy learned", 1, "gpumedic train"),
        ("demo --policy rules --telemetry none", 1, "a policy that is told nothing does nothing"),
        ("demo --policy none --engine slurm", 1, "no engine 'slurm'; there are local and ray"),
        ("demo --policy none --jobs 0", 1, "--jobs 0"),
        ("demo --policy none --out file/sub", 1, "Writing results into file/sub"),
        ("demo --policy none --duration 0", 1, "ask for a time above 0"),
        ("demo --seeds 0", 2, "--seeds"),
        ("demo other", 2, "only `simulate show NAME` has two"),
        ("show", 2, "show needs a NAME"),
    ],
)
async def test_what_cannot_be_run_is_refused_with_what_can(
    words: str, code: int, told: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    said = await gpumedic("simulate", *words.split(), folder=tmp_path)

    assert said.code == code
    assert said.plain
    assert told in " ".join(said.err.split())


async def test_ray_that_is_missing_is_named_with_its_remedy(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['ray'] = None; import agent.cli;"
        f"sys.argv = ['gpumedic', *{ALONE}, '--engine', 'ray']; agent.cli.main()"
    )

    said = await python("-c", script, folder=tmp_path)

    assert said.code == 1
    assert "pip install 'gpumedic[ray]'" in said.err


def test_a_report_of_failures_only_is_a_page_too() -> None:
    assert "Every run failed" in report([], [])
