"""Checks of one's own: programs in a folder, with Nagios' exit codes, each on a short leash."""

import contextlib
import math
import os
import re
import resource
import secrets
import selectors
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.checks.check import Check, Health, State

# Names as run-parts(8) takes them, with one ending: no editor's copies, no .dpkg-old.
_NAME = re.compile(r"([A-Za-z0-9_-]+)(\.(sh|py|pl|bin))?")
# The first line is the answer; what follows is read so that the program does not block, and cut.
KEPT_BYTES, READ_BYTES = 4096, 1 << 20
REASON_CHARACTERS = 300
NICE = 10
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
# Carried by all that a plug-in starts, so that what leaves its process group is found too.
MARK = "GPUMEDIC_CHECK"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class Plugins:
    """Reads the folder anew each time: a plug-in is added by copying it there.

    limit_s: a plug-in that has not ended by then is killed with all that it started
    parallel: how many run at a time
    """

    folder: Path
    limit_s: float
    parallel: int = 4
    proc: Path = Path("/proc")
    _free: threading.BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_free", threading.BoundedSemaphore(self.parallel))

    def checks(self) -> tuple[Check, ...]:
        """Return a check for each program there; nothing where there is no such folder."""
        try:
            files = sorted(each for each in self.folder.iterdir() if _NAME.fullmatch(each.name))
        except FileNotFoundError:
            return ()
        except OSError as error:
            return (Refused("plugins", f"{self.folder}: {error.strerror}", "Make it readable."),)
        if (why := _refusal(self.folder)) is not None:
            return (Refused("plugins", *why),)
        turns = math.ceil(len(files) / self.parallel)
        return tuple(self._check(file, turns) for file in files if file.is_file())

    def _check(self, file: Path, turns: int) -> Check:
        name = f"plugin-{file.stem}"
        if (why := _refusal(file)) is not None:
            return Refused(name, *why)
        # It waits for its turn behind others that may each take all of their time.
        return Plugin(name, file, self, deadline_s=turns * (self.limit_s + 1.0) + 1.0)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until fewer than ``parallel`` run."""
        with self._free:
            yield


@dataclass(frozen=True, slots=True)
class Refused:
    """A plug-in that is not run, and why."""

    name: str
    reason: str
    remedy: str
    deadline_s: float = 1.0

    def run(self) -> State:
        """Say so."""
        return State(self.name, Health.UNKNOWN, self.reason, self.remedy)


@dataclass(frozen=True, slots=True)
class Plugin:
    """One program: run without a shell, in a bare environment, at low priority."""

    name: str
    file: Path
    among: Plugins
    deadline_s: float

    def run(self) -> State:
        """Run it and read its answer; all that it started is ended."""
        with self.among.turn():
            try:
                ended = _run(self.file, self.among.limit_s, self.among.proc)
            except OSError as error:
                reason = f"{self.file}: {error.strerror}"
                return State(
                    self.name, Health.UNKNOWN, reason, "Give it a first line like #!/bin/sh."
                )
        return _state(self.name, self.file, ended, self.among.limit_s)


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program said, whether it came to an end by itself, and with which code."""

    said: bytes
    whole: bool = False
    too_much: bool = False
    code: int = 0


def _state(name: str, file: Path, ended: Ended, limit_s: float) -> State:
    first = ended.said.decode(errors="replace").strip().partition("\n")[0].partition("|")[0]
    said = _CONTROL.sub(" ", first).strip()[:REASON_CHARACTERS]
    if ended.too_much:
        reason = f"{file} wrote more than {READ_BYTES >> 20} MiB and was killed"
        return State(name, Health.UNKNOWN, reason, "Let it write one line.")
    if not ended.whole:
        reason = f"{file} did not end within {limit_s:g} s and was killed"
        return State(name, Health.UNKNOWN, reason, "Make it faster, or raise checks.time_limit.")
    if ended.code in tuple(Health):
        health = Health(ended.code)
        remedy = "" if health is Health.HEALTHY else f"See what {file} looks at."
        return State(name, health, said or f"exit code {ended.code}, without a word", remedy)
    how = f"exit code {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
    reason = f"{file} ended by {how}, which is none of Nagios' 0 to 3" + f": {said}" * bool(said)
    return State(name, Health.UNKNOWN, reason, f"Run it by hand: {file}")


