"""Several nodes, one coordinator: one JSON object a line over TCP, both ways."""

import asyncio
import contextlib
import hmac
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

from agent.launch.arguments import Endpoint
from agent.launch.jobside.gpumedic_job.layout import Beat, Phase
from agent.launch.launcher import Launcher
from agent.launch.plan import Message, Start
from agent.launch.rally import Place
from core.errors import InputError, SourceUnavailable

TOKEN_ENV = "GPUMEDIC_LAUNCH_TOKEN"  # noqa: S105  # the variable's name
# A node that has said nothing for so long is given up.
SILENT_S = 4.0
# A node that hears nothing looks for the coordinator again, and may be taken back for so long.
_AWAY_S = 1.0
_RETRY_S = 0.2
_LINE_BYTES = 1 << 24


class Line:
    """A connection that carries messages; ``ended``: the other process closed it, or ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.ended = False

    def send(self, kind: str, **fields: object) -> None:
        """Send; where the other side is gone, reading says so."""
        self._writer.write(json.dumps({"kind": kind, **fields}).encode() + b"\n")

    async def receive(self, timeout_s: float) -> Message | None:
        """Return the next message; None where the other side is gone or silent too long."""
        with contextlib.suppress(TimeoutError):
            try:
                line = await asyncio.wait_for(self._reader.readline(), timeout_s)
            except (ConnectionError, ValueError):  # it is gone, or its line longer than any is
                line = b""
            if line.endswith(b"\n") and (found := _message(line)) is not None:
                return found
            self.ended = True
        return None

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


def _message(line: bytes) -> Message | None:
    """Read a message; None where it is none of ours."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


def _secret(token: object) -> bytes:
    """Return a token as bytes: it may have any letters."""
    return str(token).encode(errors="surrogatepass")


class FarNode:
    """A node behind a connection, as the coordinator sees it."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def start(self, order: Start) -> None:
        """Start a worker there."""
        self._line.send("start", order=asdict(order))

    def tell(self, uid: str, message: Message) -> None:
        """Send a worker there a message."""
        self._line.send("tell", uid=uid, message=message)

    def kill(self, uid: str) -> None:
        """Kill a worker there."""
        self._line.send("kill", uid=uid)

    def inform(self, message: Message) -> None:
        """Let the node know what the next coordinator must."""
        self._line.send("news", **message)


Answer = Callable[[Line, Message], Awaitable[None]]


class Meeting:
    """Where nodes turn to; ``answer`` talks with one that has said its first word."""

    def __init__(self, token: str, answer: Answer) -> None:
        self._token, self._answer = _secret(token), answer
        self._server: asyncio.Server | None = None
        self._lines: set[Line] = set()

    async def open(self, endpoint: Endpoint) -> bool:
        """Listen; False where the address is another machine's or taken."""
        try:
            self._server = await asyncio.start_server(
                self._serve, endpoint.host, endpoint.port, limit=_LINE_BYTES
            )
        except OSError:
            return False
        return True

    @property
    def port(self) -> int:
        """Return where it listens, 0 where it does not."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    def part(self) -> None:
        """Part from all nodes, for them to turn here again and be told where to go."""
        for line in self._lines:
            line.close()

    def close(self, code: int) -> None:
        """Tell all nodes that the launch has ended, and stop listening."""
        for line in self._lines:
            line.send("end", code=code)
            line.close()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer)
        try:
            first = await line.receive(SILENT_S)
            if first is not None and hmac.compare_digest(_secret(first.get("token")), self._token):
                self._lines.add(line)
                with contextlib.suppress(asyncio.CancelledError):
                    await self._answer(line, first)
        finally:
            self._lines.discard(line)
            line.close()


class Host:
    """Talks with the nodes that follow this node's coordinator."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._asked: set[asyncio.Task[None]] = set()

    async def take_in(self, line: Line, first: Message) -> None:
        """Let a node join, and talk with it until it is gone."""
        name, launcher = first["name"], self._launcher
        assert launcher.rally is not None  # noqa: S101  # there is one wherever nodes meet
        if _is_of_another(first, launcher.rally.council.me):
            line.send("wait")
            return
        if name in launcher.hands:
            line.send("end", code=1, text=f"a node {name} is here already: give --name")
            return
        if first["workers"]:
            line.send("end", code=1, text=f"node {name} was given up")
            return
        line.send("leads", term=launcher.rally.council.term)
        node = FarNode(line)
        launcher.rally.add(first["word"], place_of(first), node.inform)
        launcher.rally.propose()
        launcher.join(name, first["address"], node, first["port"])
        await self.talk(line, name)

    async def talk(self, line: Line, name: str) -> None:
        """Do what a node asks until it is gone, or says what nobody understands."""
        try:
            while (message := await line.receive(SILENT_S)) is not None:
                if message["kind"] == "away":
                    line.ended = False
                    break
                self._take(line, name, message)
        finally:
            self._launcher.leave(name, ended=line.ended)

    def _take(self, line: Line, name: str, message: Message) -> None:
        match message["kind"]:
            case "beats":
                beats = {uid: beat_of(beat) for uid, beat in message["beats"].items()}
                self._launcher.beats(beats)
                self._launcher.acknowledged(name, message)
                line.send("still")
            case "ask":
                task = asyncio.ensure_future(self._answer(line, message))
                self._asked.add(task)
                task.add_done_callback(self._asked.discard)
            case "event":
                self._launcher.event(name, message["event"])

    async def _answer(self, line: Line, message: Message) -> None:
        answer = await self._launcher.stores.ask(message["message"])
        line.send("answer", id=message["id"], answer=answer)


def _is_of_another(first: Message, me: str) -> bool:
    """Say whether a node is of a launch that ``me`` has no part in: it was begun after that."""
    news = first["news"]
    return news is not None and not any(me in roster for roster in news["rosters"])


def place_of(first: Message) -> Place:
    """Return where a node is found that says its first word."""
    return Place(first["name"], first["address"], first["meeting"])


def tuple_of(beat: Beat) -> tuple[int, int, Phase, int]:
    """Return a beat as it goes over the line."""
    return beat.generation, beat.step, beat.phase, beat.time_ns


def beat_of(said: Sequence[int]) -> Beat:
    """Return the beat that came over the line."""
    generation, step, phase, time_ns = said
    return Beat(generation, step, Phase(phase), time_ns)


def token_for(endpoint: Endpoint) -> str:
    """Return the word that nodes of one launch share; InputError where one is needed."""
    token = os.environ.get(TOKEN_ENV, "")
    if not token and endpoint.host not in ("127.0.0.1", "localhost", "::1"):
        raise InputError(
            f"Meeting at {endpoint.host}:{endpoint.port}: whoever reaches that port could give "
            f"orders to this launch. Set {TOKEN_ENV} to the same secret on every node."
        )
    return token


async def connect(endpoint: Endpoint, timeout_s: float) -> Line:
    """Connect to the coordinator, which may start later; SourceUnavailable after the timeout."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + timeout_s
    while True:
        try:
            return await reach(endpoint)
        except OSError as error:
            if loop.time() > until_s:
                raise SourceUnavailable(
                    f"Meeting at {endpoint.host}:{endpoint.port}: {error}. Nobody coordinates "
                    f"there since {timeout_s:g} s."
                ) from error
        await asyncio.sleep(_RETRY_S)


async def reach(endpoint: Endpoint) -> Line:
    """Connect at once; OSError (a timeout too) where nobody answers."""
    opening = asyncio.open_connection(endpoint.host, endpoint.port, limit=_LINE_BYTES)
    return Line(*await asyncio.wait_for(opening, SILENT_S))
