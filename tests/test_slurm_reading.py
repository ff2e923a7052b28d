"""Reading a real Slurm: by slurmrestd as by the programs, and what the doctor says of it."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.act.slurm.calls import SlurmAccess
from agent.act.slurm.checking import advice
from agent.act.slurm.cluster import SlurmCluster
from agent.act.slurm.happenings import happenings
from agent.act.slurm.picture import Look
from agent.act.slurm.reading import config_in
from agent.config import Settings
from agent.config.settings import Scheduler
from agent.config.slurm import Slurm
from agent.doctor import Status, examine
from agent.lab.slurm import SlurmLab
from core.clock import RealClock
from core.cluster import ClusterState, JobPhase
from core.errors import SourceUnavailable
from tests.real import missing, program
from tests.slurm import MAY_RESIZE, SPARES, cluster_of, lab, training
from tests.test_slurm_records import GOLDEN

NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


@contextlib.contextmanager
def slurmrestd(started: SlurmLab) -> Iterator[str]:
    """Serve a cluster over slurmrestd, which wants to be neither root nor Slurm's user."""
    served = program("slurmrestd")
    if os.geteuid():
        missing("slurmrestd must run as somebody else than Slurm's user: run this as root")
    started.folder.chmod(0o777)
    socket = started.folder / "rest.sock"
    argv = (*NOBODY, served, "-f", started.conf, "-a", "rest_auth/local", "-s", "openapi/v0.0.38")
    process = subprocess.Popen(
        [*argv, f"unix:{socket}"], env=dict(started.environ), stderr=subprocess.DEVNULL
    )
    try:
        started.wait_for(socket.exists, within_s=10)
        yield f"unix:{socket}"
    finally:
        process.terminate()
        process.wait()


async def test_slurmrestd_says_what_the_programs_say() -> None:
    with lab() as started:
        job = training(started, "-N2", MAY_RESIZE)
        started.run(
            *("scontrol", "create", "reservation", f"ReservationName={SPARES}", "Nodes=n4"),
            *("StartTime=now", "Duration=UNLIMITED", "Users=root", "Flags=IGNORE_JOBS"),
        )
        by_programs = cluster_of(started)
        with slurmrestd(started) as address:
            access = SlurmAccess(conf=started.conf, rest=address)
            served = SlurmCluster(access, clock=RealClock())

            async def settled(cluster: SlurmCluster) -> ClusterState:
                """Wait until the second in which the job began is over."""
                state = await cluster.state()
                while state.observed_s <= _since(state, job):
                    state = await cluster.state()
                return state

            one, other = await settled(by_programs), await settled(served)
        assert one.nodes == other.nodes
        assert one.jobs == other.jobs
        with pytest.raises(SourceUnavailable, match="whether slurmrestd runs"):
            await served.state()
        await served.close()


def _since(state: ClusterState, job: str) -> float:
    found = state.job(job)
    assert found is not None
    assert found.phase is JobPhase.RUNNING
    return found.since_s


async def test_the_doctor_looks_at_a_slurm() -> None:
    with lab() as started:
        slurm = Slurm(conf=str(started.conf))
        chosen = Settings(scheduler=Scheduler(backend="slurm"), slurm=slurm)
        (found,) = await examine(chosen, only=("slurm",))
        assert found.status is Status.WARNING
        assert "4 nodes with 32 GPUs" in found.found
        assert "there is no accounting" in found.remedy

        started.kill_controller()
        (found,) = await examine(chosen, only=("slurm",))
        assert found.status is Status.CRITICAL


def test_the_doctor_says_which_settings_stand_in_the_way() -> None:
    config = dict(config_in((GOLDEN / "22.05" / "config.txt").read_text()))
    good = config | {"AccountingStorageType": "accounting_storage/slurmdbd"}

    assert list(advice(good, user="root")) == []
    for change, user, word in (
        ({}, "ada", "ada, who may only look"),
        ({"RebootProgram": ""}, "root", "no RebootProgram"),
        ({"AuthInfo": ""}, "root", "waits for 121 s"),
        ({"ReturnToService": "2"}, "root", "ReturnToService=2"),
        ({"JobRequeue": "0"}, "root", "JobRequeue=0"),
        ({"AccountingStorageType": ""}, "root", "no accounting"),
    ):
        (said,) = advice(good | change, user=user)
        assert word in said


async def test_what_happened_between_two_looks_is_told_once() -> None:
    with lab() as started:
        cluster = cluster_of(started)
        job = training(started, "-N1")
        assert await cluster.events() == ()
        started.kill_node("n1")
        started.run("scontrol", "update", "NodeName=n3", "State=DRAIN", "Reason=ada: fan")
        told: dict[str, str] = {}
        until_s = RealClock().now_s() + 60
        while not {"node_down", "node_drained", "job_failed"} <= told.keys():
            assert RealClock().now_s() < until_s
            await cluster.state()
            for event in await cluster.events():
                assert event.kind not in told
                told[event.kind] = event.text
        assert told["node_drained"] == "n3 is drained by ada: fan"
        assert told["job_failed"].startswith(f"job {job} failed: n1 does not answer")


def test_nothing_happened_between_a_look_and_itself() -> None:
    look = Look(1.0, (), ())

    assert happenings(look, look) == ()


async def test_without_slurms_programs_what_to_install_is_said(tmp_path: Path) -> None:
    cluster = SlurmCluster(SlurmAccess(programs=tmp_path), clock=RealClock())

    with pytest.raises(SourceUnavailable, match="Install Slurm's client programs"):
        await cluster.state()
