"""A server that speaks Prometheus' query API as badly as a test wants, over real HTTP."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Handler = BaseHTTPRequestHandler
# Half a minute of them: who listens that long has no deadline for the whole of an answer.
MOST_DRIPS = 1500
Behave = Callable[[Handler, dict[str, str]], None]


@dataclass(slots=True)
class BadPrometheus:
    """``names`` are its metrics; ``behave`` answers range queries; ``asked`` is what came in.

    on_names, when set, answers for the list of names instead; on_instant an instant query, which
    else finds nothing.
    """

    url: str
    names: list[str]
    behave: Behave
    on_names: Behave | None = None
    on_instant: Behave | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


def send(
    handler: Handler,
    body: bytes,
    *,
    status: int = 200,
    kind: str = "application/json",
    headers: dict[str, str] | None = None,
) -> None:
    """Answer like an orderly server."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def send_json(handler: Handler, document: Any) -> None:
    """Answer 200 with this document."""
    send(handler, json.dumps(document).encode())


def matrix(*series: tuple[dict[str, str], list[list[Any]]], **extra: Any) -> dict[str, Any]:
    """Return the document of a range query's answer."""
    result = [{"metric": labels, "values": values} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **extra}


def vector(*series: tuple[dict[str, str], list[Any]], **extra: Any) -> dict[str, Any]:
    """Return the document of an instant query's answer."""
    result = [{"metric": labels, "value": value} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **extra}


def answering(document: Any) -> Behave:
    """Answer every query with this document."""
    return lambda handler, _: send_json(handler, document)


class _Server(ThreadingHTTPServer):
    """Hangs up on everybody at the end: a kept connection would answer for a dead server."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._calls: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self._calls.append(request)
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        for call in self._calls:
            with contextlib.suppress(OSError):
                call.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def bad_prometheus(
    *names: str, behave: Behave, tls: ssl.SSLContext | None = None
) -> Iterator[BadPrometheus]:
    """Run the server on loopback while the context lasts, over TLS where a context is given."""

    class Served(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            asked = {key: values[0] for key, values in parse_qs(query).items()}
            server.headers.append(dict(self.headers))
            with contextlib.suppress(ConnectionError):
                if path.endswith("/label/__name__/values") and server.on_names is not None:
                    server.on_names(self, asked)
                elif path.endswith("/label/__name__/values"):
                    send_json(self, {"status": "success", "data": server.names})
                elif path.endswith("/api/v1/query"):
                    (server.on_instant or answering(vector()))(self, asked)
                else:
                    server.asked.append({"path": urlsplit(path).path, **asked})
                    server.behave(self, asked)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    http = _Server(("127.0.0.1", 0), Served)
    if tls is not None:
        http.socket = tls.wrap_socket(http.socket, server_side=True)
    scheme = "https" if tls else "http"
    server = BadPrometheus(f"{scheme}://127.0.0.1:{http.server_port}", list(names), behave)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        http.hang_up()
        thread.join()


def hang(handler: Handler, _: dict[str, str]) -> None:
    """Begin a long answer and say no more."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.wfile.write(b'{"status":')
    handler.wfile.flush()
    handler.rfile.read(1)  # until the other side gives up


def dribble(handler: Handler, asked: dict[str, str]) -> None:
    """Send a byte often enough that no single read ever waits long."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    _drip(handler, b"{")


def dribble_header(handler: Handler, asked: dict[str, str]) -> None:
    """Never come to the end of the first header."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    _drip(handler, b"x")


def _drip(handler: Handler, byte: bytes) -> None:
    """Send a byte again and again; who still listens after so many is told that it is over."""
    gone = threading.Event()
    with contextlib.suppress(OSError):
        for _ in range(MOST_DRIPS):
            handler.wfile.write(byte)
            handler.wfile.flush()
            gone.wait(0.02)
    handler.close_connection = True


def cut_short(handler: Handler, _: dict[str, str]) -> None:
    """End in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"status": "success"')
    handler.close_connection = True
