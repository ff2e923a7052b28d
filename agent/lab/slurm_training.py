"""A real Slurm with a real training on it, to be broken: gpumedic heals it as a site's own."""

import getpass
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from agent.lab.mounts import fill, mount_small, unmount
from agent.lab.node_services import NodeServices
from agent.lab.real import LOSSES, SAVE_NOW, steps
from agent.lab.slurm import SlurmLab, SlurmLabSettings, free_ports
from agent.lab.straggler import USUAL_STEPS, hold_back
from agent.launch.node import JOBSIDE
from agent.progress.records import read
from core.errors import InputError
from core.target import Target
from detectors.progress.hang import KNOWN_SAVED
from detectors.progress.roles import MIN_PEERS

TRAINING = Path(__file__).with_name("training.py")
SPARES = "gpumedic_spares"
STEPPING_S = 120.0  # importing torch takes 20 s where each process has a quarter of a core
SAVE_EVERY, PACE_S = 10, 0.2
LEFT_S = 300.0
# The first seen saves nothing yet, and the last may be seen a look later.
SEEN_SAVES = KNOWN_SAVED + 2
MOST_STARTS, EXCERPT = 50, 600
# A save takes 30 kB, and there are thirty a minute.
VOLUME_BYTES = 16 << 20
# A checkpoint is due every 2 s here; so old is one only where several were not written.
LOSS_BUDGET = "8s"
ASKED = "asked for a checkpoint"
ENDED = ("FAILED", "COMPLETED", "CANCELLED", "NODE_FAIL", "TIMEOUT")
# As a site's own: one task a node, and what differs between two starts is read from Slurm. Each
# start has a port of its own, for an orphan may hold the one from before. The step asks for no GPUs
# of the job's, as it computes without: now and then Slurm 22.05.8 starts a step of a job that lost
# a node with "gres/gpu: _step_get_gres_cnt node offset invalid", and the job fails. A shell that
# waits hears of a signal at once, and waits again.
_SCRIPT = """#!/bin/bash
#SBATCH --job-name=training --gres=gpu:1 --ntasks-per-node=1 --requeue --open-mode=append
export MASTER_ADDR=127.0.0.1 MASTER_PORT=$(({port} + ${{SLURM_RESTART_COUNT:-0}} % {starts}))
export GLOO_SOCKET_IFNAME=lo PYTHONPATH={paths} WORLD_SIZE=$SLURM_JOB_NUM_NODES
export RECORDS={records}
SAVE_NOW={save_now}
trap 'echo {asked}; touch "$SAVE_NOW"' USR1
srun --gres=none --nodes="$WORLD_SIZE" --ntasks="$WORLD_SIZE" --kill-on-bad-exit=1 \\
  bash -c 'RANK=$SLURM_PROCID GPUMEDIC_PROGRESS=$RECORDS/$SLURMD_NODENAME exec "$0" "$@"' {train} &
while wait $!; code=$?; [ $code -eq {by_signal} ]; do :; done
exit $code
"""


FAULTS: Mapping[str, str] = {
    "kill-node": "all that runs on the job's second node is killed at once, slurmd first",
    "kill-slurmd": "slurmd on the job's second node is killed; its rank lives on, an orphan",
    "kill-rank": "one rank is killed (SIGKILL)",
    "hang": "one rank is stopped (SIGSTOP), once the training's checkpoints are known",
    "torn-checkpoint": "half of the newest checkpoint is cut away, and a rank is killed",
    "two-nodes": "both of the job's nodes are killed at once",
    "node-returns": "the job's second node is killed, and answers again when the job has left",
    "disk-full": "the checkpoints' file system is filled to its last byte; room is made once the "
    "training was asked for a checkpoint",
    "gpu-error": "the driver of the job's second node tells that its GPU has fallen off the bus "
    "(Xid 79), and answers for it no more; the driver is the test library, read by a node service",
    "straggler": "the rank on the job's last node is stopped for twice its pause in each step, "
    "once its usual pace is known; node services read what ranks tell of their steps",
}


# A node is put back half an hour after the last symptom: nobody waits for that here.
_SOON_BACK = {"quiet": "5s", "cooldown": "5s"}


@dataclass(frozen=True, slots=True)
class Shape:
    """nodes: of the job; small: checkpoints have a small disk; services: nodes have theirs.

    saves: the job's owner says on which signal it saves
    """

    nodes: int = 2
    spares: int = 1
    small: bool = False
    services: bool = False
    saves: bool = False


