"""A small HTTP receiver on loopback that answers as a test says and keeps what it was sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

Answer = Callable[["Sent"], bytes]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: its first line, its headers in lower case, its body."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Listens on ``port``; ``answer`` makes the whole response, b"" answers nothing at all."""

    answer: Answer
    port: int = 0
    got: list[Sent] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            sent = Sent(head[0], headers, body)
            self.got.append(sent)
            if response := self.answer(sent):
                writer.write(response)
                await writer.drain()
            else:
                await reader.read()  # until the sender gives up
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def response(status: str, body: bytes = b"", **headers: str) -> bytes:
    """Write a response; ``retry_after`` is the header Retry-After."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def receiving(answer: Answer) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port."""
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
