"""What Slurm's programs are told: heard in their place by some that say what real ones wrote."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from agent.act.gpu_names import GpuNames
from agent.act.programs import Programs
from agent.act.slurm.calls import SlurmAccess
from agent.act.slurm.cluster import SlurmCluster, SlurmSettings
from agent.act.slurm.kept import JobNote
from core.clock import RealClock
from core.details import GPU_MINOR
from core.errors import ActionFailed, SourceUnavailable
from core.target import Target
from tests.contract import order
from tests.loop import ScriptedSource
from tests.test_slurm_records import GOLDEN

ENDED_S, ENDS_S = 1795284644, 4102444800  # when these were recorded; in the year 2100
HEARD = "heard"
# Slurm's programs in a folder: what they are told is written down, what is kept there is said.
PROGRAM = """#!/bin/sh
cd {folder} || exit 1
name=$(basename "$0")
{{ printf '%s\\t' "$name" "$@"; echo; }} >> {heard}
case "$name $*" in
"sinfo --version") cat version.txt ;;
"scontrol show config") cat config.txt ;;
"scontrol -o show reservation") cat reservations.txt ;;
"scontrol show reservations --json") cat reservations.json ;;
"scontrol show nodes --json" | sinfo*) cat nodes.json ;;
"scontrol show jobs --json" | "squeue --all"*) cat jobs.json ;;
"scontrol create reservation "*) shift 2; echo "$*" > reservations.txt ;;
"scontrol update ReservationName="*) shift; echo "$*" > reservations.txt ;;
squeue*) echo "RUNNING|None" ;;
esac
"""


@asynccontextmanager
async def said_by(
    version: str, folder: Path, how: Mapping[str, Any] = MappingProxyType({}), **changes: Any
) -> AsyncIterator[SlurmCluster]:
    """Have a cluster that says what that version wrote, with other words of the job ``small``.

    how: what else the backend is given
    """
    said = GOLDEN / version
    for name in ("version.txt", "config.txt"):
        shutil.copy(said / name, folder)
    (folder / "reservations.txt").touch()
    (folder / "reservations.json").write_text('{"reservations": []}')
    old = (said / "squeue.json").exists()
    shutil.copy(said / ("sinfo.json" if old else "nodes.json"), folder / "nodes.json")
    jobs = json.loads((said / ("squeue.json" if old else "jobs.json")).read_text())
    next(job for job in jobs["jobs"] if job["name"] == "small").update(changes)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    for name in ("scontrol", "sinfo", "squeue", "scancel"):
        program = folder / name
        program.write_text(PROGRAM.format(folder=folder, heard=HEARD))
        program.chmod(0o755)
    cluster = SlurmCluster(SlurmAccess(programs=folder), clock=RealClock(), **how)
    try:
        yield cluster
    finally:
        await cluster.close()


def heard(folder: Path) -> list[list[str]]:
    """Return each call: the program and its arguments."""
    return [line.split("\t")[:-1] for line in (folder / HEARD).read_text().splitlines()]


async def test_an_order_for_the_last_task_of_an_array_is_not_one_for_the_array(
    tmp_path: Path,
) -> None:
    async with said_by("24.11", tmp_path) as cluster:
        await cluster.perform(order("restart_job", Target(job="7")))
        async with asyncio.timeout(30.0):
            while cluster.kept.returns:
                await cluster.state()

    told = heard(tmp_path)
    assert ["scontrol", "requeue", "7_2"] in told
    assert any("--jobs=7_2" in call for call in told)
    assert not {"7", "JobId=7", "--jobs=7"}.intersection(word for call in told for word in call)


@pytest.mark.parametrize(
    ("version", "state"), [("22.05", "COMPLETING"), ("24.11", ["CANCELLED", "COMPLETING"])]
)
async def test_a_drain_leaves_a_job_that_was_cancelled_to_its_end(
    version: str, state: Any, tmp_path: Path
) -> None:
    async with said_by(version, tmp_path, job_state=state, end_time=ENDED_S) as cluster:
        await cluster.perform(order("drain", Target(node="n1")))

    told = heard(tmp_path)
    assert any("State=DRAIN" in call for call in told)
    assert ["scontrol", "requeue", "2"] not in told


async def test_a_job_that_22_05_only_says_is_completing_is_not_begun_anew_where_it_has_ended(
    tmp_path: Path,
) -> None:
    async with said_by("22.05", tmp_path, job_state="COMPLETING", end_time=ENDED_S) as cluster:
        with pytest.raises(ActionFailed, match="it has ended"):
            await cluster.perform(order("restart_job", Target(job="2")))


async def test_a_job_that_is_completing_as_it_was_requeued_is_drained_like_any_other(
    tmp_path: Path,
) -> None:
    async with said_by("22.05", tmp_path, job_state="COMPLETING", end_time=ENDS_S) as cluster:
        await cluster.perform(order("drain", Target(node="n1")))

    assert ["scontrol", "requeue", "2"] in heard(tmp_path)


async def test_a_job_whose_nodes_are_being_taken_off_is_resized_once_its_size_is_known(
    tmp_path: Path,
) -> None:
    """Until then Slurm counts the nodes that are left, and the tasks of all."""
    ending: dict[str, Any] = {
        "job_state": "COMPLETING",
        "end_time": ENDS_S,
        "nodes": "n1",
        "node_count": 1,
    }
    async with said_by("22.05", tmp_path, **ending, comment="gpumedic: nodes=1-4") as cluster:
        cluster.kept.jobs["2"] = JobNote(nodes=("n1", "n2"))
        with pytest.raises(SourceUnavailable, match="it is asked again"):
            await cluster.perform(order("shrink_job", Target(job="2"), nodes=1, leave="n2"))

    assert not [call for call in heard(tmp_path) if "NumTasks" in " ".join(call)]


async def test_spares_that_are_kept_at_once_are_both_kept(tmp_path: Path) -> None:
    async with said_by("22.05", tmp_path) as cluster:
        spares = cluster._returning.spares

        await asyncio.gather(spares.keep("n2"), spares.keep("n4"))

    assert (tmp_path / "reservations.txt").read_text().endswith("Nodes=n2,n4\n")


async def test_a_gpu_is_reset_by_the_uuid_that_its_readings_have(tmp_path: Path) -> None:
    """Slurm knows it as n4/gpu2; the site's program cannot use that."""
    told: dict[tuple[str, Target], Callable[[float], float]] = {
        (GPU_MINOR, Target(node="n4", gpu=f"GPU-{minor}")): lambda _, minor=minor: float(minor)  # type: ignore[misc]
        for minor in range(8)
    }
    wrote = tmp_path / "wrote"
    program = ("sh", "-c", f'echo "$0 $1" > {wrote}', "{node}", "{gpu}")
    how = {
        "settings": SlurmSettings(programs=Programs({"reset_gpu": program})),
        "gpu_names": GpuNames([ScriptedSource(told)], RealClock()),
    }
    async with said_by("22.05", tmp_path, how) as cluster:
        await cluster.perform(order("reset_gpu", Target(node="n4", gpu="GPU-2")))
        with pytest.raises(ActionFailed, match="it is none of n4's"):
            await cluster.perform(order("reset_gpu", Target(node="n4", gpu="n4/gpu2"), step=1))

    assert wrote.read_text() == "n4 GPU-2\n"


async def test_names_reach_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with said_by("22.05", tmp_path) as cluster:
        monkeypatch.chdir(tmp_path)
        evil = "x $(touch owned); `touch owned` State=RESUME"
        await cluster.perform(order("cordon", Target(node="n1"), reason=evil))
        with pytest.raises(ActionFailed, match="knows no such node"):
            await cluster.perform(order("cordon", Target(node="n1;touch owned"), step=1))

    assert not (tmp_path / "owned").exists()
    told = {word for call in heard(tmp_path) for word in call}
    assert f"Reason=gpumedic: {evil} [p1:0:cordon]" in told
