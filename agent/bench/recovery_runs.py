"""Starts the recovery job under one system, breaks it, and times how it comes back."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.bench.recovery_systems import System, environment_of
from agent.launch.processes import memory_bytes

Record = dict[str, Any]

START_S = 180.0
_STOP_S, _LOOK_S = 5.0, 0.01
_SETTLE_STEPS = 12
_A_STATE = 2**20  # bytes; the job's parameters alone are 1.5 MiB


@dataclass(frozen=True, slots=True)
class Recovery:
    """What came of one fault.

    first_s, full_width_s: from the fault to the end of the first step begun after it, by any rank
                           and by all ranks of the old world; None where that did not come
    lost:                  steps that all ranks had done and that were done again
    """

    first_s: float | None = None
    full_width_s: float | None = None
    lost: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes (PSS): of a rank, of all that waits to take one, and of all else the system runs."""

    rank: int
    standbys: int
    others: int


@dataclass(slots=True)
class Running:
    """A job under a system; ``started`` without those that no fault takes, which are ``kept``.

    fault_s: when the first fault was
    """

    system: System
    folder: Path
    world: int
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    kept: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    fault_s: float | None = None
    _read: int = 0

    def look(self) -> list[Record]:
        """Return all steps done so far, by whom and when."""
        with contextlib.suppress(FileNotFoundError), (self.folder / "steps").open("rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n"):
                    self.records.append(json.loads(line))
                    self._read += len(line)
        return self.records

    def whole_steps(self, since_s: float = 0.0, since: int = 0) -> dict[int, float]:
        """Return steps that every rank began after a time and did, with when the last ended.

        since: how many records need not be looked at
        """
        ends: dict[int, dict[int, float]] = defaultdict(dict)
        for each in self.look()[since:]:
            if each["began_s"] >= since_s and each["world"] == self.world:
                ends[each["step"]][each["rank"]] = each["ended_s"]
        return {step: max(by.values()) for step, by in ends.items() if len(by) == self.world}

    def pid(self, rank: int) -> int:
        """Return the process that did the rank's last step."""
        return next(int(each["pid"]) for each in reversed(self.look()) if each["rank"] == rank)

    def ranks(self) -> set[int]:
        """Return the processes that have a rank."""
        return {self.pid(rank) for rank in range(self.world)}

    def processes(self) -> dict[int, int]:
        """Return all that was started for this job and lives, with its parents."""
        mark = f"GPUMEDIC_BENCH={self.folder}".encode()
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                if mark in path.read_bytes().split(b"\0"):
                    state, parent = (
                        (path.parent / "stat").read_text().rpartition(")")[2].split()[:2]
                    )
                    if state != "Z":
                        found[int(path.parent.name)] = int(parent)
        return found

    def below(self, pid: int) -> set[int]:
        """Return a process and all that it started."""
        parents, found = self.processes(), {pid}
        while more := {each for each, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def wait(self, happened: Callable[[], object], limit_s: float) -> bool:
        """Look until something is so; say whether it came to be within the limit."""
        until_s = time.monotonic() + limit_s
        while not happened():
            if time.monotonic() > until_s:
                return False
            time.sleep(_LOOK_S)
        return True

    def settle(self) -> bool:
        """Wait until the job has made steps at full width and all standbys are ready."""
        since_s, since = time.monotonic(), len(self.look())

        def has_stepped() -> bool:
            return len(self.whole_steps(since_s, since)) >= _SETTLE_STEPS

        self.wait(lambda: has_stepped() or not self.is_running(), START_S)
        return has_stepped() and self.wait(lambda: self.system.is_ready(self), START_S)

    def is_running(self) -> bool:
        """Say whether anything that was started for the job lives."""
        return any(each.poll() is None for each in (*self.started, *self.kept))

    def recover(self, hurt: Callable[["Running"], None], limit_s: float) -> Recovery:
        """Break the job right after the last rank has done a step, and wait for full width."""
        last, since = self.world - 1, len(self.look())
        self.wait(lambda: any(each["rank"] == last for each in self.look()[since:]), START_S)
        hurt(self)
        fault_s, since = time.monotonic(), max(0, len(self.look()) - 4 * self.world)
        self.fault_s = self.fault_s or fault_s
        came = self.wait(lambda: self.whole_steps(fault_s, since), limit_s)
        begun = [each for each in self.look()[since:] if each["began_s"] >= fault_s]
        first_s = min((each["ended_s"] - fault_s for each in begun), default=None)
        if not came:
            return Recovery(first_s)
        before = [step for step, end_s in self.whole_steps().items() if end_s < fault_s]
        step, end_s = min(self.whole_steps(fault_s, since).items())
        return Recovery(first_s, end_s - fault_s, max(0, max(before) + 1 - step))

    def memory(self) -> Memory:
        """Return what the job's processes take."""
        ranks, standbys = self.ranks(), self.system.standbys(self)
        others = set(self.processes()) - ranks - standbys
        sizes = [sum(map(memory_bytes, each)) for each in (ranks, standbys, others)]
        return Memory(sizes[0] // len(ranks), *sizes[1:])

    def last_words(self) -> str:
        """Return the last line that is no empty one of what the processes said."""
        with contextlib.suppress(OSError):
            lines = (self.folder / "output").read_text(errors="replace").splitlines()
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""

    def stop(self) -> None:
        """End all that was started for the job, whatever state it is in."""
        for each in (*self.started, *self.kept):
            each.terminate()
        ends_s = time.monotonic() + _STOP_S
        for each in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(max(0.0, ends_s - time.monotonic()))
        while left := self.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_S)
        for each in (*self.started, *self.kept):
            each.wait()
        self.system.clean(self.folder)


@contextmanager
def running(system: System, world: int, *, nodes: int = 1, spares: int = 0) -> Iterator[Running]:
    """Run the job at full width; two nodes or more are launchers on this machine."""
    folder = Path(tempfile.mkdtemp(prefix="gpumedic-bench-"))
    job = Running(system, folder, world)
    try:
        with (folder / "output").open("wb") as output:
            for start in system.starts(folder, world, nodes, spares):
                process = subprocess.Popen(  # noqa: S603  # our own words
                    start.command,
                    env={**environment_of(folder), **start.environment},
                    cwd=folder,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                (job.kept if start.keep else job.started).append(process)
                if start.meeting:
                    job.wait(lambda meeting=start.meeting: _listens(meeting), START_S)  # type: ignore[misc]
        yield job
    finally:
        job.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _listens(meeting: str) -> bool:
    host, port = meeting.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _signal(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_rank(job: Running) -> None:
    """SIGKILL the last rank."""
    _signal([job.pid(job.world - 1)], signal.SIGKILL)


def stop_rank(job: Running) -> None:
    """SIGSTOP the last rank: its process is there, and does nothing."""
    _signal([job.pid(job.world - 1)], signal.SIGSTOP)


def kill_node(job: Running) -> None:
    """SIGKILL a launcher that has a rank and all it started, as if the machine were gone."""
    ranks = job.ranks()
    for each in job.started:
        if (gone := job.below(each.pid)) & ranks:
            _signal([each.pid, *gone], signal.SIGKILL)
            return


def tear(job: Running) -> None:
    """Cut the newest checkpoint to half and SIGKILL all ranks, as when all end while saving."""
    states = {path: path.stat() for path in job.folder.rglob("*") if path.is_file()}
    large = [path for path, its in states.items() if its.st_size > _A_STATE]
    if large:
        newest = max(large, key=lambda path: states[path].st_mtime)
        os.truncate(newest, states[newest].st_size // 2)
    _signal(sorted(job.ranks()), signal.SIGKILL)


FAULTS = {"kill": kill_rank, "hang": stop_rank, "dead_node": kill_node, "torn": tear}
