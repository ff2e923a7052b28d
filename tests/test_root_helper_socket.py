"""The root helper's socket: only its user is served, and nobody can hold it up or bring it down."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.root_helper import Client, helper_at

ORDER = json.dumps({"verb": "loader_hint", "key": "k", "job": "7", "loaders": 2}).encode() + b"\n"


async def sent(path: Path, data: bytes, *, half: bool = False) -> dict[str, Any] | None:
    """Send bytes as a client of its own and return the first answer; ``half``: and say no more."""

    def talk() -> dict[str, Any] | None:
        with Client(path) as client:
            with contextlib.suppress(OSError):  # closed before it had taken all
                client.send(data)
                if half:
                    client.socket.shutdown(socket.SHUT_WR)
            return client.answer()

    return await asyncio.to_thread(talk)


async def test_who_is_not_allowed_is_told_so_and_nothing_else(tmp_path: Path) -> None:
    async with helper_at(tmp_path, uid=os.getuid() + 1) as path:
        refused = await sent(path, ORDER)

    assert refused is not None
    assert (refused["ok"], refused["code"]) == (False, "not_allowed")
    assert not (tmp_path / "hints").exists()


async def test_unfit_clients_are_closed_with_a_reason_while_others_are_served(
    tmp_path: Path,
) -> None:
    async with helper_at(tmp_path) as path:
        with Client(path) as silent, Client(path) as slow:
            slow.send(b'{"verb":')
            garbage = await sent(path, b"\x00\xff" * 100 + b"\n")
            half = await sent(path, ORDER[:-5], half=True)
            flood = await sent(path, b"x" * 100_000_000)
            served = await sent(path, ORDER)
            slow.send(b' "reboot", "key": "r"}\n')
            late = await asyncio.to_thread(slow.answer)
            assert silent.socket.fileno() >= 0

    for found, said in ((garbage, "no JSON object"), (half, "without a line end")):
        assert found is not None
        assert (found["code"], said in found["error"]) == ("input", True)
    assert flood is not None
    assert flood["error"] == "Closed: a line may have 4096 bytes."
    assert served is not None
    assert (served["ok"], served["before"]) == (True, None)
    assert late is not None
    assert late["code"] == "not_enabled"


async def test_a_client_that_stalls_is_closed(tmp_path: Path) -> None:
    async with helper_at(tmp_path, patience_s=0.05) as path:
        with Client(path) as silent:
            told = await asyncio.to_thread(silent.answer)
            after = await asyncio.to_thread(silent.answer)

    assert (told, after) == (
        {"ok": False, "code": "input", "error": "Closed: no line came within 0.05 s."},
        None,
    )


async def test_the_ninth_client_at_once_is_sent_away(tmp_path: Path) -> None:
    async with helper_at(tmp_path) as path:
        held = [Client(path) for _ in range(8)]
        for client in held:
            client.send(ORDER)
            await asyncio.to_thread(client.answer)
        ninth = await sent(path, ORDER)
        held.pop().socket.close()
        for client in held:
            client.socket.close()

    assert ninth is not None
    assert ninth["code"] == "busy"


def test_the_process_serves_without_anything_heavy_and_ends_in_order(tmp_path: Path) -> None:
    config = tmp_path / "helper.toml"
    config.write_text(f'user = "{os.getuid()}"\nhints = "{tmp_path / "hints"}"\n')
    config.chmod(0o600)
    path = tmp_path / "socket"
    told = tmp_path / "told"  # systemd's place: READY says that the socket is there
    watch = (
        "import runpy, sys, atexit\n"
        "heavy = ('numpy', 'typer', 'rich', 'pydantic', 'starlette', 'pynvml')\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules]))\n"
        "runpy.run_module('agent.roothelper', run_name='__main__')\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(told))
        ready.settimeout(60)
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", watch, "--config", str(config)),
                *("--state", str(tmp_path / "state"), "--socket", str(path)),
            ],
            stdout=subprocess.PIPE,
            env=os.environ | {"NOTIFY_SOCKET": str(told)},
        )
        assert ready.recv(100) == b"READY=1"
    with Client(path) as client:
        client.send(ORDER)
        answer = client.answer()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)

    assert answer is not None
    assert (answer["ok"], process.returncode, out) == (True, 0, b"[]\n")
    assert (tmp_path / "hints" / "7").read_text() == "2\n"
    assert (tmp_path / "state" / "journal.jsonl").stat().st_mode & 0o777 == 0o600
