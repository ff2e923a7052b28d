"""Worker processes: each in its own session, watched by pidfd, killed with all it started."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_STACKS_S = 2.0
_ORPHANS_S = 1.0  # what was killed is gone by then
_libc = ctypes.CDLL(None)


class Worker:
    """A process in a session of its own, whose parent we are.

    ended: called once, with its exit code or minus the signal's number
    pid:   0 until it is there
    """

    def __init__(self, ended: Callable[[int], None]) -> None:
        self.pid = 0
        self.code: int | None = None
        self._ended = ended

    def watch(self, pid: int) -> None:
        """Wait for the end of the process, which is there now."""
        self.pid, self._pidfd = pid, os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._exited)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the worker and all of its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def is_stopped(self) -> bool:
        """Say whether somebody stopped it with a signal."""
        return _status(self.pid).get("State", "").startswith("T (")

    def ticks(self) -> list[str]:
        """Return the processor time that it has had, in and out of the kernel; none: it is gone."""
        with contextlib.suppress(OSError):
            said = Path(f"/proc/{self.pid}/stat").read_text(errors="replace")
            return said.rpartition(")")[2].split()[11:13]  # what is before is its name
        return []

    def _exited(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.kill()  # what it started and left behind
        self._end(self._wait())
        loop.call_later(_ORPHANS_S, _bury, self.pid)

    def _end(self, code: int) -> None:
        self.code = code
        self._ended(code)

    def _wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Process(Worker):
    """A worker that is started here.

    log:   a folder for its output, or None to let it write to ours
    stdin: number of an open file
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        ended: Callable[[int], None],
        log: Path | None = None,
        *,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        super().__init__(ended)
        with ExitStack() as stack:
            out, err = (_opened(log, name, stack) for name in ("stdout.log", "stderr.log"))
            self._process = subprocess.Popen(  # noqa: S603  # what the operator asked for
                command,
                env={**environment},
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # we have one thread
            )
        self.watch(self._process.pid)

    def _wait(self) -> int:
        return self._process.wait()


def adopt_orphans() -> None:
    """Become the parent of what our descendants leave behind, as init is of all else."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _bury(group: int) -> None:
    """Take the exit codes of adopted processes of a group, so that the kernel forgets them."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


def _opened(log: Path | None, name: str, stack: ExitStack) -> BinaryIO | None:
    if log is None:
        return None
    log.mkdir(parents=True, exist_ok=True)
    return stack.enter_context((log / name).open("ab"))


def _status(pid: int) -> dict[str, str]:
    """Read what the kernel says of a process, whose name may hold any bytes; empty: it is gone."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {}


def _waits_in(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/wchan").read_text()
    return ""


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def ending(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def memory_bytes(pid: int) -> int:
    """Return the process's share of memory (PSS), 0 where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


async def stacks(pid: int) -> str:
    """Return what can be seen of where a process hangs: kernel state, and py-spy where present."""
    found = [f"state: {_status(pid).get('State', 'gone')}", f"waits in: {_waits_in(pid)}"]
    if spy := shutil.which("py-spy"):
        asked = await asyncio.create_subprocess_exec(
            spy, "dump", "--nonblocking", "--pid", str(pid), stdout=subprocess.PIPE
        )
        try:
            out, _ = await asyncio.wait_for(asked.communicate(), _STACKS_S)
            found.append(out.decode(errors="replace"))
        except TimeoutError:
            asked.kill()  # it may wait in the kernel, too, for what the other has
    return "\n".join(found)
