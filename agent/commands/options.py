"""Options that several verbs take, and what they are turned into."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from agent.client import Client
    from agent.config import Loaded

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="GPUMEDIC_URL", help="The controller's address."),
]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        help="A file, or a folder with config.toml and conf.d/. [default: /etc/gpumedic]",
    ),
]


def duration(text: str | float) -> float:
    """Read ``90``, ``90s`` or ``2h`` as seconds; a bare number is seconds, as for ``sleep``."""
    try:
        found = float(text)
    except ValueError:
        return seconds(str(text), "--duration")
    if not 0 <= found < math.inf:
        raise typer.BadParameter(f"{text!r} is no duration", param_hint="--duration")
    return found


Duration = Annotated[
    float,
    typer.Option(
        "--duration",
        parser=duration,
        metavar="DURATION",
        help="How long, such as 60 (seconds) or 2h; 0: until interrupted, or the end.",
    ),
]


def load_settings(files: list[Path] | None, flags: Mapping[str, object] | None = None) -> "Loaded":
    """Read the settings from files, environment and flags."""
    from agent.config import load

    return load(files, environ=os.environ, flags=flags or {})


def client(url: str | None) -> "Client":
    """Return a client of the controller at ``url``, or where the settings say it listens."""
    from agent.addresses import host_and_port
    from agent.client import Client

    settings = load_settings(None).settings
    host, port = host_and_port(settings.server.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - any is this one
    here = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return Client(_address(url) if url else here, state_dirs=(settings.state_dir,))


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        text = f"{url!r} is no address of a controller: write it like http://127.0.0.1:8642"
        raise typer.BadParameter(text, param_hint="--url")
    return url


def listen_address(text: str | None) -> str | None:
    """Check an ``address:port`` to listen at; a wrong one is a usage error that says what works."""
    if text is None:
        return None
    from agent.addresses import host_and_port

    try:
        host_and_port(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None
    return text


def seconds(text: str, option: str) -> float:
    """Read a duration such as 2h or 90s; a wrong one is a usage error that says what works."""
    from agent.quantities import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}", param_hint=option) from None
