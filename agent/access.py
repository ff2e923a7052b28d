"""Who may speak to the server: the token of commands, and the names under which it is reached."""

import hmac
import ipaddress
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request

from core.errors import StoreError

TOKEN_FILE = "token"  # noqa: S105 - the name of the file, not what is in it
_TOKEN_BYTES = 32


def ensure_token(folder: Path) -> str:
    """Return the token of ``folder/token``, made on first use and readable by its owner only.

    StoreError where the folder cannot be written or the file holds nothing.
    """
    path = folder / TOKEN_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(path)
    except OSError as error:
        raise StoreError(
            f"Making the token {path}: {error.strerror}. Make the folder writable for this user, "
            "or name another one as state_dir."
        ) from error
    with os.fdopen(descriptor, "w") as file:
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        file.write(token + "\n")
    return token


def holds_token(request: Request, tokens: Sequence[str]) -> bool:
    """Say whether the request brings one of the tokens, in time that does not depend on it."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    given_bytes = given.strip().encode("utf-8", "surrogateescape")
    fits = [hmac.compare_digest(given_bytes, token.encode()) for token in tokens if token]
    return scheme.lower() == "bearer" and any(fits)


def host_is_ours(host: str, names: Sequence[str]) -> bool:
    """Say whether a ``Host`` header names this server.

    A page elsewhere can point a name of its own at our address and so read what only we may show;
    it cannot do so with an address, with localhost, or with a name that was configured.
    """
    name = _without_port(host).rstrip(".").lower()
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def read_token(path: Path) -> str:
    """Return the token that a file holds; StoreError where it cannot be read or holds none."""
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"Reading the token {path}: {error}. Make it readable for this user, or remove it and "
            "start again."
        ) from error
    if not token:
        raise StoreError(f"Reading the token {path}: it is empty. Remove it and start again.")
    return token


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host
