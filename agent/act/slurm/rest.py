"""slurmrestd for reading: one connection kept open instead of three programs a cycle."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2

from agent.act.slurm.calls import EXCERPT, SlurmAccess
from core.errors import SourceUnavailable

# Interface versions and the Slurm that has them: v0.0.38 is 22.05's, v0.0.45 is 26.05's.
VERSIONS = tuple(f"v0.0.{number}" for number in range(45, 37, -1))
UNIX = "unix:"


@dataclass(slots=True)
class Rest:
    """One slurmrestd; the newest interface version that both sides know is used."""

    access: SlurmAccess
    _transport: httpx2.AsyncHTTPTransport = field(init=False)
    _version: str = ""

    def __post_init__(self) -> None:
        path = self.access.rest.removeprefix(UNIX)
        unix = self.access.rest.startswith(UNIX)
        self._transport = httpx2.AsyncHTTPTransport(uds=path if unix else None, trust_env=False)

    async def get(self, part: str) -> Any:
        """Return ``nodes``, ``jobs`` or ``reservations``; SourceUnavailable where there are none.

        An answer whose ``errors`` are not empty is none.
        """
        version = await self.version()
        status, body = await self._call(f"/slurm/{version}/{part}")
        wrong = body.get("errors") if isinstance(body, dict) else body
        if status != httpx2.codes.OK or wrong:
            self._version = ""
            raise self._silent(part, f"it answered {status}: {str(wrong or body)[:EXCERPT]}")
        return body

    async def version(self) -> str:
        """Return the interface version to speak, asked for once."""
        for version in () if self._version else VERSIONS:
            status, _ = await self._call(f"/slurm/{version}/ping")
            if status == httpx2.codes.OK:
                self._version = version
                break
            if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
                raise self._silent(
                    "ping", f"it answered {status}. Name a valid token as slurm.rest_token_file"
                )
        if not self._version:
            tried = f"{VERSIONS[-1]} to {VERSIONS[0]}"
            raise self._silent("ping", f"it speaks none of {tried}. See `curl .../openapi/v3`")
        return self._version

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.aclose()

    async def _call(self, path: str) -> tuple[int, Any]:
        unix = self.access.rest.startswith(UNIX)
        base = "http://localhost" if unix else self.access.rest.rstrip("/")
        headers = {"accept": "application/json", **self._token()}
        request = httpx2.Request("GET", base + path, headers=headers)
        try:
            async with asyncio.timeout(self.access.timeout_s):
                answer = await self._transport.handle_async_request(request)
                body = await self._whole(answer, path)
        except TimeoutError:
            found = f"no answer within {self.access.timeout_s:g} s. See whether slurmctld is well"
            raise self._silent(path, found) from None
        except (httpx2.HTTPError, OSError) as error:
            why = str(error) or type(error).__name__
            raise self._silent(path, f"{why}. See whether slurmrestd runs") from None
        try:
            return answer.status_code, await asyncio.to_thread(json.loads, body or b"{}")
        except ValueError:
            return answer.status_code, body[:EXCERPT].decode("utf-8", "replace")

    async def _whole(self, answer: httpx2.Response, path: str) -> bytes:
        body = bytearray()
        try:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > self.access.max_bytes:
                    most = self.access.max_bytes >> 20
                    raise self._silent(path, f"its answer is longer than {most} MiB")
        finally:
            await answer.aclose()
        return bytes(body)

    def _token(self) -> dict[str, str]:
        path = self.access.rest_token_file
        if path is None:
            return {}
        try:
            token = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._silent("token", f"{path} cannot be read ({error})") from error
        if not token or not token.isascii() or not token.isprintable():
            raise self._silent("token", f"{path} holds no single-line token")
        return {"x-slurm-user-token": token}

    def _silent(self, what: str, found: str) -> SourceUnavailable:
        return SourceUnavailable(f"asking slurmrestd at {self.access.rest} for {what}: {found}.")
