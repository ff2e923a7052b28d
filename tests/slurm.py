"""Real Slurm clusters for tests: small, on loopback, gone afterwards."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent.act.slurm.calls import SlurmAccess
from agent.act.slurm.cluster import SlurmCluster, SlurmSettings
from agent.lab.slurm import SlurmLab, SlurmLabSettings, slurm_lab
from agent.lab.wires import Wires
from core.clock import RealClock
from tests.contract import Ward
from tests.real import missing

SPARES = "gpumedic_spares"
# A training, as far as Slurm can tell: it writes down each start of its own, and saves on a signal
# an empty safetensors file, which is a valid checkpoint.
TRAINING = """#!/bin/bash
#SBATCH --gres=gpu:8 --ntasks-per-node=1
trap 'printf "\\x02\\0\\0\\0\\0\\0\\0\\0{}" > saved/step-7.safetensors' USR1
mkdir -p saved
echo "${SLURM_RESTART_COUNT:-0} $SLURM_JOB_NODELIST" >> starts-$SLURM_JOB_ID
srun sleep 600 &
while true; do wait $! && exit; done
"""
SMALL, QUICK = SlurmLabSettings(), SlurmSettings(silent_s=2.0)
MAY_RESIZE = "--comment=gpumedic: nodes=1-4 signal=USR1"


@contextlib.contextmanager
def lab(wanted: SlurmLabSettings = SMALL, *, wired: bool = False) -> Iterator[SlurmLab]:
    """Have a cluster, or skip where Slurm is not installed, or wires cannot be laid."""
    # Not pytest's folder: its name may be too long for a path of Slurm's.
    with tempfile.TemporaryDirectory(prefix="gpumedic-slurm-") as folder:
        found = SlurmLab(Path(folder), wanted).missing()
        if found:
            missing(f"{', '.join(found)} not on PATH: .ci/run installs Slurm")
        if wired and (os.geteuid() or Wires.missing()):
            missing("network namespaces need root and iproute2")
        with slurm_lab(Path(folder), wanted, wired=wired) as started:
            yield started


def cluster_of(started: SlurmLab, settings: SlurmSettings = QUICK) -> SlurmCluster:
    """Return the backend of a cluster, with its orders kept in the cluster's folder."""
    access = SlurmAccess(conf=started.conf, programs=started.bin(), timeout_s=5.0)
    path = started.folder / "orders.json"
    return SlurmCluster(access, clock=RealClock(), settings=settings, path=path)


def training(started: SlurmLab, *options: str) -> str:
    """Submit a training and wait until its script runs; return its id."""
    job = started.submit(TRAINING, *options)
    started.wait_for((started.folder / f"starts-{job}").exists, within_s=30)
    return job


def runs(started: SlurmLab, job: str) -> None:
    """Wait until a job runs."""
    started.wait_for(lambda: started.job(job)[0] == "RUNNING", within_s=30)


@contextlib.contextmanager
def real_slurm() -> Iterator[Ward]:
    """Return a cluster of four nodes: a training on the first two, a spare at the end."""
    with lab() as started:
        started.run(
            *("scontrol", "create", "reservation", f"ReservationName={SPARES}", "Nodes=n4"),
            *("StartTime=now", "Duration=UNLIMITED", "Users=root", "Flags=IGNORE_JOBS"),
        )
        training(started, "-N2", MAY_RESIZE)

        def person(node: str) -> None:
            started.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=ada: fan")

        yield Ward(cluster_of(started), RealClock(), person)
