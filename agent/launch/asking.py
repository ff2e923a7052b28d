"""Asks the launches of a user on this machine, through their control sockets."""

import contextlib
import json
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from agent.launch.control import ENDED, FORGOTTEN_S, control_folder, is_own
from agent.launch.plan import Asked, Message
from core.clock import RealClock
from core.errors import SourceUnavailable

_TIMEOUT_S = 5.0
_AT_ONCE = 32
_GONE = (ConnectionRefusedError, FileNotFoundError)


def launches(
    folder: Path | None = None, *, since: Mapping[Path, int] | None = None
) -> tuple[list[Message], list[Path]]:
    """Return the status of each that answers, and the sockets of those that do not now.

    These may be frozen, or their machine too busy: they are no less there. All are asked at once,
    so that none waits for them. A socket that nobody listens on is removed.

    folder: of the sockets; None: this user's
    since:  number of the first line of each journal that is wanted, all of one that is not named;
            None: the newest few
    """
    paths = [path for path in _within(folder) if not path.name.endswith(ENDED)]
    with ThreadPoolExecutor(min(_AT_ONCE, len(paths) or 1)) as pool:
        answers = [*pool.map(lambda path: _status(path, since), paths)]
    found = [each for each in answers if isinstance(each, dict)]
    silent = [
        path for path, each in zip(paths, answers, strict=True) if isinstance(each, Exception)
    ]
    return found, silent


def _status(path: Path, since: Mapping[Path, int] | None) -> Message | SourceUnavailable | None:
    """Return what a launch says, why it does not, or None where nobody is there any more."""
    where = "/v1/status" if since is None else f"/v1/status?since={since.get(path, 0)}"
    try:
        return {"control": str(path), **ask(path, "GET", where)}
    except SourceUnavailable as error:
        if not isinstance(error.__cause__, _GONE):
            return error
        path.unlink(missing_ok=True)
        return None


def ended(folder: Path | None = None) -> list[Message]:
    """Return the last word of each launch that ended within a day: its status and ``code``."""
    found: list[Message] = []
    since_s = RealClock().now_s() - FORGOTTEN_S
    for path in (path for path in _within(folder) if path.name.endswith(ENDED)):
        with contextlib.suppress(OSError, ValueError):
            if path.stat().st_mtime < since_s:
                continue
            found.append({"control": str(path).removesuffix(ENDED), **json.loads(path.read_text())})
    return found


def act(path: Path, asked: Asked) -> Message:
    """Ask for an action; the same key again is answered, not done, again."""
    return ask(path, "POST", "/v1/actions", asdict(asked))


def ask(path: Path, method: str, where: str, body: Message | None = None) -> Message:
    """Send one request; SourceUnavailable where nobody answers."""
    text = json.dumps(body).encode() if body is not None else b""
    head = f"{method} {where} HTTP/1.1\r\nHost: launch\r\nContent-Length: {len(text)}\r\n\r\n"
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_TIMEOUT_S)
            line.connect(str(path))
            line.sendall(head.encode() + text)
            answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
        found: Message = json.loads(answer.partition(b"\r\n\r\n")[2])
    except (OSError, ValueError) as error:
        raise SourceUnavailable(f"Asking the launch at {path}: {error}.") from error
    return found


def _within(folder: Path | None) -> list[Path]:
    """Return what lies in a folder; None: in this user's, where nobody else may write."""
    place = folder or control_folder()
    return sorted(place.glob("*")) if folder is not None or is_own(place) else []
