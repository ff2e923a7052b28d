"""The launch's control endpoint: HTTP with JSON over a Unix socket that only its owner may open."""

import asyncio
import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from agent.launch.plan import Asked, Message
from core.clock import RealClock
from core.errors import InputError

_BODY_BYTES = 1 << 16
_PATIENCE_S = 10.0
_NEWEST_LINES = 20
ENDED = ".ended"
FORGOTTEN_S = 86_400.0
_TEXTS = {200: "OK", 400: "Bad Request", 404: "Not Found", 409: "Conflict"}


def control_folder() -> Path:
    """Return where this user's launches have their sockets."""
    return Path(tempfile.gettempdir()) / f"gpumedic-launch-{os.getuid()}"


def is_own(folder: Path) -> bool:
    """Say whether only this user may write in a folder: anybody can make one of that name."""
    with contextlib.suppress(OSError):
        found = folder.lstat()
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        return mine and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return False


def control_path(run_id: str) -> Path:
    """Return the socket of a launch of this process."""
    folder = control_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    if not is_own(folder):
        raise InputError(
            f"Making the control socket in {folder}: others made it, or may write there, and could "
            "give this launch's answers. Remove it, or set TMPDIR to a folder of your own."
        )
    name = "".join(letter if letter.isalnum() else "-" for letter in run_id)[:40]
    return folder / f"{name}.{os.getpid()}"


class Control:
    """Serves ``GET /v1/status`` and ``POST /v1/actions``.

    ``/v1/status?since=N`` gives the journal's lines from number N on, else the newest few. An
    action has the fields of ``Asked``; the same key again is answered, not done, again.
    """

    def __init__(
        self, path: Path, status: Callable[[int], Message], act: Callable[[Asked], Message]
    ) -> None:
        self._path, self._status, self._act = path, status, act
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen."""
        self._path.unlink(missing_ok=True)
        _forget(self._path)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(mask)

    def leave(self, last: Message) -> None:
        """Leave word of how the launch ended, for a day or until one of its name begins."""
        self._path.with_name(self._path.name + ENDED).write_text(json.dumps(last))

    def close(self) -> None:
        """Stop and remove the socket."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                code, answer = await self._answered(reader)
                text = json.dumps(answer).encode()
                writer.write(
                    f"HTTP/1.1 {code} {_TEXTS[code]}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode()
                )
                writer.write(text)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # it has gone, is silent for too long, or speaks no HTTP
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader) -> tuple[int, Message]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        length = next(
            (int(line[15:]) for line in head if line.lower().startswith("content-length:")), 0
        )
        return self._answer(head[0], await reader.readexactly(min(length, _BODY_BYTES)))

    def _answer(self, request: str, body: bytes) -> tuple[int, Message]:
        match request.split(" ")[:2]:
            case ["GET", path] if path.partition("?")[0] == "/v1/status":
                since = path.partition("?since=")[2]
                return 200, self._status(int(since) if since.isdecimal() else -_NEWEST_LINES)
            case ["POST", "/v1/actions"]:
                return self._action(body)
        return 404, {"text": f"{request}: there are GET /v1/status and POST /v1/actions"}

    def _action(self, body: bytes) -> tuple[int, Message]:
        try:
            asked = Asked(**{name: str(value) for name, value in json.loads(body).items()})
        except (ValueError, TypeError, AttributeError) as error:
            known = ", ".join(each.name for each in fields(Asked))
            return 400, {"text": f"an action has a key and a kind; it may have {known}: {error}"}
        answer = self._act(asked)
        return (200 if answer["ok"] else 409), answer


def _forget(path: Path) -> None:
    """Remove what earlier launches left: those of this name, and what is old."""
    name, now_s = path.name.rpartition(".")[0], RealClock().now_s()
    for left in path.parent.glob(f"*{ENDED}"):
        with contextlib.suppress(FileNotFoundError):
            same = left.name.rsplit(".", 2)[0] == name
            if same or now_s - left.stat().st_mtime > FORGOTTEN_S:
                left.unlink()
