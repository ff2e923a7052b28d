"""A cluster behind HTTP: its state, orders to it, and what it says, as JSON of ``core.codec``.

The server is a site's own, or a simulated cluster's (``agent.lab``). Bounded in time and size; no
redirect is followed, no proxy's variable changes who is asked. An order that may or may not have
arrived is given again by the runner under the same key, so nothing here tries for long.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from core.clock import Clock
from core.cluster import ClusterState
from core.codec import from_json, to_json
from core.errors import ActionFailed, ConfigError, InputError, SourceUnavailable
from core.types import Action, Event

STATE, ACTIONS, EVENTS = (f"/scheduler/v1/{name}" for name in ("state", "actions", "events"))
EXCERPT = 300
LOOK_BACK_S = 900.0  # as far as a cycle reads back for readings
_TRIES = 2  # a connection kept open may have been closed by the other side just then
_CONFLICT = 409
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach a cluster.

    token_file: holds the token that orders bring; read for each order, so it may change
    timeout_s: deadline of one call, connecting and reading the last byte included
    max_body_bytes: the longest answer that is read; 100,000 GPUs' state is about 6 MB
    """

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None
    timeout_s: float = 10.0
    max_body_bytes: int = 64 << 20


class HttpCluster:
    """Cluster and EventSource of a cluster behind HTTP.

    The first call for events looks ``LOOK_BACK_S`` back: what was said while no controller ran. So
    does the first after the server itself has started anew.
    """

    name = "cluster"

    def __init__(
        self,
        access: ClusterAccess,
        *,
        clock: Clock,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.access = access
        self._clock = clock
        self._cursor = ""
        self._transport = transport or httpx2.AsyncHTTPTransport(
            verify=_trust(access), trust_env=False
        )

    async def state(self) -> ClusterState:
        """Return the cluster as its scheduler sees it; SourceUnavailable where it does not say."""
        return self._read(ClusterState, await self._get(STATE))

    async def events(self) -> tuple[Event, ...]:
        """Return what nodes and scheduler have said since the last call that came through."""
        since_s = self._clock.now_s() - LOOK_BACK_S
        given = await self._get(f"{EVENTS}?cursor={self._cursor}&since_s={since_s:.3f}")
        try:
            cursor, said = str(given["cursor"]), given["events"]
        except (KeyError, TypeError) as error:
            raise self._unavailable(EVENTS, f"its JSON has no {error}") from error
        found = self._read(tuple[Event, ...], said)
        self._cursor = cursor
        return found

    async def perform(self, action: Action) -> None:
        """Order an action; ActionFailed where the cluster would not.

        SourceUnavailable where it did not answer: the order may have arrived, and is given again
        under the same key.
        """
        headers = {"content-type": "application/json", **self._authorization()}
        content = json.dumps(to_json(action), allow_nan=False).encode()
        status, body = await self._call("POST", ACTIONS, headers=headers, content=content)
        if status == _CONFLICT and body.get("code") == ActionFailed.code:
            raise ActionFailed(str(body.get("error", ""))[: 4 * EXCERPT])
        if status != httpx2.codes.OK:
            raise self._refused(ACTIONS, status, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _get(self, path: str) -> Any:
        status, body = await self._call("GET", path, headers={})
        if status != httpx2.codes.OK:
            raise self._refused(path, status, body)
        return body

    async def _call(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes = b""
    ) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; SourceUnavailable where there is none."""
        url = self.access.url.rstrip("/") + path
        request = httpx2.Request(
            method, url, headers={"accept": "application/json", **headers}, content=content or None
        )
        try:
            async with asyncio.timeout(self.access.timeout_s):
                return await self._answered(request, path)
        except TimeoutError:
            found = f"no full answer in {self.access.timeout_s:g} s. See whether it is overloaded"
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            found = f"{why}. See whether it runs, and check scheduler.url"
        raise self._unavailable(path, found)

    async def _answered(self, request: httpx2.Request, path: str) -> tuple[int, Any]:
        for last in [False] * (_TRIES - 1) + [True]:
            try:
                answer = await self._transport.handle_async_request(request)
                break
            except (httpx2.RemoteProtocolError, httpx2.ReadError):
                if last:
                    raise
        body = bytearray()
        try:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > self.access.max_body_bytes:
                    found = f"its answer is longer than {self.access.max_body_bytes >> 20} MiB"
                    raise self._unavailable(path, found)
        finally:
            await answer.aclose()
        try:
            return answer.status_code, json.loads(body)
        except (ValueError, RecursionError):
            shown = bytes(body[:EXCERPT]).decode("utf-8", "replace")
            found = f"it answered {answer.status_code} with no JSON: {shown!r}"
            raise self._unavailable(path, found) from None

    def _authorization(self) -> dict[str, str]:
        path = self.access.token_file
        if path is None:
            return {}
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            found = f"the token in {path} cannot be read ({error})"
            raise self._unavailable(ACTIONS, found) from error
        if not token or not token.isascii() or not token.isprintable():
            raise self._unavailable(ACTIONS, f"{path} holds no single-line token")
        return {"authorization": f"Bearer {token}"}

    def _read(self, kind: type[T], data: Any) -> T:
        try:
            return from_json(kind, data)
        except InputError as error:
            raise self._unavailable(STATE, str(error)) from error

    def _refused(self, path: str, status: int, body: Any) -> SourceUnavailable:
        said = body.get("error", body) if isinstance(body, dict) else body
        remedy = " Check scheduler.token_file." if status in (401, 403) else ""
        return self._unavailable(path, f"it answered {status}: {str(said)[:EXCERPT]!r}.{remedy}")

    def _unavailable(self, path: str, found: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"asking the cluster at {self.access.url}{path.partition('?')[0]}: {found}"
        )


def _trust(access: ClusterAccess) -> ssl.SSLContext:
    """Return whose certificates are believed; ConfigError where the file is none of them."""
    try:
        return ssl.create_default_context(cafile=access.ca_file)
    except OSError as error:  # an ssl.SSLError is one
        raise ConfigError(
            f"Reading the authority {access.ca_file} of {access.url}: {error}. It must be a PEM "
            "file that this user may read."
        ) from error
