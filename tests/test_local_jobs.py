"""A process on a GPU is put down to its job, and a GPU's fault names that job."""

import os
from pathlib import Path

import pytest

from agent.collect.nvml import Gpu, GpuProcess
from agent.local_jobs.holders import LocalJobs, holder_of
from agent.local_jobs.owners import NOBODY, Owner, Scheduler, owner_of
from core.target import Target
from core.types import Event, Severity

POD = "0a1b2c3d-1111-2222-3333-444455556666"
HASH = "e" * 64


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/slurm/uid_1000/job_88213/step_0/task_3", Owner(Scheduler.SLURM, "88213", "0")),
        ("/slurm_n1/uid_0/job_5/step_batch/task_special", Owner(Scheduler.SLURM, "5", "batch")),
        (
            "/system.slice/slurmstepd.scope/job_7/step_extern/user/task_0",
            Owner(Scheduler.SLURM, "7", "extern"),
        ),
        ("/system.slice/n1_slurmstepd.scope/job_8/step_0", Owner(Scheduler.SLURM, "8", "0")),
        (
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
            f"{POD.replace('-', '_')}.slice/cri-containerd-{HASH}.scope",
            Owner(Scheduler.KUBERNETES, POD, HASH),
        ),
        (f"/kubepods/besteffort/pod{POD}/{HASH}", Owner(Scheduler.KUBERNETES, POD, HASH)),
        (f"/kubepods/pod{POD}", Owner(Scheduler.KUBERNETES, POD)),
        (f"/system.slice/docker-{HASH}.scope", Owner(Scheduler.CONTAINER, HASH)),
        (f"/docker/{HASH}", Owner(Scheduler.CONTAINER, HASH)),
        ("/system.slice/train.service", Owner(Scheduler.SYSTEMD, "train.service")),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope",
            Owner(Scheduler.SYSTEMD, "run-1.scope"),
        ),
        ("/", NOBODY),
        ("/system.slice", NOBODY),
        ("/../../job_5", NOBODY),
    ],
)
def test_control_groups_name_the_owner(path: str, owner: Owner) -> None:
    assert owner_of(f"12:pids:/\n0::{path}\n") == owner


def test_slurm_in_a_container_is_slurms() -> None:
    text = f"5:devices:/slurm/uid_0/job_3/step_0\n4:memory:/docker/{HASH}\n0::/\n"

    assert owner_of(text) == Owner(Scheduler.SLURM, "3", "0")


def play(proc: Path, pid: int, started: int = 100, **files: str) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    files = {"cmdline": "/usr/bin/python3\0-u\0/home/ann/train.py\0--token=secret\0", **files}
    files.setdefault("stat", f"{pid} (py thon) S 1 {'0 ' * 17}{started} 0 0")
    files.setdefault("status", "Name:\tpython3\nUid:\t4242\t4242\t4242\t4242\n")
    for name, text in files.items():
        (folder / name).write_text(text)


def on(gpu: str, *pids: int, trouble: str = "") -> Gpu:
    processes = tuple(GpuProcess(pid, None, "compute") for pid in pids)
    return Gpu(gpu, 0, processes=processes, trouble=trouble)


def fault(gpu: str) -> Event:
    target = Target(node="n1", gpu=gpu)
    return Event(target, 0.0, "xid", "79", "Xid 79", Severity.CRITICAL)


def test_a_fault_names_the_job_also_when_the_driver_no_longer_does(tmp_path: Path) -> None:
    play(tmp_path, 7, cgroup="0::/system.slice/slurmstepd.scope/job_9/step_0/user/task_1\n")
    play(tmp_path, 8, cgroup="0::/system.slice/slurmstepd.scope/job_9/step_0/user/task_1\n")
    gpus = [on("GPU-1", 7, 8, 999), on("GPU-2")]
    jobs = LocalJobs("n1", lambda: gpus, tmp_path)

    jobs.look()
    said = [event.text for event in jobs.named([fault("GPU-1"), fault("GPU-2"), fault("")])]
    gpus[0] = on("GPU-1", trouble="GPU is lost")
    jobs.look()
    lost = jobs.named([fault("GPU-1")])[0].text
    play(tmp_path, 7, started=5000)  # others by now
    play(tmp_path, 8, started=5000)
    jobs.look()

    hits = "Xid 79; it hits Slurm job 9 of 4242 (python3 train.py, PID 7)"
    assert said == [hits, "Xid 79", "Xid 79"]
    assert lost == hits
    assert jobs.named([fault("GPU-1")])[0].text == "Xid 79"


def test_processes_are_counted_by_job(tmp_path: Path) -> None:
    play(tmp_path, 7, cgroup=f"0::/kubepods/pod{POD}/{HASH}\n")
    play(tmp_path, 8, cgroup=f"0::/kubepods/pod{POD}/{HASH}\n")
    jobs = LocalJobs("n1", lambda: [on("GPU-1", 7, 8)], tmp_path)

    assert (
        f'gpumedic_gpu_job_processes{{node="n1",gpu="GPU-1",scheduler="kubernetes",'
        f'job_id="{POD}",user="4242"}} 2.0\n'
    ) in jobs.text()
    assert LocalJobs("n1", list, tmp_path).text() == ""


@pytest.mark.parametrize(
    ("environ", "job", "rank"),
    [
        ("SLURM_JOB_ID=3\0RANK=12\0", "Slurm job 3", "12"),
        ("SLURM_JOB_ID=3\0SLURM_PROCID=1\0", "Slurm job 3", "1"),
        ("RANK=1\0", "no job", ""),
        ("", "no job", ""),
    ],
)
def test_the_environment_tells_where_control_groups_do_not(
    tmp_path: Path, environ: str, job: str, rank: str
) -> None:
    play(tmp_path, 7, cgroup="0::/\n", environ=environ)
    found = holder_of(tmp_path, 7)

    assert found is not None
    assert (str(found.owner), found.rank) == (job, rank)


@pytest.mark.parametrize(
    "stat",
    ["", "7 (x", "7 (x) S 1"],
)
def test_half_a_process_is_none(tmp_path: Path, stat: str) -> None:
    play(tmp_path, 7, stat=stat)

    assert holder_of(tmp_path, 7) is None


def test_this_very_process_is_somebodys() -> None:
    found = holder_of(Path("/proc"), os.getpid())

    assert found is not None
    assert found.pid == os.getpid()
    assert found.user != "?"
    assert "py" in found.command