def _run(file: Path, limit_s: float, proc: Path) -> Ended:
    # On Linux this is of the calling thread alone, and of what it starts from now on.
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
    mark = secrets.token_hex(8)
    process = subprocess.Popen(  # noqa: S603 - owned by root or us, and written by nobody else
        [str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": PATH, "LANG": "C.UTF-8", MARK: mark},
        cwd="/",
        start_new_session=True,
    )
    try:
        _restrain(process.pid, limit_s)
        heard = _listened(process, time.monotonic() + limit_s)
    finally:
        code = _end(process, mark, proc)
    return replace(heard, code=code) if heard.whole else heard


def _restrain(pid: int, limit_s: float) -> None:
    """Bound a program's processor time, for what escapes even so, and let it leave no core."""
    with contextlib.suppress(OSError):  # it may have ended already
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        seconds = math.ceil(limit_s) + 1
        resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))


def _listened(process: "subprocess.Popen[bytes]", until_s: float) -> Ended:
    """Read until it ends, its time is up, or it has said too much.

    Waits for the program, not for the end of its output: what it left behind may hold that open.
    """
    said, total = b"", 0
    ended = os.pidfd_open(process.pid)
    out = process.stdout
    assert out is not None  # noqa: S101 - a pipe was asked for
    try:
        with selectors.DefaultSelector() as waiting:
            waiting.register(ended, selectors.EVENT_READ)
            waiting.register(out, selectors.EVENT_READ)
            while (left_s := until_s - time.monotonic()) > 0:
                ready = {key.fileobj for key, _ in waiting.select(left_s)}
                chunk = os.read(out.fileno(), 1 << 16) if out in ready else b""
                said, total = (said + chunk)[:KEPT_BYTES], total + len(chunk)
                if total > READ_BYTES:
                    return Ended(said, too_much=True)
                if out in ready and not chunk:
                    waiting.unregister(out)
                if ended in ready and not chunk:
                    return Ended(said, whole=True)
    finally:
        os.close(ended)
        out.close()
    return Ended(said)


def _end(process: "subprocess.Popen[bytes]", mark: str, proc: Path) -> int:
    """Kill its process group and whatever else carries its mark; return its exit code.

    Not fetched before, so that its process group's number is still its own.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    for pid in _marked(f"{MARK}={mark}".encode(), proc):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return code


def _marked(mark: bytes, proc: Path) -> Iterator[int]:
    """Yield the processes with the mark in their environment, until there are none left.

    One that forks while it is looked for is found at the next look.
    """
    for _ in range(8):
        found = [
            int(folder.name)
            for folder in proc.iterdir()
            if folder.name.isdecimal() and mark in _environment(folder)
        ]
        yield from found
        if not found:
            return


def _environment(folder: Path) -> bytes:
    try:
        if folder.stat().st_uid != os.geteuid():
            return b""
        return (folder / "environ").read_bytes()
    except OSError:
        return b""


def _refusal(path: Path) -> tuple[str, str] | None:
    """Return why a path is not trusted and what would change that; None where it is."""
    try:
        found = path.stat()
    except OSError as error:
        return f"{path}: {error.strerror}", "Remove it, or repair the link."
    if found.st_uid not in (0, os.geteuid()):
        reason = f"{path} belongs to user {found.st_uid}, neither root nor the one who runs it"
        return reason, f"chown root {path}"
    if found.st_mode & _OTHERS_WRITE:
        reason = f"{path} can be written by others than its owner (mode {found.st_mode & 0o7777:o})"
        return reason, f"chmod go-w {path}"
    if not os.access(path, os.X_OK):
        return f"{path} is not executable for this user", f"chmod +x {path}"
    return None
