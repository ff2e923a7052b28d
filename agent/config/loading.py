"""Read the settings from all layers, check them together, and say where each value came from."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from agent.config.checks import contradictions, missing_files, warnings
from agent.config.layers import (
    Layer,
    Merged,
    environment_layers,
    file_layer,
    files,
    flag_layers,
    merge,
    place_near,
    place_of,
)
from agent.config.problems import SettingProblem, SettingsRefused, describe, dotted
from agent.config.settings import STATE_DIR, Settings

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that fit together.

    origin: dotted key -> "file:line", "environment NAME" or "flag --name", for what was set
    files: those that were read, in order; warnings: what works but could be safer
    """

    settings: Settings
    origin: Mapping[str, str]
    files: tuple[Path, ...]
    warnings: tuple[SettingProblem, ...] = ()

    def origin_of(self, key: str) -> str:
        """Return where a dotted key was set, or "default"."""
        return place_of(self.origin, key)


def load(
    paths: Sequence[Path] | None,
    *,
    environ: Mapping[str, str],
    flags: Mapping[str, object] = NOTHING,
) -> Loaded:
    """Read defaults < files < conf.d < environment < flags; ConfigError names every problem.

    paths: files, and folders laid out as /etc/gpumedic is (config.toml, conf.d/*.toml); None:
        /etc/gpumedic, which need not be there
    flags: dotted key -> value, None for an option that was not given
    """
    read, problems = files(paths)
    layers: list[Layer] = list(_state_layer(environ))
    for path in read:
        found = file_layer(path)
        if isinstance(found, Layer):
            layers.append(found)
        else:
            problems.append(found)
    from_environment, refused = environment_layers(environ)
    merged = merge([*layers, *from_environment, *flag_layers(flags)])
    settings, wrong = _build(merged)
    problems += [*refused, *wrong]
    if problems:
        raise SettingsRefused(problems)
    noted = tuple(_placed(warnings(settings, environ), merged))
    return Loaded(settings, MappingProxyType(merged.origin), tuple(read), noted)


def validate(data: Mapping[str, Any]) -> Settings:
    """Build settings from plain data as ``model_dump(mode="json")`` gives it, with all checks."""
    settings, problems = _build(Merged(dict(data)))
    if problems:
        raise SettingsRefused(problems)
    return settings


def _build(merged: Merged) -> tuple[Settings, list[SettingProblem]]:
    """Build the settings; a wrong value is reported, left out, and the rest is checked on."""
    problems: list[SettingProblem] = []
    data = merged.data
    while True:
        try:
            settings = Settings(**data)
            break
        except ValidationError as error:
            for one in error.errors(include_url=False):
                where = one["loc"][:-1] if one["type"] == "missing" else one["loc"]
                problems.append(describe(one, place_near(merged, dotted(where))))
                data = _without(data, one["loc"])
    wrong = {problem.key for problem in problems}
    found = [*contradictions(settings), *missing_files(settings)]
    problems += _placed((pair for pair in found if pair[0] not in wrong), merged)
    return settings, problems


def _without(data: Any, loc: tuple[int | str, ...]) -> Any:
    """Return ``data`` less the value at ``loc``; of a list, less the whole list."""
    head = loc[0]
    if not isinstance(data, dict) or head not in data:
        return data
    inner = data[head]
    if len(loc) > 1 and isinstance(inner, dict) and loc[1] in inner:
        return data | {head: _without(inner, loc[1:])}
    return {key: value for key, value in data.items() if key != head}


def _placed(found: Iterator[tuple[str, str]], merged: Merged) -> list[SettingProblem]:
    return [SettingProblem(key, place_near(merged, key), text) for key, text in found]


def _state_layer(environ: Mapping[str, str]) -> Iterator[Layer]:
    """Give the folder that systemd made, or a user's own where /var/lib is not for them."""
    if given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        yield Layer({"state_dir": given}, lambda _key: "environment STATE_DIRECTORY")
    elif not writable(STATE_DIR):
        base = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME') or '/tmp'}/.local/state"  # noqa: S108
        place = f"default where {STATE_DIR} is not writable"
        yield Layer({"state_dir": f"{base}/gpumedic"}, lambda _key: place)


def writable(folder: Path) -> bool:
    """Say whether this user may create the folder, or write into it where it is."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
