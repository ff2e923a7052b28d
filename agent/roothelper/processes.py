"""The verbs about processes of a job: a PID is believed only with its start time and its cgroup."""

import ctypes
import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from agent.roothelper.journal import State
from agent.roothelper.order import Order
from agent.roothelper.settings import HelperSettings
from core.errors import ActionFailed, ActionRefused

_PROC = Path("/proc")
# ioprio_set(2) has no wrapper in C libraries: its number, and ioprio_get's, by machine.
_IOPRIO: Mapping[str, tuple[int, int]] = {"x86_64": (251, 252), "aarch64": (30, 31)}
_IOPRIO_WHO_PROCESS = 1
_CLASS_SHIFT = 13
IO_CLASSES: Mapping[str, int] = {"none": 0, "best-effort": 2, "idle": 3}
MOST_LEVEL = 7


@contextmanager
def of_job(order: Order, settings: HelperSettings) -> Iterator[int]:
    """Give a pidfd of the order's process; ActionRefused where it is not the job's.

    The pidfd is there before anything is read of the PID: should the PID have a new owner by then,
    the pidfd stays the old process', which has ended, and can hit nobody.
    """
    pid, job = order.number("pid"), order.text("job")
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, OverflowError):
        raise _gone(order, "there is no such process") from None
    try:
        _check(order, settings, pid, job)
        yield pidfd
    finally:
        os.close(pidfd)


def alive(pidfd: int) -> bool:
    """Say whether the process of a pidfd has not ended."""
    return not select.select([pidfd], [], [], 0)[0]


def started(pid: int) -> int:
    """Return when a process started, in clock ticks since boot, as /proc/PID/stat has it."""
    after_name = _said(pid, "stat").rpartition(")")[2]
    return int(after_name.split()[19])  # field 22 of proc(5); the third is the first after the name


def _said(pid: int, what: str) -> str:
    """Return what the kernel says of a process, whose name may hold any bytes."""
    return (_PROC / str(pid) / what).read_text(errors="replace")


def _check(order: Order, settings: HelperSettings, pid: int, job: str) -> None:
    try:
        since, cgroups, status = started(pid), _said(pid, "cgroup"), _said(pid, "status")
    except (OSError, ValueError, IndexError):
        raise _gone(order, "it has ended") from None
    if since != order.number("started"):
        raise _gone(order, "that PID is another process by now")
    uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
    if min(map(int, uids)) < settings.least_uid:
        raise ActionRefused(
            "not_a_user",
            f"{order.verb} {pid}: it runs as a user below {settings.least_uid}.",
            "Only users' own processes are touched.",
        )
    if not belongs(cgroups, job, settings.job_cgroups):
        raise ActionRefused(
            "not_of_job",
            f"{order.verb} {pid}: its cgroup is not one of job {job}: {cgroups.strip()[:200]}.",
            "Name the job it belongs to, or add the site's cgroup names as job_cgroups.",
        )


def belongs(cgroups: str, job: str, patterns: tuple[str, ...]) -> bool:
    """Say whether /proc/PID/cgroup's text names a cgroup of the job."""
    names = [
        pattern.replace("{job_}", job.replace("-", "_")).replace("{job}", job)
        for pattern in patterns
    ]
    parts = {part for line in cgroups.splitlines() for part in line.split(":", 2)[-1].split("/")}
    return any(fnmatchcase(part, name) for part in parts for name in names)


def _gone(order: Order, why: str) -> ActionRefused:
    return ActionRefused(
        "not_that_process",
        f"{order.verb} {order.number('pid')}: {why}.",
        "Look up the job's processes again.",
    )


@dataclass(frozen=True, slots=True)
class Signal:
    """``signal``: send one of a few signals to a process of a job."""

    settings: HelperSettings

    def before(self, order: Order) -> State:
        """Return None; ActionRefused where the process or the signal is not to be had."""
        if order.text("signal") not in self.settings.signals:
            raise ActionRefused(
                "out_of_bounds",
                f"signal {order.text('signal')}: only {', '.join(self.settings.signals)}.",
                "The helper's settings name the signals.",
            )
        with of_job(order, self.settings):
            return None

    def put(self, order: Order, state: State) -> None:
        """Send it."""
        with of_job(order, self.settings) as pidfd:
            try:
                signal.pidfd_send_signal(pidfd, signal.Signals[f"SIG{order.text('signal')}"])
            except ProcessLookupError:
                raise _gone(order, "it has ended") from None


@dataclass(frozen=True, slots=True)
class Urgency:
    """``renice`` and ``ionice``: how urgent every thread of a process is, to one number.

    get, put_one: read and set the number of a thread
    wanted:  the number that an order asks for; ActionRefused where it is out of bounds
    """

    settings: HelperSettings
    get: Callable[[int], int]
    put_one: Callable[[int, int], None]
    wanted: Callable[[Order, HelperSettings], int]

    def before(self, order: Order) -> State:
        """Return the main thread's number, and those of the threads that have another."""
        if not order.restore:
            self.wanted(order, self.settings)
        with of_job(order, self.settings):
            main = self.get(order.number("pid"))
            each = {str(tid): self.get(tid) for tid in _threads(order.number("pid"))}
            return [main, {tid: level for tid, level in each.items() if level != main}]

    def after(self, order: Order) -> State:
        """Return the state that is asked for."""
        return [self.wanted(order, self.settings), {}]

    def put(self, order: Order, state: State) -> None:
        """Set every thread; a thread that is new since has the main thread's number."""
        main, others = state
        with of_job(order, self.settings) as pidfd:
            for tid in _threads(order.number("pid")):
                with suppress(ProcessLookupError):
                    self.put_one(tid, others.get(str(tid), main))
            if not alive(pidfd):
                raise ActionFailed(f"{order.verb} {order.number('pid')}: it ended meanwhile.")


def _threads(pid: int) -> list[int]:
    try:
        return sorted(int(each.name) for each in (_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []


def renice(settings: HelperSettings) -> Urgency:
    """Return the verb ``renice``."""
    return Urgency(settings, _nice, _renice, _wanted_nice)


def ionice(settings: HelperSettings) -> Urgency:
    """Return the verb ``ionice``."""
    return Urgency(settings, _io_level, _set_io_level, _wanted_io)


def _nice(tid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, tid)


def _renice(tid: int, nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, tid, nice)


def _wanted_nice(order: Order, settings: HelperSettings) -> int:
    nice = order.number("nice")
    if not settings.least_nice <= nice <= 19:
        raise ActionRefused(
            "out_of_bounds",
            f"renice to {nice}: not within {settings.least_nice} to 19.",
            "The helper's settings draw the bound.",
        )
    return nice


def _wanted_io(order: Order, _: HelperSettings) -> int:
    io_class, level = order.text("io_class"), order.number("io_level")
    if io_class not in IO_CLASSES or level > MOST_LEVEL:
        raise ActionRefused(
            "out_of_bounds",
            f"ionice to {io_class} {level}: not known.",
            f"Classes are {', '.join(IO_CLASSES)}, levels 0 to {MOST_LEVEL}.",
        )
    return IO_CLASSES[io_class] << _CLASS_SHIFT | level


def _io_level(tid: int) -> int:
    return _call(1, _IOPRIO_WHO_PROCESS, tid)


def _set_io_level(tid: int, level: int) -> None:
    _call(0, _IOPRIO_WHO_PROCESS, tid, level)


def _call(which: int, *arguments: int) -> int:
    numbers = _IOPRIO.get(os.uname().machine)
    if numbers is None:
        raise ActionFailed(f"ionice: not known on a {os.uname().machine}.")
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(numbers[which], *arguments))
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return found
