"""One node's part of a launch: its workers, their socket, the memory they leave their state in."""

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.launch.forking import ForkServer
from agent.launch.jobside.gpumedic_job.layout import (
    FOLDER_ENV,
    NO_STEP,
    SOCKET_ENV,
    UID_ENV,
    Beat,
    beat_path,
    read_beat,
    seat_of,
    slot_step,
)
from agent.launch.plan import Message, Start
from agent.launch.processes import Process, Worker, ending, memory_bytes, stacks

JOBSIDE = Path(__file__).parent / "jobside"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
_PREFIX = "gpumedic-launch-"
_LINE_BYTES = 1 << 24
# A process that runs answers a ping within milliseconds, whatever its script does; where a library
# holds the interpreter it does not, but takes the processor's time.
_SIGN_S = 1.0
# What a rank must not inherit from whoever started the launcher.
_NOT_INHERITED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")

# What a worker has said before it says anything: ``formed`` and ``finished`` are generations.
_UNKNOWN = {
    "hooked": False,
    "warm": False,
    "parked": None,
    "formed": -1,
    "finished": -1,
    "failed": False,
}


class Command:
    """What to run: ``python script args``, ``python -m module args``, or any program.

    words: as the operator typed them after the options
    """

    def __init__(self, words: list[str], *, module: bool = False, python: bool = True) -> None:
        self._words, self._module, self._python = words, module, python

    def rank(self) -> list[str]:
        """Return the command of a rank."""
        if not self._python:
            return self._words
        return [sys.executable, "-u", *(["-m"] if self._module else []), *self._words]

    def fork_server(self) -> list[str]:
        """Return the command of the process that workers are forked from."""
        script = str(JOBSIDE / "gpumedic_job" / "forkserver.py")
        return [sys.executable, "-u", script, *(["-m"] if self._module else []), *self._words]


