"""A process on a GPU is put down to its job, and a GPU's fault names that job."""

import os
from pathlib import Path

import pytest

from agent.collect.nvml import Gpu, GpuProcess, NvmlReader
from agent.collect.reading import Exposition
from agent.local_jobs.holders import holder_of
from agent.local_jobs.jobs import GpusWithJobs, LocalJobs
from agent.local_jobs.owners import NOBODY, Owner, Scheduler, owner_of
from core.clock import ManualClock

POD = "0a1b2c3d-1111-2222-3333-444455556666"
HASH = "e" * 64
SLURM = "0::/system.slice/slurmstepd.scope"


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


async def test_trouble_names_the_job_also_when_the_driver_no_longer_does(
    tmp_path: Path, clock: ManualClock
) -> None:
    play(tmp_path, 7, cgroup=f"{SLURM}/job_9/step_0/user/task_1\n")
    play(tmp_path, 8, cgroup=f"{SLURM}/job_9/step_0/user/task_1\n")
    gpus = [on("GPU-1", 7, 8, 999), on("GPU-2")]
    jobs = LocalJobs("n1", lambda: gpus, clock, tmp_path)

    jobs.look()
    said = [jobs.hit(gpu) for gpu in ("GPU-1", "GPU-2", "")]
    gpus[0] = on("GPU-1", trouble="GPU is lost")
    jobs.look()
    lost = jobs.hit("GPU-1")
    play(tmp_path, 7, started=5000)  # others by now
    play(tmp_path, 8, started=5000)
    jobs.look()

    hits = "; it hits Slurm job 9 of 4242 (python3 train.py, PID 7)"
    assert said == [hits, "", ""]
    assert lost == hits
    assert jobs.hit("GPU-1") == ""


async def test_a_fault_hits_who_was_there_when_it_came_not_who_is_told_of_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    gpus = [on("GPU-1")]
    jobs = LocalJobs("n1", lambda: gpus, clock, tmp_path)
    start_s = clock.now_s()
    for job in (5, 6):
        play(tmp_path, job, cgroup=f"{SLURM}/job_{job}/step_0\n")

    for pids in ((), (), (5,), (), (6, 6), ()):  # a look every 100 s
        gpus[0] = on("GPU-1", *pids)
        jobs.look()
        await clock.advance(100.0)

    def hit_at(after_s: float) -> str:
        return jobs.hit_at("GPU-1", start_s + after_s)

    assert hit_at(201.0) == hit_at(299.0) == "Slurm job 5 of 4242"
    assert hit_at(450.0) == "Slurm job 6 of 4242"
    # Nobody was there, but for who came soon after: at the next look that is seen.
    assert [hit_at(-900.0), hit_at(100.0), hit_at(301.0), hit_at(9e9)] == [""] * 4
    assert [hit_at(150.0), hit_at(350.0)] == ["Slurm job 5 of 4242", "Slurm job 6 of 4242"]


def test_what_belongs_to_no_job_is_none_that_is_hit(tmp_path: Path, clock: ManualClock) -> None:
    play(tmp_path, 7, cgroup="0::/\n")
    jobs = LocalJobs("n1", lambda: [on("GPU-1", 7)], clock, tmp_path)

    jobs.look()

    assert jobs.hit_at("GPU-1", clock.now_s()) == ""


def test_processes_are_counted_by_job(tmp_path: Path, clock: ManualClock) -> None:
    play(tmp_path, 7, cgroup=f"0::/kubepods/pod{POD}/{HASH}\n")
    play(tmp_path, 8, cgroup=f"0::/kubepods/pod{POD}/{HASH}\n")
    jobs = LocalJobs("n1", lambda: [on("GPU-1", 7, 8)], clock, tmp_path)

    page = Exposition().text(GpusWithJobs(NvmlReader("n1"), jobs).snapshot().readings)

    assert (
        f'gpumedic_gpu_job_processes{{node="n1",gpu="GPU-1",scheduler="kubernetes",'
        f'job_id="{POD}",user="4242"}} 2.0\n'
    ) in page


@pytest.mark.parametrize(
    ("environ", "job", "rank"),
    [
        ("SLURM_JOB_ID=3\0RANK=12\0", "Slurm job 3", "12"),
        ("SLURM_JOB_ID=3\0SLURM_PROCID=1\0", "Slurm job 3", "1"),
        ("RANK=1\0TORCHELASTIC_RUN_ID=llama\0", "launch llama", "1"),
        ("RANK=1\0TORCHELASTIC_RUN_ID=none\0", "no job", ""),
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
