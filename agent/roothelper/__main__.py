"""Starts the root helper: ``python -I -m agent.roothelper``, as gpumedic-helper.service does."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from agent.roothelper.desk import Desk
from agent.roothelper.gpus import Driver
from agent.roothelper.journal import Journal
from agent.roothelper.server import Server, listening_socket
from agent.roothelper.settings import read_settings
from agent.roothelper.verbs import verbs_of
from agent.systemd import Systemd
from core.clock import RealClock
from core.errors import GpumedicError

SETTINGS = Path("/etc/gpumedic/helper.toml")
STATE = Path("/var/lib/gpumedic-helper")
JOURNAL = "journal.jsonl"
# systemd starts it again at the next order: root's process is there only while it is needed.
IDLE_S = 300.0


def main() -> int:
    """Serve until a signal comes or nobody has asked for five minutes; return the exit code."""
    given = _options().parse_args()
    try:
        settings = read_settings(given.config)
        uid, clock = settings.uid(), RealClock()
        given.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        desk = Desk(
            verbs=verbs_of(settings, Driver.with_deadline()),
            journal=Journal(given.state / JOURNAL, clock),
            clock=clock,
        )
        listening = listening_socket(os.environ, given.socket, uid)
    except (GpumedicError, OSError) as error:
        sys.stderr.write(f"gpumedic root helper: {error}\n")
        return 1
    asyncio.run(_serve(Server(desk, uid, clock), listening, idle_s=given.idle))
    return 0


async def _serve(server: Server, listening: socket.socket, *, idle_s: float) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.run(listening, stop))
    systemd = Systemd(os.environ, server.clock)
    systemd.ready()
    while not stop.is_set():
        rest_s = max(1.0, idle_s - server.idle_s)
        try:
            async with asyncio.timeout(rest_s):
                await stop.wait()
        except TimeoutError:
            if server.idle_s >= idle_s:
                stop.set()
    systemd.stopping()
    await serving


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpumedic-helper", description=__doc__)
    parser.add_argument("--config", type=Path, default=SETTINGS, help="what it may do")
    parser.add_argument("--state", type=Path, default=STATE, help="folder of its journal")
    parser.add_argument("--socket", type=Path, help="where to listen, without systemd")
    parser.add_argument("--idle", type=float, default=IDLE_S, help="seconds until it ends")
    return parser


if __name__ == "__main__":
    sys.exit(main())
