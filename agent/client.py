"""Talk to a running controller over its HTTP API, as the command line does."""

import os
from pathlib import Path
from typing import Any

import httpx2

from core.errors import ActionRefused, InputError, SourceUnavailable

DEFAULT_URL = "http://127.0.0.1:8642"
TIMEOUT_S = 10.0
TOKEN_FILE = "token"  # noqa: S105 - the name of the file, not what is in it


class Client:
    """One controller's API; every answer is the JSON it gave."""

    def __init__(self, url: str, *, state_dirs: tuple[Path, ...] = ()) -> None:
        self._url = url.rstrip("/")
        self._state_dirs = state_dirs

    def get(self, path: str, **query: str) -> Any:
        """Return what ``GET path`` answers."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, **body: object) -> Any:
        """Return what ``POST path`` answers; sends the token of the controller's state folder."""
        return self._ask("POST", path, json=body, headers=self._authorization())

    def _ask(self, method: str, path: str, **rest: Any) -> Any:
        try:
            answer = httpx2.request(method, self._url + path, timeout=TIMEOUT_S, **rest)
        except httpx2.HTTPError as error:
            found = str(error) or type(error).__name__
            raise SourceUnavailable(
                f"Asking the controller at {self._url}{path}: {found}. "
                "Start one with `gpumedic run`, or name its address with --url."
            ) from error
        if answer.is_success:
            return answer.json()
        raise _refusal(f"{method} {self._url}{path}", answer)

    def _authorization(self) -> dict[str, str]:
        token = os.environ.get("GPUMEDIC_TOKEN") or _read_token(self._state_dirs)
        return {"Authorization": f"Bearer {token}"} if token else {}


def _read_token(folders: tuple[Path, ...]) -> str:
    for folder in folders:
        try:
            return (folder / TOKEN_FILE).read_text().strip()
        except OSError:
            continue
    return ""


def _refusal(asked: str, answer: httpx2.Response) -> InputError | ActionRefused:
    try:
        body = answer.json()
        text, remedy = str(body["error"]), str(body.get("remedy", ""))
    except (ValueError, KeyError, TypeError):
        text, remedy = f"answered {answer.status_code} {answer.text[:200]!r}.", ""
    if answer.status_code == httpx2.codes.CONFLICT:
        return ActionRefused("controller", f"{asked}: {text}", remedy)
    if answer.status_code == httpx2.codes.UNAUTHORIZED and not remedy:
        remedy = "Run as the user of the controller, or set GPUMEDIC_TOKEN to its token."
    return InputError(f"{asked}: {text} {remedy}".strip())
