"""The helper's socket: who asks is told by the kernel, and no client holds another one up."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.roothelper.desk import Answer, Desk
from agent.roothelper.order import MAX_LINE_BYTES
from core.clock import Clock
from core.errors import ConfigError

MOST_CLIENTS = 8
# A client writes its line at once; the longest verb, a reset, is waited for elsewhere.
PATIENCE_S = 10.0
_FAREWELL_S = 1.0
FIRST_PASSED_FD = 3  # sd_listen_fds(3)
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(slots=True)
class Server:
    """Answers each client's lines in turn until it goes, is silent for too long, or is unfit.

    uid: the only user who is served
    """

    desk: Desk
    uid: int
    clock: Clock
    patience_s: float = PATIENCE_S
    served_s: float = field(init=False)
    _clients: int = 0

    def __post_init__(self) -> None:
        """Begin with nobody served yet."""
        self.served_s = self.clock.monotonic_s()

    async def run(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Serve on a socket that listens until ``stop`` is set."""
        server = await asyncio.start_unix_server(self._client, sock=listening, limit=MAX_LINE_BYTES)
        async with server:
            await stop.wait()

    @property
    def idle_s(self) -> float:
        """Return for how long nobody has been served; 0 while somebody is."""
        return 0.0 if self._clients else self.clock.monotonic_s() - self.served_s

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            who = _peer(writer)
            refused = self._unfit(who)
            if refused:
                await self._say(writer, refused)
                # One who is still sending would be told of a broken pipe instead of the reason.
                async with asyncio.timeout(_FAREWELL_S):
                    await reader.readuntil(b"\n")
            else:
                await self._lines(reader, writer, who)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it has gone, or does not take its answer
        finally:
            self._clients -= 1
            self.served_s = self.clock.monotonic_s()
            writer.close()

    def _unfit(self, who: Mapping[str, int]) -> Answer | None:
        if who["uid"] != self.uid:
            error = f"User {who['uid']} may not ask; user {self.uid} may."
            return {"ok": False, "code": "not_allowed", "error": error}
        if self._clients > MOST_CLIENTS:
            error = f"{MOST_CLIENTS} clients are being served. Come again."
            return {"ok": False, "code": "busy", "error": error}
        return None

    async def _lines(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: Mapping[str, int]
    ) -> None:
        while True:
            try:
                async with asyncio.timeout(self.patience_s):
                    line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    await self._close(writer, f"{len(error.partial)} bytes came without a line end")
                return
            except asyncio.LimitOverrunError:
                await self._close(writer, f"a line may have {MAX_LINE_BYTES} bytes")
                return
            except TimeoutError:
                await self._close(writer, f"no line came within {self.patience_s:g} s")
                return
            await self._say(writer, await asyncio.to_thread(self.desk.answer, line, who))

    async def _close(self, writer: asyncio.StreamWriter, why: str) -> None:
        await self._say(writer, {"ok": False, "code": "input", "error": f"Closed: {why}."})

    async def _say(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        writer.write(json.dumps(answer).encode() + b"\n")
        async with asyncio.timeout(self.patience_s):
            await writer.drain()


def _peer(writer: asyncio.StreamWriter) -> dict[str, int]:
    raw = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return {"pid": pid, "uid": uid}


def listening_socket(environ: Mapping[str, str], path: Path | None, uid: int) -> socket.socket:
    """Return the socket that systemd passes, else one made at ``path`` for the user alone.

    ConfigError where there is neither.
    """
    if environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS") == "1":
        return socket.socket(fileno=FIRST_PASSED_FD)
    if path is None:
        raise ConfigError(
            "The root helper was given no socket. Start gpumedic-helper.socket, or name one with "
            "--socket."
        )
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        made.bind(str(path))
        path.chmod(0o600)
        os.chown(path, uid, -1)
        made.listen(MOST_CLIENTS)
    except OSError as error:
        made.close()
        raise ConfigError(f"Listening at {path}: {error.strerror}.") from error
    return made
