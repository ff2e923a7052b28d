"""systemd hears how the process is, over a real datagram socket, and can never hurt it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.systemd import Systemd
from core.clock import ManualClock


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket such as systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(2.0)
        yield listener


def environ(manager: socket.socket, **more: str) -> dict[str, str]:
    name = manager.getsockname()
    address = f"@{name[1:].decode()}" if isinstance(name, bytes) else name
    return {"NOTIFY_SOCKET": address, **more}


def heard(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


async def test_each_word_is_the_one_systemd_knows(
    manager: socket.socket, clock: ManualClock
) -> None:
    systemd = Systemd(environ(manager, WATCHDOG_USEC="60000000"), clock)
    await clock.advance(12.5)

    systemd.ready()
    systemd.status("no action. 3 nodes watched")
    systemd.watchdog()
    systemd.reloading()
    systemd.stopping()

    assert [heard(manager) for _ in range(5)] == [
        "READY=1",
        "STATUS=no action. 3 nodes watched",
        "WATCHDOG=1",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "STOPPING=1",
    ]


def test_an_abstract_socket_is_reached_too(clock: ManualClock) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0gpumedic-test-{os.getpid()}")
        listener.settimeout(2.0)
        Systemd(environ(listener), clock).ready()

        assert heard(listener) == "READY=1"


def test_a_status_cannot_smuggle_in_another_word(
    manager: socket.socket, clock: ManualClock
) -> None:
    Systemd(environ(manager), clock).status("node-1\nREADY=1\n\x00 is out")

    assert heard(manager).count("\n") == 0


def test_a_long_status_is_cut_between_characters(
    manager: socket.socket, clock: ManualClock
) -> None:
    Systemd(environ(manager), clock).status("温" * 1000)

    assert heard(manager) == "STATUS=" + "温" * 333


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_only_where_it_watches_this_process(
    manager: socket.socket, clock: ManualClock, more: dict[str, str], expected: float | None
) -> None:
    systemd = Systemd(environ(manager, **more), clock)

    systemd.watchdog()
    systemd.ready()

    assert systemd.watchdog_s == expected
    assert heard(manager) == ("READY=1" if expected is None else "WATCHDOG=1")


@pytest.mark.parametrize(
    "address",
    [None, "", "relative/path", "/nowhere/notify", "vsock:2:1234", "/" + "x" * 300, "/a\0b"],
)
def test_without_a_socket_that_answers_nothing_happens(
    clock: ManualClock, address: str | None
) -> None:
    environment = {} if address is None else {"NOTIFY_SOCKET": address}
    systemd = Systemd(environment | {"WATCHDOG_USEC": "1000000"}, clock)

    systemd.ready()
    systemd.status("\ud800 half a character")
    systemd.watchdog()
    systemd.reloading()
    systemd.stopping()


def test_a_manager_that_reads_nothing_never_holds_us_up(
    manager: socket.socket, clock: ManualClock
) -> None:
    systemd = Systemd(environ(manager), clock)

    for _ in range(15):  # the kernel keeps 10 datagrams for a reader
        systemd.ready()

    assert heard(manager) == "READY=1"