class NodeAgent:
    """Does on one machine what the coordinator orders.

    emit: takes the events of the workers
    ask:  answers a worker's request to the key-value store
    """

    def __init__(
        self,
        name: str,
        command: Command,
        emit: Callable[[Message], None],
        ask: Callable[[Message], Awaitable[Message]],
        log_dir: Path | None = None,
    ) -> None:
        self.name = name
        self._command, self._emit, self._ask, self._log_dir = command, emit, ask, log_dir
        self.folder, self._lock = _folder()
        self._socket = self.folder / "socket"
        self._server: asyncio.Server | None = None
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._fork_server: ForkServer | None = None
        self.processes: dict[str, Worker] = {}
        self._known: dict[str, Message] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._change = asyncio.Event()

    async def open(self) -> None:
        """Listen for the workers."""
        self._server = await asyncio.start_unix_server(self._serve, self._socket, limit=_LINE_BYTES)

    def start(self, order: Start) -> None:
        """Start a worker; that it cannot be started is an exit like any other."""
        uid = order.uid
        own = {
            SOCKET_ENV: str(self._socket),
            FOLDER_ENV: str(self.folder),
            UID_ENV: uid,
            **order.environment,
        }
        log = self._log_dir / uid if self._log_dir else None
        ended = functools.partial(self._ended, uid)
        if server := self._server_for(order):
            process: Worker = server.fork(uid, order.kind, own, ended, log)
        else:
            command = self._command.rank()
            try:
                process = Process(command, _environment() | own, ended, log)
            except OSError as error:
                loop = asyncio.get_running_loop()
                loop.call_soon(self._say_ended, uid, 127, f"cannot start {command[0]}: {error}")
                return
        self.processes[uid] = process
        self._known[uid] = {"uid": uid, "kind": order.kind, **_UNKNOWN}

    def _server_for(self, order: Start) -> ForkServer | None:
        """Return what forks this worker; a rank does not wait until that is ready."""
        server = self._fork_server
        if order.kind == "rank":
            return server if server and server.ready else None
        if server is None or not server.alive:
            command = self._command.fork_server()
            server = self._fork_server = ForkServer(command, _environment() | order.environment)
        return server

    def tell(self, uid: str, message: Message) -> None:
        """Send a worker a message; one that is gone is told nothing."""
        if message["kind"] == "ping" and (process := self.processes.get(uid)):
            if process.is_stopped():
                self._emit({"kind": "still", "uid": uid, "why": "stopped by a signal"})
            else:
                loop = asyncio.get_running_loop()
                loop.call_later(_SIGN_S, self._look, uid, process, process.ticks())
        if writer := self._writers.get(uid):
            writer.write(json.dumps(message).encode() + b"\n")

    def _look(self, uid: str, process: Worker, ticks: list[str]) -> None:
        """Say that a worker has not run at all since; one whose library computes has."""
        if self.processes.get(uid) is process and process.ticks() == ticks:
            self._emit({"kind": "still", "uid": uid, "why": "frozen"})

    def kill(self, uid: str) -> None:
        """Kill a worker, its stacks first."""
        task = asyncio.ensure_future(self._kill(uid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _kill(self, uid: str) -> None:
        if process := self.processes.get(uid):
            seen = await stacks(process.pid)
            if process.code is None:
                self._emit({"kind": "evidence", "uid": uid, "text": seen})
                process.kill()

    def beats(self) -> dict[str, Beat]:
        """Return how far each worker says it is."""
        found = {uid: read_beat(beat_path(self.folder, uid)) for uid in self.processes}
        return {uid: beat for uid, beat in found.items() if beat is not None}

    def workers(self) -> list[Message]:
        """Return what each worker last said of itself, for a coordinator that has not heard it."""
        return [self._known[uid] for uid in self.processes]

    def holdings(self) -> Message:
        """Return which states lie whole in this node's memory."""
        own = [(seat_of(path), slot_step(path)) for path in self.folder.glob("own.*.*")]
        copies = [slot_step(path) for path in self.folder.glob("copy.*")]
        return {
            "own": [each for each in own if each[1] != NO_STEP],
            "copies": [step for step in copies if step != NO_STEP],
        }

    def memory(self) -> dict[str, int]:
        """Return each worker's share of memory, bytes."""
        return {uid: memory_bytes(each.pid) for uid, each in self.processes.items()}

    def fork_server_bytes(self) -> int:
        """Return how much memory the process takes that workers are forked from."""
        return self._fork_server.memory() if self._fork_server else 0

    def kept_bytes(self) -> int:
        """Return how much memory the kept states take."""
        return sum(_taken_bytes(path) for path in self.folder.iterdir())

    async def stop(self, number: int = signal.SIGTERM, grace_s: float = 10.0) -> str:
        """End all workers: a signal, then SIGKILL; remove what they left in memory.

        Returns what is to be said of those that SIGKILL does not end: they wait in the kernel.
        """
        if self._fork_server is not None:
            self._fork_server.stop()
        for process in self.processes.values():
            process.kill(number)
            process.kill(signal.SIGCONT)
        await self._all_ended(grace_s)
        for process in self.processes.values():
            process.kill()
        await self._all_ended(grace_s)
        if self._server is not None:
            self._server.close()
        for writer in self._writers.values():
            writer.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)
        left = ", ".join(str(each.pid) for each in self.processes.values())
        return left and (
            f"Ending the workers of {self.name}: process {left} has not ended {grace_s:g} s after "
            "SIGKILL, and is left. /proc/PID/stack says what it waits for: a disk, mostly."
        )

    async def _all_ended(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.processes:
                    self._change.clear()
                    await self._change.wait()

    def _ended(self, uid: str, code: int) -> None:
        del self.processes[uid], self._known[uid]
        self._writers.pop(uid, None)
        beat_path(self.folder, uid).unlink(missing_ok=True)
        self._say_ended(uid, code, ending(code))
        self._change.set()

    def _say_ended(self, uid: str, code: int, text: str) -> None:
        self._emit(
            {
                "kind": "exited",
                "uid": uid,
                "code": code,
                "text": text,
                "held": self.holdings(),
                "port": free_port(),  # for the next rendezvous, should this rank 0's be over
            }
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = ""
        try:
            # The last line of one that was killed may be half a line.
            while (line := await reader.readline()).endswith(b"\n"):
                message = json.loads(line)
                if message["kind"] == "kv":
                    writer.write(json.dumps(await self._ask(message)).encode() + b"\n")
                    continue
                uid = message["uid"]
                self._writers[uid] = writer
                self._heard(uid, message)
        except ConnectionError:
            pass  # it has gone
        finally:
            if self._writers.get(uid) is writer:
                del self._writers[uid]
            writer.close()

    def _heard(self, uid: str, message: Message) -> None:
        if message["kind"] == "parked":
            message["held"] = self.holdings()
            if message["fresh"] and uid in self.processes:
                message["memory_bytes"] = memory_bytes(self.processes[uid].pid)
        if uid in self._known:
            _learn(self._known[uid], message)
        self._emit(message)


def _environment() -> dict[str, str]:
    """Return what every worker finds in its environment."""
    found = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    paths = [str(JOBSIDE), *filter(None, [found.get("PYTHONPATH")])]
    return found | {"PYTHONPATH": os.pathsep.join(paths)}


def _taken_bytes(path: Path) -> int:
    """Return how much a file takes, 0 where it has gone meanwhile."""
    with contextlib.suppress(OSError):
        return path.stat().st_blocks * 512
    return 0


def _learn(known: Message, message: Message) -> None:
    match message["kind"]:
        case "hello":
            known["hooked"] = True
        case "warm":
            known["warm"] = True
        case "parked":
            known.update(parked=message, failed=False)
        case "formed" | "finished" as kind:
            known[kind] = message["generation"]
        case "left":
            known["finished"] = message["generation"]
        case "failed":
            known["failed"] = True


def _folder() -> tuple[Path, int]:
    """Make a folder in shared memory, with a lock that lives as long as we do."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_shared_memory()))
    # It has its name, by which others look for it, only once it is locked.
    new = folder / "lock.new"
    descriptor = _locked(new)
    new.rename(folder / "lock")
    return folder, descriptor


def sweep() -> None:
    """Remove folders without a living owner: a supervisor that was killed could not."""
    for lock in _shared_memory().glob(f"{_PREFIX}*/lock"):
        with contextlib.suppress(OSError):
            os.close(_locked(lock))
            shutil.rmtree(lock.parent, ignore_errors=True)


def _shared_memory() -> Path:
    return _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())


def _locked(path: Path) -> int:
    """Lock a file and return its descriptor; OSError where somebody else has the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
