"""HTTP to a Prometheus that may be slow, cut off, or lie: bounded in time and size, and said why.

prometheus-api-client does the talking, over a session of ours: it streams the body up to a cap,
follows no redirect, reads the bearer token from its file, and can be cut off from another thread
at any moment, be it in the middle of a header. This module is imported when the first query is
made; it costs 130 ms that a node service need not pay.
"""

import json
import math
import socket
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from prometheus_api_client.prometheus_connect import PrometheusConnect
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.retry import Retry

from agent.collect.align import Grid
from agent.collect.prometheus_cut import Cut
from agent.collect.prometheus_parse import only_fresh
from agent.collect.prometheus_settings import Answer, Failed, PrometheusAccess

EXCERPT_BYTES = 300
PIECE_BYTES = 1 << 16
_HERE = threading.local()


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        _watch(made)
        return made

    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class _Secure(HTTPSConnection):
    def getresponse(self) -> Any:
        _watch(self.sock)
        return super().getresponse()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}


class _Reply(requests.Response):
    """A response whose body is read, checked and parsed already."""

    document: Any = None

    def json(self, **_: Any) -> Any:
        return self.document


class _Session(requests.Session):
    """Bounded HTTP: ``Failed`` says in one sentence what came instead of an answer."""

    def __init__(self, access: PrometheusAccess) -> None:
        super().__init__()
        self.trust_env = False  # neither ~/.netrc nor a proxy's variable changes who is asked
        self.verify = str(access.ca_file) if access.ca_file else True
        self.access = access
        self.token = _Token(access.token_file) if access.token_file else None
        self.warnings: tuple[str, ...] = ()
        self.date_s = math.nan

    def request(self, method: str | bytes, url: str | bytes, *_: Any, **given: Any) -> _Reply:
        headers = {"Accept": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token.read()}"
        try:
            with super().request(
                method,
                url,
                params=given.get("params"),
                headers=headers,
                timeout=self.access.timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                return self._checked(response)
        except requests.RequestException as error:
            raise _explained(error) from error
        except OSError as error:  # requests' own word for a ca_file that is not there
            raise Failed("tls", f"{error}. Check prometheus.ca_file.") from error

    def _checked(self, response: requests.Response) -> _Reply:
        self.date_s = _date_s(response.headers.get("Date", ""))
        if response.status_code != requests.codes.ok:
            raise _refused(response)
        kind = response.headers.get("Content-Type", "no content type")
        if "json" not in kind.lower():
            raise Failed(
                "not_json",
                f"it answered with {kind}, not JSON: {_excerpt(response)!r}. Is that address a "
                "Prometheus, and not a login page or another service?",
            )
        document = _parsed(_body(response, self.access.max_body_bytes))
        if not isinstance(document, dict) or document.get("status") != "success":
            raise Failed("shape", f"{_said(document)}. Is that address a Prometheus?")
        warnings = document.get("warnings") or ()
        self.warnings = tuple(str(text) for text in warnings if isinstance(warnings, list))
        reply = _Reply()
        reply.status_code, reply.document = response.status_code, document
        return reply


class PrometheusHttp:
    """One thread's line to a Prometheus; blocking. Every call may raise ``Failed``."""

    def __init__(self, access: PrometheusAccess) -> None:
        self._session = _Session(access)
        self._base = access.url.rstrip("/")
        self._stale_after_s = access.stale_after_s
        self._limit = f"{access.timeout_s:g}s"
        self._client = PrometheusConnect(self._base, session=self._session, retry=Retry(0))
        # In place of the adapter that the client mounted; a later cycle is the retry.
        self._session.mount(self._base, _Adapter(max_retries=Retry(0)))

    def range(self, expression: str, grid: Grid, cut: Cut) -> Answer:
        """Evaluate an expression at every point of the grid, with no value that is stale."""
        fresh = only_fresh(expression, self._stale_after_s)
        # The client rounds its times to seconds; given as parameters they stay what they are.
        params = {
            "start": f"{grid.start_s:.3f}",
            "end": f"{grid.end_s:.3f}",
            "timeout": self._limit,
        }
        start, end = (datetime.fromtimestamp(t, UTC) for t in (grid.start_s, grid.end_s))
        step = f"{grid.step_s:g}"
        return self._ask(
            cut,
            lambda: self._client.custom_query_range(fresh, start, end, step, params=params),
        )

    def instant(self, expression: str, cut: Cut) -> Answer:
        """Evaluate an expression now."""
        return self._ask(cut, lambda: self._client.custom_query(expression))

    def names(self, cut: Cut) -> Answer:
        """List the metric names there are."""
        return self._ask(cut, lambda: self._client.get_label_values("__name__"))

    def build(self, cut: Cut) -> Answer:
        """Ask what it is and of which version."""
        url = f"{self._base}/api/v1/status/buildinfo"
        return self._ask(cut, lambda: self._session.request("GET", url).json().get("data"))

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _ask(self, cut: Cut, ask: Any) -> Answer:
        _HERE.cut = cut
        try:
            data = ask()
        except (KeyError, TypeError, AttributeError) as error:
            raise Failed("shape", f"its JSON has no {error}. Is that a Prometheus?") from error
        finally:
            _HERE.cut = None
        return Answer(data, self._session.warnings, self._session.date_s)


class _Token:
    """A bearer token, read again when its file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def read(self) -> str:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._seen:
                self._token, self._seen = self._path.read_text().strip(), seen
        except (OSError, UnicodeDecodeError) as error:
            raise Failed(
                "token_file",
                f"the bearer token in {self._path} cannot be read ({error}). Check "
                "prometheus.token_file and its permissions.",
            ) from error
        if not self._token or not self._token.isascii() or not self._token.isprintable():
            raise Failed(
                "token_file", f"{self._path} holds no single-line token. Check its contents."
            )
        return self._token


def _watch(connection: socket.socket | None) -> None:
    cut: Cut | None = getattr(_HERE, "cut", None)
    if cut is not None:
        cut.watch(connection)


def _body(response: requests.Response, limit: int) -> bytes:
    body = bytearray()
    piece: bytes
    for piece in response.iter_content(PIECE_BYTES):
        if not body and not piece.lstrip().startswith(b"{"):
            return piece  # no JSON object: what else comes does not matter
        body += piece
        if len(body) > limit:
            raise Failed(
                "too_large",
                f"its answer is longer than {limit / 2**20:.0f} MiB. Ask for fewer series, by "
                "recording rules or by fewer prometheus.metrics.",
            )
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Failed(
            "not_json",
            f"its answer is called JSON and is not ({error}): {_printable(body)!r}. Is that "
            "address a Prometheus?",
        ) from error


def _refused(response: requests.Response) -> Failed:
    """Say what a status other than 200 means for whoever has to mend it."""
    status, said = response.status_code, _excerpt(response)
    found = f"it answered HTTP {status}: {said!r}"
    if response.is_redirect or response.is_permanent_redirect:
        to = urljoin(str(response.url), response.headers["Location"])
        return Failed("redirect", f"it redirects to {to}, which is not followed. Set that as url.")
    if status in (401, 403):
        return Failed("unauthorized", f"{found}. Check prometheus.token_file.")
    if status in (400, 422):
        return Failed("query_refused", f"{found}. Its limits may be too low for this query.")
    return Failed("http_status", f"{found}. See that server's log.")


def _explained(error: requests.RequestException) -> Failed:
    if isinstance(error, requests.exceptions.SSLError):
        return Failed(
            "tls", f"no trusted TLS connection ({_root(error)}). Check prometheus.ca_file."
        )
    if isinstance(error, requests.Timeout):
        return Failed("timeout", "it sent nothing for the time-out. See whether it is overloaded.")
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return Failed("cut_off", f"its answer broke off ({_root(error)}). See that server's log.")
    if isinstance(error, requests.ConnectionError):
        return Failed(
            "unreachable", f"no connection ({_root(error)}). See whether it runs and listens."
        )
    return Failed("unreachable", f"{error}. Check prometheus.url.")


def _root(error: BaseException) -> BaseException:
    """Return what lies under the layers of the HTTP libraries."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


def _said(document: Any) -> str:
    if isinstance(document, dict) and document.get("error"):
        return f"it says {str(document['error'])[:EXCERPT_BYTES]!r}"
    return f"its JSON is {str(document)[:EXCERPT_BYTES]!r}, not a successful answer"


def _excerpt(response: requests.Response) -> str:
    body = next(response.iter_content(4 * EXCERPT_BYTES), b"")
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _printable(body)
    return str(said)[:EXCERPT_BYTES]


def _printable(body: bytes) -> str:
    text = body[:EXCERPT_BYTES].decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()


def _date_s(header: str) -> float:
    try:
        return parsedate_to_datetime(header).timestamp()
    except ValueError:
        return math.nan