SHAPES: Mapping[str, Shape] = {
    "two-nodes": Shape(spares=2),
    "disk-full": Shape(small=True, saves=True),
    "gpu-error": Shape(services=True, saves=True),
    "straggler": Shape(nodes=MIN_PEERS, services=True, saves=True),
}


class SlurmTraining:
    """A training with a rank a node, on as many nodes and with as many spares as the fault needs.

    at: for everything of the cluster and the training; a path of Slurm's must not be long
    """

    name = "slurm"
    faults = FAULTS

    def __init__(self, at: Path, fault: str = "kill-node") -> None:
        self.folder = at / "training"
        self.job = ""
        self._shape = SHAPES.get(fault, Shape())
        # Slurm takes both for down at one time; by their silence they are known one after the other
        self._silent_after = "30s" if fault == "two-nodes" else "2s"
        count = self._shape.nodes + self._shape.spares
        self.lab = SlurmLab(at / "slurm", SlurmLabSettings(nodes=count, gpus=1, cred_expire_s=120))
        self._services = NodeServices(at / "services", {})
        self._returns = fault == "node-returns"
        self._over = Event()
        self._helpers: list[Thread] = []

    def start(self) -> None:
        """Start the cluster and the training; return once it steps and has a checkpoint."""
        self.folder.mkdir(parents=True)
        self.lab.folder.mkdir(parents=True)
        self._services.records.mkdir(parents=True)
        if self._shape.small:
            mount_small(self._checkpoints, VOLUME_BYTES)
        self.lab.start()
        spares = self.lab.nodes[self._shape.nodes :]
        self.lab.run(
            *("scontrol", "create", "reservation", f"ReservationName={SPARES}"),
            *("StartTime=now", "Duration=UNLIMITED", f"Users={getpass.getuser()}"),
            *("Flags=IGNORE_JOBS", f"Nodes={','.join(spares)}"),
        )
        count = self._shape.nodes
        comment = f"gpumedic: nodes=1-4 checkpoint={self._checkpoints} steps={self.folder / LOSSES}"
        comment += " signal=USR1" if self._shape.saves else ""
        out = f"--output={self._out}"
        self.job = self.lab.submit(self._script(), f"--nodes={count}", f"--comment={comment}", out)
        self.lab.wait_for(self._stepping, within_s=STEPPING_S)
        if self._shape.services:
            ranks = {node: self._rank_pid(node) for node in self.lab.job(self.job)[1]}
            self._services.start(ranks, free=spares)

    def settings(self) -> Mapping[str, Any]:
        """Return the controller's settings: the scheduler's, and what makes the loop quick."""
        watched = {"job": self.job, "path": str(self._checkpoints), "loss_budget": LOSS_BUDGET}
        seen = {"prometheus": {"url": self._services.url}} if self._shape.services else {}
        return seen | {
            "scheduler": {"backend": "slurm"},
            "slurm": {
                "conf": str(self.lab.conf),
                "silent_after": self._silent_after,
                "programs": {"validate_node": ("true",)} if self._returns else {},
            },
            "guards": {"max_ratio_out": 0.5, **(_SOON_BACK if self._returns else {})},
            "checkpoints": {"audit": "1s", "folder": (watched,) if self._shape.small else ()},
        }

    def inject(self, fault: str) -> Target:
        """Break it, for real; return what was hit."""
        _, nodes = self.lab.job(self.job)
        node = nodes[-1]
        match fault:
            case "kill-node":
                self.lab.kill_node(node)
            case "node-returns":
                self.lab.kill_node(node)
                self._help(partial(self._return_later, node))
            case "kill-slurmd":
                self.lab.kill_slurmd(node)
            case "two-nodes":
                self.lab.kill_node(*nodes)
            case "gpu-error":
                return self._services.lose(node)
            case "disk-full":
                filler = fill(self._checkpoints)
                self._help(partial(self._make_room, filler))
                return Target(job=self.job)
            case _:
                self._break_rank(fault, node)
                return Target(node=node, job=self.job, rank=str(len(nodes) - 1))
        return Target(node=node)

    def stop(self) -> None:
        """End everything that was started."""
        self._over.set()
        for thread in self._helpers:
            thread.join()
        self._services.stop()
        self.lab.stop()
        if self._shape.small and self._checkpoints.is_mount():
            unmount(self._checkpoints)

    def _return_later(self, node: str) -> None:
        """Start a node's slurmd again once its job runs without it, and as booted when told to."""
        if self._until(lambda: self._runs_without(node)):
            self.lab.revive(node)
        if self._until(lambda: self.lab.reboots() > 0):
            self.lab.kill_slurmd(node)
            self.lab.revive(node, booted=True)

    def _make_room(self, filler: Path) -> None:
        """Do what the alarm says, once a checkpoint was asked for that finds no room."""
        if self._until(lambda: ASKED in self._out.read_text()):
            filler.unlink()

    def _until(self, true: Callable[[], bool]) -> bool:
        """Wait until something is so; False where it does not come, or it is over before."""
        with suppress(InputError):
            self.lab.wait_for(lambda: self._over.is_set() or true(), within_s=LEFT_S)
            return not self._over.is_set()
        return False

    def _runs_without(self, node: str) -> bool:
        state, nodes = self.lab.job(self.job)
        return state == "RUNNING" and node not in nodes

    def _help(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, daemon=True)
        thread.start()
        self._helpers.append(thread)

    def _break_rank(self, fault: str, node: str) -> None:
        """Break the rank on a node alone."""
        match fault:
            case "kill-rank":
                os.kill(self._rank_pid(node), signal.SIGKILL)
            case "hang":
                self._saved_more(SEEN_SAVES)
                os.kill(self._rank_pid(node), signal.SIGSTOP)
            case "torn-checkpoint":
                newest = max(self._checkpoints.glob("step-*.pt"), key=_step)
                os.truncate(newest, newest.stat().st_size // 2)
                os.kill(self._rank_pid(node), signal.SIGKILL)
            case "straggler":
                wanted = len(steps(self.folder)) + USUAL_STEPS
                self._until(lambda: len(steps(self.folder)) >= wanted)
                ranks = partial(self._ranks, node)
                self._help(partial(hold_back, ranks, 2 * PACE_S, self._over))
            case _:
                raise InputError(f"Breaking {fault!r}: know {', '.join(self.faults)}.")

    def _ranks(self, node: str) -> dict[int, Callable[[], int | None]]:
        """Return what says of the rank on a node which step it computes."""
        files = (self._services.records / node).iterdir()
        told = {file: record for file in files if (record := read(file))}
        return {each.pid: partial(_begun, file, each.pid) for file, each in told.items()}

    def _rank_pid(self, node: str) -> int:
        """Return the process of the rank on a node; InputError where there is none."""
        for pid in self.lab.processes(node):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if os.fsencode(TRAINING) in line and os.fsencode(sys.executable) in line[:1]:
                return pid
        raise InputError(f"Breaking a rank on {node}: there is none. See {self._out}.")

    @property
    def _out(self) -> Path:
        return self.folder / "out.txt"

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def _saved_more(self, count: int) -> None:
        """Wait until so many more checkpoints are there: how long one takes is known from then."""
        wanted = self._saves() + count
        self.lab.wait_for(lambda: self._saves() >= wanted, within_s=STEPPING_S)

    def _saves(self) -> int:
        return len(list(self._checkpoints.glob("step-*.pt")))

    def _stepping(self) -> bool:
        """Say whether there is a checkpoint; InputError where the training has ended instead."""
        if (state := self.lab.job(self.job)[0]) in ENDED:
            said = self._out.read_text(errors="replace")[-EXCERPT:]
            raise InputError(f"Starting the training: it is {state}. It wrote: {said}")
        return self._saves() > 0

    def _script(self) -> str:
        words = [sys.executable, str(TRAINING), "--folder", str(self.folder)]
        words += ["--save-every", str(SAVE_EVERY), "--pace", str(PACE_S)]
        return _SCRIPT.format(
            port=free_ports(MOST_STARTS),
            starts=MOST_STARTS,
            paths=shlex.quote(str(JOBSIDE)),
            asked=ASKED,
            by_signal=128 + signal.SIGUSR1,
            records=shlex.quote(str(self._services.records)),
            save_now=shlex.quote(str(self.folder / SAVE_NOW)),
            train=shlex.join(words),
        )


def _begun(file: Path, pid: int) -> int | None:
    """Return the step that a process has begun, None where it has ended or made none before."""
    record = read(file)
    return record.step + 1 if record and record.pid == pid else None


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))
