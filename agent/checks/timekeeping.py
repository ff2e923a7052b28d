"""The machine's clock: whether anything keeps it in time, and how far off it may be."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from agent.checks.check import Finding, State, degraded, state_of, unknown

# adjtimex(2) and linux/timex.h: what the clock says of itself, and the flag for "nobody sets me".
STA_UNSYNC, STA_NANO = 0x0040, 0x2000
# Slurm's and Kubernetes' tokens live some minutes; logs of two nodes are laid side by side by it.
MOST_OFF_S = 0.1
SYSTEMD_LIMIT_S = 5.0
_NOBODY = degraded("nothing keeps the clock in time", "Start chronyd or systemd-timesyncd.")


class _Timex(ctypes.Structure):
    """The head of ``struct timex``; the rest is not looked at."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """What the kernel knows of the clock: whether it is kept in time, and how far off it is."""

    synchronised: bool
    offset_s: float
    maxerror_s: float


def kept() -> Kept:
    """Ask the kernel, changing nothing; OSError where it does not answer."""
    libc, timex = ctypes.CDLL(None, use_errno=True), _Timex()
    if libc.adjtimex(ctypes.byref(timex)) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    scale = 1e-9 if timex.status & STA_NANO else 1e-6
    return Kept(not timex.status & STA_UNSYNC, timex.offset * scale, timex.maxerror * 1e-6)


def kept_by_systemd() -> bool:
    """Ask systemd-timedated, which asks the kernel; an error where it does not answer."""
    asked = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    done = subprocess.run(  # noqa: S603 - no word of it comes from outside
        asked, capture_output=True, check=True, text=True, timeout=SYSTEMD_LIMIT_S
    )
    return done.stdout.strip() == "yes"


@dataclass(frozen=True, slots=True)
class ClockSync:
    """Whether chrony, timesyncd or another keeps the clock, by what the kernel was told.

    A service whose clock systemd protects may not ask the kernel; systemd's own answers then.
    """

    ask: Callable[[], Kept] = kept
    ask_systemd: Callable[[], bool] = kept_by_systemd
    name: str = "clock"
    deadline_s: float = 2 * SYSTEMD_LIMIT_S

    def run(self) -> State:
        """Ask now."""
        try:
            found = self.ask()
        except PermissionError:
            return state_of(self.name, self._by_systemd(), fine="kept in time")
        fine = f"kept in time, off by {abs(found.offset_s) * 1e3:.3g} ms"
        return state_of(self.name, _findings(found), fine=fine)

    def _by_systemd(self) -> list[Finding]:
        try:
            return [] if self.ask_systemd() else [_NOBODY]
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"neither adjtimex nor timedatectl may be asked: {error}"
            return [unknown(reason, "See `timedatectl`, or skip it: checks.skip.")]


def _findings(found: Kept) -> list[Finding]:
    if not found.synchronised:
        return [_NOBODY]
    if abs(found.offset_s) > MOST_OFF_S:
        reason = f"the clock is off by {found.offset_s * 1e3:.0f} ms"
        return [degraded(reason, "See `chronyc tracking`, or `timedatectl timesync-status`.")]
    return []
