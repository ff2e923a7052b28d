"""Whatever answers at the controller's address, its client ends with an answer or a sentence."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agent.client import Client
from core.errors import ActionRefused, GpumedicError, InputError, SourceUnavailable


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """Answer every request the same; gives the address and the tokens that came."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (200, b"hello", SourceUnavailable, "no JSON object but 'hello'"),
        (200, b"\xff\xfe", SourceUnavailable, "Something else listens there"),
        (200, b"[1]", SourceUnavailable, "no JSON object"),
        (302, b"", SourceUnavailable, "302 Found"),
        (404, b"<html>", SourceUnavailable, "404 Not Found"),
        (500, b'{"error": 1', SourceUnavailable, "500"),
        (404, b'{"error": "No x.", "remedy": "Do y."}', InputError, "No x. Do y."),
        (409, b'{"error": "No x.", "remedy": "Do y."}', ActionRefused, "No x. Do y."),
        (401, b'{"error": "No x.", "remedy": "Do y."}', InputError, "GPUMEDIC_TOKEN"),
    ],
)
def test_a_strange_answer_is_a_sentence(
    status: int, body: bytes, error: type[GpumedicError], said: str
) -> None:
    with answering(status, body) as (url, _), pytest.raises(error) as raised:
        Client(url).get("/v1/status")

    assert said in str(raised.value)
    assert url in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "nonsense", "http://[::1", "http://x.invalid", "ftp://x"]
)
def test_an_address_nobody_answers_at_is_unreachable(url: str) -> None:
    with pytest.raises(SourceUnavailable, match="--url"):
        Client(url).get("/v1/status")


def test_a_command_brings_the_token_of_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPUMEDIC_TOKEN", raising=False)
    (tmp_path / "token").write_text("abc\n")
    with answering(200, b"{}") as (url, tokens):
        asked = Client(url, state_dirs=(tmp_path / "none", tmp_path))
        asked.post("/v1/pause")
        asked.get("/v1/status")

    assert tokens == ["Bearer abc", ""]


def test_a_proxy_has_no_say_about_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with answering(200, b'{"ok": true}') as (url, _):
        assert Client(url).get("/v1/status") == {"ok": True}
