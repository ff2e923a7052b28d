"""A script that torchrun runs, run unchanged: same environment, restart from its checkpoint."""

from pathlib import Path

import pytest

from tests.command_line import ROOT
from tests.launching import SCRIPTS, launched

pytestmark = pytest.mark.timeout(240)
SCRIPT = str(SCRIPTS / "as_torchrun.py")


async def test_a_torchrun_script_is_restarted_from_its_checkpoint(tmp_path: Path) -> None:
    words = ("--nproc_per_node=2", "--max_restarts=1", "--rdzv_id=mine", "--", SCRIPT)
    async with launched(*words, str(tmp_path)) as job:
        assert await job.code() == 0

    assert [each["first"] for each in job.said] == [0, 0, 5, 5]
    assert {each["world"] for each in job.said} == {2}
    assert {each["TORCHELASTIC_RUN_ID"] for each in job.said} == {"mine"}
    assert [each["TORCHELASTIC_RESTART_COUNT"] for each in job.said] == ["0", "0", "1", "1"]
    assert {(each["RANK"], each["LOCAL_RANK"]) for each in job.said} == {("0", "0"), ("1", "1")}


async def test_nothing_of_ours_but_the_hook_is_on_the_scripts_path(tmp_path: Path) -> None:
    async with launched("--", SCRIPT, str(tmp_path)) as job:
        assert await job.code() == 0

    ours = [Path(each) for each in job.said[0]["path"] if "agent" in Path(each).parts]
    assert [sorted(path.name for path in each.iterdir()) for each in ours] == [["gpumedic_job"]]


async def test_restarts_beyond_the_allowed_end_the_launch(tmp_path: Path) -> None:
    async with launched("--nproc-per-node", "2", "--", SCRIPT, str(tmp_path)) as job:
        assert await job.code() == 1

    assert job.texts()[-1] == "rank 1 ended: exit code 3; 0 restarts were allowed"


async def test_a_program_that_cannot_be_started_is_named() -> None:
    async with launched("--no-python", "--", "/no/such/program") as job:
        assert await job.code() == 1

    assert "cannot start /no/such/program" in job.texts()[-1]


@pytest.mark.parametrize(
    ("example", "saved"),
    [
        ("train_handed_over.py", "checkpoints/step_100"),
        ("train_under_torchrun.py", "checkpoint.pt"),
    ],
)
async def test_an_example_trains(example: str, saved: str, tmp_path: Path) -> None:
    words = ("--nproc-per-node", "2", "--standbys", "0", "--log-dir", str(tmp_path / "logs"))
    runner = tmp_path / "here.py"
    path = str(ROOT / "examples" / example)
    runner.write_text(f"import os, runpy; os.chdir({str(tmp_path)!r}); runpy.run_path({path!r})")
    async with launched(*words, "--", str(runner), "120") as job:
        assert await job.code() == 0

    said = "".join(path.read_text() for path in (tmp_path / "logs").glob("*/stdout.log"))
    assert said.count(": loss ") >= 1
    assert (tmp_path / saved).exists()
