"""A real launch of several nodes on this machine, to be broken: each node a supervisor of its own.

Nodes are processes here that meet on loopback; a node that dies takes its ranks with it. All of it
carries one variable in its environment, by which it is found again at the end.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from agent.lab.mounts import fill, mount_small, unmount
from agent.lab.node_services import NodeServices
from agent.lab.real import steps
from agent.lab.straggler import USUAL_STEPS, hold_back
from agent.launch.asking import launches
from agent.launch.jobside.gpumedic_job.checkpoints import found
from agent.launch.jobside.gpumedic_job.layout import (
    FOLDER_ENV,
    UID_ENV,
    Phase,
    beat_path,
    read_beat,
)
from agent.launch.node import free_port
from core.errors import InputError
from core.target import Target
from detectors.progress.roles import MIN_PEERS

TRAINING = Path(__file__).with_name("training.py")
MARK = "GPUMEDIC_LAB"
JOB = "training"
COORDINATOR = "head"
START_S, END_S, LOOK_S = 240.0, 15.0, 0.1
SAVE_EVERY, PACE_S = 10, 0.1
VOLUME_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """nodes: supervisors in all; wanted: ``--nnodes``; small: checkpoints have a disk of 4 MiB."""

    nodes: int
    wanted: str
    standbys: int = 1
    small: bool = False


_WITH_SPARE = Shape(3, "2")
SHAPES: Mapping[str, Shape] = {
    "two-nodes": Shape(4, "2"),
    "torn-checkpoint": Shape(4, "2"),
    "straggler": Shape(MIN_PEERS + 1, f"{MIN_PEERS}"),
    "node-returns": Shape(2, "1:2"),
    "disk-full": Shape(3, "2", small=True),
}
FAULTS: Mapping[str, str] = {
    "kill-node": "the supervisor of a node with a rank is killed (SIGKILL), and its rank with it",
    "kill-rank": "one rank is killed (SIGKILL)",
    "hang": "one rank is stopped (SIGSTOP)",
    "straggler": "one node's ranks are stopped for a fifth of a second in each step, once their "
    "usual pace is known",
    "torn-checkpoint": "half of the newest checkpoint's largest file is cut away, and both nodes "
    "with ranks are killed: nothing else is left to go on from",
    "disk-full": "the checkpoints' file system is filled to its last byte; room is made, as the "
    "alarm says, after the second save that failed",
    "two-nodes": "both nodes with ranks are killed at once",
    "node-returns": "a node is killed, there is no spare, and it comes back after a while",
    "gpu-error": "the driver of a node with a rank tells that its GPU has fallen off the bus "
    "(Xid 79), and answers for it no more; the driver is the test library, read by a node service",
}


class TorchrunTraining:
    """A coordinator, nodes with a rank each, and spares; as many as the fault needs.

    at: for everything of the launch and the training; a socket's path must not be long
    """

    name = "torchrun"
    faults = FAULTS

    def __init__(self, at: Path, fault: str = "kill-node", *, standbys: int = 1) -> None:
        self.folder = at / "training"
        self.job = ""
        self._at = at
        self._shape = SHAPES.get(fault, _WITH_SPARE)
        self._standbys = min(standbys, self._shape.standbys)
        self._meeting = f"127.0.0.1:{free_port()}"
        self._supervisors: dict[str, subprocess.Popen[bytes]] = {}
        self._memories: set[Path] = set()
        self._over = Event()
        self._helpers: list[Thread] = []
        self._gpus = NodeServices(at / "nodes", {MARK: str(at)}) if fault == "gpu-error" else None

    def start(self) -> None:
        """Start all supervisors; return once all ranks step, and every standby waits."""
        self.folder.mkdir(parents=True)
        if self._shape.small:
            mount_small(self._checkpoints, VOLUME_BYTES)
        self._supervise(COORDINATOR, "--coordinate", "--nnodes", self._shape.wanted)
        self._wait(lambda: bool(self._status()), "its coordinator")
        for number in range(1, self._shape.nodes + 1):
            self._supervise(f"n{number}")
            self._wait(partial(self._has, number), f"node {number}")
        self.job = JOB
        self._wait(self._is_settled, "steps, a checkpoint and standbys")
        if self._gpus is not None:
            self._gpus.start({node: self._rank_pid(node) for node in self._used()})

    def settings(self) -> Mapping[str, Any]:
        """Return the controller's settings."""
        watched = {"job": JOB, "path": str(self._checkpoints), "loss_budget": "1h"}
        read = {} if self._gpus is None else {"prometheus": {"url": self._gpus.url}}
        return read | {
            "scheduler": {"backend": "torchrun"},
            "torchrun": {"folder": str(self._sockets)},
            "cycle": {"interval": "1s"},
            "history": {"step": "1s", "span": "1h"},
            "verify": {"settle": "1s", "sustain": "3s", "deadline": "2m"},
            "checkpoints": {"audit": "1s", "folder": (watched,)},
            "guards": {"max_ratio_out": 0.5},
        }

    def inject(self, fault: str) -> Target:
        """Break it; return what was hit."""
        used = self._used()
        node, rank = used[-1], Target(node=used[-1], job=JOB, rank=str(len(used) - 1))
        match fault:
            case "kill-rank" | "hang":
                how = signal.SIGKILL if fault == "kill-rank" else signal.SIGSTOP
                os.kill(self._rank_pid(node), how)
                return rank
            case "straggler":
                self._steps_more(USUAL_STEPS)
                self._help(lambda: self._slow(node))
                return rank
            case "disk-full":
                filler = fill(self._checkpoints)
                self._help(lambda: self._make_room(filler))
                return Target(job=JOB)
            case "torn-checkpoint" | "two-nodes":
                if fault == "torn-checkpoint":
                    self._tear_newest(used)
                for each in used:
                    self._kill(each)
            case "node-returns":
                self._kill(node)
                self._help(lambda: self._return(node))
        if fault == "kill-node":
            self._kill(node)
        return Target(node=node) if self._gpus is None else self._gpus.lose(node)

    def stop(self) -> None:
        """End every process of it and remove what they kept in memory."""
        self._over.set()
        for thread in self._helpers:
            thread.join()
        if self._gpus is not None:
            self._gpus.stop()
        self._note_memories()
        for process in self._supervisors.values():
            process.terminate()
        for process in self._supervisors.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        for pid in [pid for pid, _ in self._processes()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._supervisors.values():
            process.kill()
            process.wait()
        self._wait(lambda: not [*self._processes()], "their end")
        for memory in self._memories:
            shutil.rmtree(memory, ignore_errors=True)
        if self._shape.small and self._checkpoints.is_mount():
            unmount(self._checkpoints)

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def _sockets(self) -> Path:
        return self._at / f"gpumedic-launch-{os.getuid()}"

    def _used(self) -> list[str]:
        """Return the nodes with ranks."""
        return [each["name"] for each in self._answer()["nodes"] if each["used"]]

    def _has(self, nodes: int) -> bool:
        return len(self._status().get("nodes", ())) == nodes

    def _answer(self) -> dict[str, Any]:
        """Return what the launch says; on a busy machine it may have to be asked again."""
        said: dict[str, Any] = {}

        def answers() -> bool:
            said.update(self._status())
            return bool(said)

        self._wait(answers, "an answer")
        return said

    def _status(self) -> dict[str, Any]:
        """Return what the launch says, nothing where it does not answer now."""
        found = launches(self._sockets, since={})[0] if self._sockets.exists() else []
        return found[0] if found else {}

    def _supervise(self, name: str, *more: str) -> None:
        """Start a node's supervisor, or the coordinator, which runs no ranks."""
        words = (
            [*more, "--name", name] if more else ["--nnodes", self._shape.wanted, "--name", name]
        )
        words += ["--rdzv-endpoint", self._meeting, "--rdzv-id", JOB]
        words += ["--standbys", str(self._standbys)]
        script = [str(TRAINING), "--folder", str(self.folder), "--save-every", str(SAVE_EVERY)]
        script = [] if more else ["--", *script, "--pace", str(PACE_S)]
        with (self._at / f"{name}.log").open("ab") as log:
            self._supervisors[name] = subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-m", "agent.cli", "launch", *words, *script],
                env={**os.environ, MARK: str(self._at), "TMPDIR": str(self._at)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _is_settled(self) -> bool:
        if not (status := self._status()):
            return False
        standbys = status["standbys"]
        wanted = self._shape.nodes if self._standbys else 0
        ready = len(standbys) >= wanted and all(each["ready"] for each in standbys)
        saved = (status["checkpoint"] or {}).get("saved_s") is not None
        return ready and saved and len(steps(self.folder)) > SAVE_EVERY

    def _kill(self, node: str) -> None:
        """Kill a node: its supervisor, and with it, by the kernel, all that it has started."""
        self._note_memories()
        self._supervisors[node].kill()
        self._supervisors.pop(node).wait()

    def _return(self, node: str) -> None:
        """Start a dead node's supervisor again once the job has gone on without it."""
        if self._steps_more(2 * SAVE_EVERY):
            self._supervise(node)

    def _steps_more(self, count: int) -> bool:
        """Wait for so many steps; False where it is over before."""
        wanted = len(steps(self.folder)) + count
        while len(steps(self.folder)) < wanted:
            if self._over.wait(LOOK_S):
                return False
        return True

    def _make_room(self, filler: Path) -> None:
        """Do what the alarm says, once a save has failed for the second time."""
        while [line.get("what") for line in self._answer()["journal"]].count("not_saved") < 2:
            if self._over.wait(LOOK_S):
                return
        filler.unlink()

    def _tear_newest(self, nodes: list[str]) -> None:
        """Cut the newest checkpoint's largest file in half; the ranks are stopped for it."""
        for pid, uid, _ in self._workers():
            if uid.rpartition("-")[0] in nodes:
                _signal(pid, signal.SIGSTOP)
        newest = found(self._checkpoints)[0].path
        files = [path for path in newest.rglob("*") if path.is_file()]
        largest = max(files, key=lambda path: path.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)

    def _slow(self, node: str) -> None:
        """Hold the node's ranks back until it is over."""

        def ranks() -> dict[int, Callable[[], int | None]]:
            return {
                pid: partial(_begun, beat)
                for pid, uid, beat in self._workers()
                if uid.startswith(f"{node}-")
            }

        hold_back(ranks, 2 * PACE_S, self._over)

    def _help(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, daemon=True)
        thread.start()
        self._helpers.append(thread)

    def _rank_pid(self, node: str) -> int:
        uids = {each["uid"] for each in self._answer()["ranks"] if each["node"] == node}
        return min(pid for pid, uid, _ in self._workers() if uid in uids)

    def _workers(self) -> Iterator[tuple[int, str, Path]]:
        """Yield each worker's process, its word and where it says how far it is."""
        for pid, environ in self._processes():
            if uid := environ.get(UID_ENV):
                yield pid, uid, beat_path(Path(environ[FOLDER_ENV]), uid)

    def _note_memories(self) -> None:
        """Remember the shared memory of the nodes: one that is killed leaves it."""
        folders = (environ.get(FOLDER_ENV) for _, environ in self._processes())
        self._memories |= {Path(folder) for folder in folders if folder}

    def _processes(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the processes of it that live, with their environments."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                pairs = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                environ = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
                if environ.get(MARK) == str(self._at):
                    yield int(entry.name), environ

    def _wait(self, true: Callable[[], bool], what: str) -> None:
        until_s = time.monotonic() + START_S
        while not true():
            dead = [name for name, each in self._supervisors.items() if each.poll() is not None]
            if time.monotonic() > until_s or (dead and not self._over.is_set()):
                log = self._at / f"{dead[0] if dead else COORDINATOR}.log"
                raise InputError(
                    f"Waiting for {what} of the launch in {self._at}: "
                    f"{f'{dead[0]} has ended' if dead else f'nothing came in {START_S:g} s'}. It "
                    f"said: {log.read_text(errors='replace')[-600:]}"
                )
            time.sleep(LOOK_S)


def _begun(beat: Path) -> int | None:
    """Return the step that a rank computes, None where it computes none."""
    now = read_beat(beat)
    return now.step if now and now.phase is Phase.STARTED else None


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
