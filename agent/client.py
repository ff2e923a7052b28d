"""Talk to a running controller over its HTTP API, as the command line does."""

import contextlib
import os
from collections.abc import Mapping
from json import JSONDecodeError
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from core.errors import ActionRefused, GpumedicError, InputError, SourceUnavailable

DEFAULT_URL = "http://127.0.0.1:8642"
TIMEOUT_S = 10.0
TOKEN_FILE = "token"  # noqa: S105 - the name of the file, not what is in it


class Client:
    """One controller's API; every answer is the JSON it gave."""

    def __init__(self, url: str, *, state_dirs: tuple[Path, ...] = (), token: str = "") -> None:
        self._url = url.rstrip("/")
        self._state_dirs, self._token = state_dirs, token

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Return what ``GET path`` answers; SourceUnavailable where no controller does."""
        return self._ask("GET", path, params=query, timeout_s=timeout_s)

    def post(self, path: str, *, timeout_s: float = TIMEOUT_S, **body: object) -> dict[str, Any]:
        """Return what ``POST path`` answers; sends the token it has, or of the state folder."""
        headers = self._authorization()
        return self._ask("POST", path, timeout_s=timeout_s, json=body, headers=headers)

    def _ask(
        self, method: str, path: str, *, timeout_s: float = TIMEOUT_S, **rest: Any
    ) -> dict[str, Any]:
        try:
            answer = httpx2.request(
                method, self._url + path, timeout=timeout_s, trust_env=not self._is_near(), **rest
            )
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            found = str(error).rstrip(".") or type(error).__name__
            raise SourceUnavailable(
                f"Asking the controller at {self._url}{path}: {found}. "
                "Start one with `gpumedic run`, or name its address with --url."
            ) from error
        if not answer.is_success:
            raise _refusal(f"{method} {self._url}{path}", answer)
        with contextlib.suppress(JSONDecodeError, UnicodeDecodeError):
            if isinstance(given := answer.json(), dict):
                return given
        raise SourceUnavailable(
            f"Asking the controller at {self._url}{path}: the answer is no JSON object but "
            f"{answer.text[:60]!r}. Something else listens there; name its address with --url."
        )

    def _is_near(self) -> bool:
        """Say whether the controller is on this machine, where no proxy has a say."""
        try:
            host = urlsplit(self._url).hostname or ""
        except ValueError:
            return False
        return host in ("localhost", "::1") or host.startswith("127.")

    def _authorization(self) -> dict[str, str]:
        token = self._token or os.environ.get("GPUMEDIC_TOKEN") or _read_token(self._state_dirs)
        return {"Authorization": f"Bearer {token}"} if token else {}


def _read_token(folders: tuple[Path, ...]) -> str:
    for folder in folders:
        try:
            return (folder / TOKEN_FILE).read_text().strip()
        except OSError:
            continue
    return ""


def _refusal(asked: str, answer: httpx2.Response) -> GpumedicError:
    try:
        body = answer.json()
        text, remedy = str(body["error"]), str(body.get("remedy", ""))
    except (ValueError, KeyError, TypeError):
        return SourceUnavailable(
            f"{asked}: the answer is {answer.status_code} {answer.reason_phrase} and not a "
            "controller's. Something else listens there; name its address with --url."
        )
    if answer.status_code == httpx2.codes.CONFLICT:
        return ActionRefused("controller", f"{asked}: {text}", remedy)
    if answer.status_code == httpx2.codes.UNAUTHORIZED:
        remedy = "Run this as the controller's user, or set GPUMEDIC_TOKEN to its token."
    return InputError(f"{asked}: {text} {remedy}".strip())
