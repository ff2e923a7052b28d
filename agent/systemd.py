"""Tells systemd how the process is: ready, reloading, stopping, alive, and one sentence."""

import os
import socket
from collections.abc import Mapping

from core.clock import Clock

# systemd cuts a status line far below this; a longer one would only fill the datagram.
MAX_STATUS_BYTES = 1000
# The manager reads its socket at once; a full one must never hold up the event loop.
SEND_TIMEOUT_S = 0.1
_US_PER_S = 1_000_000


class Systemd:
    """Writes to systemd's notification socket; does nothing where there is none, never raises.

    environ: where systemd left NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID for this process
    clock:   its ``monotonic_s`` must be the kernel's CLOCK_MONOTONIC, which the real clock's is

    See sd_notify(3) and sd_watchdog_enabled(3).
    """

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._clock = clock
        self.watchdog_s = _watchdog_s(environ)

    def ready(self) -> None:
        """Say that the start, or a reload, is over."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Set the sentence that ``systemctl status`` shows; line breaks become spaces."""
        line = " ".join(text.split()).encode(errors="replace")[:MAX_STATUS_BYTES]
        self._send(f"STATUS={line.decode(errors='ignore')}")

    def watchdog(self) -> None:
        """Say that the process is alive; only where ``watchdog_s`` asks for it."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that a reload has begun; ``ready`` ends it.

        The time must be in the same datagram: systemd 253 and later wait for it on a unit of
        ``Type=notify-reload``.
        """
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic_s() * _US_PER_S)}")

    def stopping(self) -> None:
        """Say that the orderly end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(SEND_TIMEOUT_S)
                sender.sendto(message.encode(), self._address)
        except (OSError, ValueError):
            return  # a manager that has gone away is no reason to stop watching GPUs


def _address(name: str) -> str | None:
    """Return the socket's address: a path, or an abstract name whose ``@`` stands for NUL."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return the longest silence systemd allows, in seconds, where it watches this process."""
    span, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (span.isascii() and span.isdigit()) or int(span) == 0:
        return None
    return int(span) / _US_PER_S if pid in ("", str(os.getpid())) else None
