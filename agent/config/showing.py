"""Settings for people and editors: rows with their origin, a JSON Schema, what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from agent.config.layers import leaves
from agent.config.loading import NOTHING, Loaded, load
from agent.config.problems import SettingProblem, SettingsRefused
from agent.config.settings import Settings


def check(
    paths: Sequence[Path] | None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, object] = NOTHING,
) -> tuple[SettingProblem, ...]:
    """Return everything that is wrong with the settings; empty where they can be used."""
    try:
        load(paths, environ=environ, flags=flags)
    except SettingsRefused as refused:
        return refused.problems
    return ()


def show(loaded: Loaded) -> tuple[tuple[str, Any, str], ...]:
    """Return (dotted key, plain value, origin) for every key; what may be secret is cut short."""
    values = plain(loaded.settings)
    return tuple(
        (key, redacted(key, value), loaded.origin_of(key)) for key, value in values.items()
    )


def plain(settings: Settings) -> dict[str, Any]:
    """Return every dotted key with its value as it would be written in a file."""
    data = settings.model_dump(mode="json")
    return {key: _at(data, key) for key in leaves(data)}


def redacted(key: str, value: object) -> object:
    """Cut a webhook's address to its host: chat services put the secret into the path."""
    if not (key.startswith("webhooks") and key.endswith(".url") and isinstance(value, str)):
        return value
    parts = urlsplit(value)
    rest = "/..." if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{rest}"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a settings file, for editors and for checking elsewhere."""
    form = Settings.model_json_schema()
    for field in Settings.model_fields.values():
        section = field.default
        if isinstance(section, BaseModel):
            written = section.model_dump(mode="json")
            for name, part in form["$defs"][type(section).__name__]["properties"].items():
                part["default"] = written[name]
    return form


def _at(data: Any, key: str) -> Any:
    for part in key.split("."):
        data = data[int(part)] if isinstance(data, list) else data[part]
    return data
