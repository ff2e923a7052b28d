"""Whom a process belongs to, by the control group that its scheduler put it in, or its marks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

# slurmd's layout: v1 /slurm/uid_1000/job_7/step_0/task_0, also /slurm_node1/...; v2
# /system.slice/slurmstepd.scope/job_7/step_0/user/task_0, also node1_slurmstepd.scope.
_SLURM = re.compile(
    r"/(?:slurm(?:_[^/]+)?/uid_\d+|[^/]*slurmstepd\.scope)/job_(\d+)(?:/step_([^/]+))?"
)
# The kubelet's, by systemd (dashes of the uid written as _) and by cgroupfs.
_POD = re.compile(
    r"/(?:[^/]*-)?pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})\b"
)
_CONTAINER = re.compile(
    r"/(?:(?:docker|libpod|cri-containerd|crio|nerdctl)-)?([0-9a-f]{64})(?:\.scope)?(?=/|$)"
)
# What torchrun calls a run that was given no ``--rdzv-id``.
_UNNAMED = "none"
_UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?=/|$)")


class Scheduler(StrEnum):
    """Who started a process and can end its job."""

    SLURM = "slurm"
    KUBERNETES = "kubernetes"
    CONTAINER = "container"
    SYSTEMD = "systemd"
    TORCHRUN = "torchrun"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """A job as its scheduler names it.

    job:  Slurm's job id, a pod's uid, a container's id, a systemd unit, a launch's ``--rdzv-id``;
          "" where nobody owns it
    part: Slurm's step or a pod's container; "" for none
    """

    scheduler: Scheduler
    job: str
    part: str = ""

    def __str__(self) -> str:
        """Read as ``Slurm job 88213``, ``pod 3f2c...``, ``session-3.scope``, ``launch train``."""
        match self.scheduler:
            case Scheduler.SLURM:
                return f"Slurm job {self.job}"
            case Scheduler.KUBERNETES:
                return f"pod {self.job}"
            case Scheduler.CONTAINER:
                return f"container {self.job[:12]}"
            case Scheduler.SYSTEMD:
                return self.job
            case Scheduler.TORCHRUN:
                return f"launch {self.job}"
            case _:
                return "no job"


NOBODY = Owner(Scheduler.NONE, "")


def owner_of(cgroups: str) -> Owner:
    """Return the owner that ``/proc/PID/cgroup`` shows; the most telling line counts.

    >>> str(owner_of("0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"))
    'Slurm job 7'
    >>> str(owner_of("0::/user.slice/user-1000.slice/session-3.scope"))
    'session-3.scope'
    """
    paths = [line.split(":", 2)[-1] for line in cgroups.splitlines()]
    for path in paths:
        if found := _SLURM.search(path):
            return Owner(Scheduler.SLURM, found[1], found[2] or "")
    for path in paths:
        if found := _POD.search(path):
            inside = _CONTAINER.search(path)
            pod = found[1].replace("_", "-")
            return Owner(Scheduler.KUBERNETES, pod, inside[1] if inside else "")
    for path in paths:
        if found := _CONTAINER.search(path):
            return Owner(Scheduler.CONTAINER, found[1])
    for path in paths:
        if units := _UNIT.findall(path):
            return Owner(Scheduler.SYSTEMD, units[-1])
    return NOBODY


def closer(owner: Owner, environ: Mapping[str, str]) -> Owner:
    """Return whom the environment names, where that says more than the control group.

    Slurm without control groups (proctrack/linuxproc) leaves its mark there alone; so do torchrun
    and ``gpumedic launch``, whose ranks are in the session or the unit of who started them.
    """
    if owner.scheduler is not Scheduler.SLURM and (job := environ.get("SLURM_JOB_ID", "")):
        return Owner(Scheduler.SLURM, job, environ.get("SLURM_STEP_ID", ""))
    run = environ.get("TORCHELASTIC_RUN_ID", _UNNAMED)
    if owner.scheduler in (Scheduler.SYSTEMD, Scheduler.NONE) and run != _UNNAMED:
        return Owner(Scheduler.TORCHRUN, run)
    return owner
