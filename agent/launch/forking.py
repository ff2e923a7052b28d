"""Workers that are forked from a process with torch imported, not started: seconds sooner."""

import asyncio
import json
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.launch.processes import Process, Worker, memory_bytes

_BYTES = 1 << 16
_NOT_STARTED = 127


class Forked(Worker):
    """A worker that was asked for, and may not be there yet.

    give_up: ends the fork server
    """

    def __init__(self, ended: Callable[[int], None], give_up: Callable[[], None]) -> None:
        super().__init__(ended)
        self._give_up, self._unwanted = give_up, False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; whatever it is, who is not there yet will not be.

        Its fork server may hang, and is ended; another takes its place.
        """
        if self.pid:
            super().kill(number)
        else:
            self._unwanted = True
            self._give_up()

    def begin(self, pid: int) -> None:
        """Be there."""
        self.watch(pid)
        if self._unwanted:
            self.kill()

    def fail(self) -> None:
        """Never be there."""
        self._end(_NOT_STARTED)


class ForkServer:
    """Starts the process that forks; what is asked for before it is ready waits.

    What it forks becomes a child of ours by ``adopt_orphans``.
    ready: it has imported all
    alive: it can be asked
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.ready, self.alive = False, True
        self._asked: dict[str, Forked] = {}
        self._line, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._process = Process(command, environment, lambda code: None, stdin=there.fileno())
        self._line.setblocking(False)
        asyncio.get_running_loop().add_reader(self._line, self._hear)

    def fork(
        self,
        uid: str,
        kind: str,
        environment: Mapping[str, str],
        ended: Callable[[int], None],
        log: Path | None = None,
    ) -> Forked:
        """Ask for a worker.

        environment: what it has beside the fork server's
        """
        if log is not None:
            log.mkdir(parents=True, exist_ok=True)
        asked = {"uid": uid, "kind": kind, "environment": {**environment}}
        worker = self._asked[uid] = Forked(ended, self.stop)
        try:
            self._line.send(json.dumps({**asked, "log": log and str(log.absolute())}).encode())
        except OSError:
            self.stop()  # its end is what the worker fails by
        return worker

    def stop(self) -> None:
        """End the process that forks; workers that are there go on."""
        self._process.kill()

    def memory(self) -> int:
        """Return its share of memory, bytes."""
        return memory_bytes(self._process.pid)

    def _hear(self) -> None:
        try:
            text = self._line.recv(_BYTES)
        except OSError:
            text = b""
        if not text:
            self._over()
        elif said := json.loads(text):
            self._asked.pop(said["uid"]).begin(said["pid"])
        else:
            self.ready = True

    def _over(self) -> None:
        self.alive = self.ready = False
        asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()
        for worker in [*self._asked.values()]:
            worker.fail()
        self._asked.clear()
