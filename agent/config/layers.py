"""One layer of settings each from a file, an environment variable or a flag, and where it lies."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic_settings import EnvSettingsSource
from pydantic_settings.exceptions import SettingsError

from agent.config.problems import SettingProblem
from agent.config.settings import ENV_PREFIX, Settings

ETC = Path("/etc/gpumedic")
MAIN_FILE, DROP_INS = "config.toml", "conf.d"
# The command line's short names; any other key's option is its own last part.
OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "alertmanager.url": "--alertmanager",
        "host.node": "--node",
        "log.format": "--log-format",
        "log.level": "--log-level",
        "prometheus.url": "--prometheus",
    }
)

_STATEMENT = re.compile(r"\s*(?:(\[\[?)\s*([^\]\n]+?)\s*\]|([\w.\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=)")
_LONG_STRING = re.compile(r'"""[\s\S]*?"""|' + r"'''[\s\S]*?'''")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source sets: nested tables, and a dotted key's place for people."""

    data: Mapping[str, Any]
    place: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Merged:
    """All layers as one: what was set, and for each dotted key that was, where.

    tables: where each table begins, for what is wrong with a table as a whole
    """

    data: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)


def merge(layers: Sequence[Layer]) -> Merged:
    """Lay each layer over those before it: tables join, a list replaces the whole list."""
    merged = Merged()
    for layer in layers:
        _lay_over(merged.data, layer.data, path="", place=layer.place, merged=merged)
    return merged


def _lay_over(
    base: dict[str, Any],
    over: Mapping[str, Any],
    *,
    path: str,
    place: Callable[[str], str],
    merged: Merged,
) -> None:
    for name, value in over.items():
        key = f"{path}.{name}" if path else name
        table = isinstance(value, dict)
        if not (table and isinstance(base.get(name), dict)):
            for old in [old for old in merged.origin if old == key or old.startswith(f"{key}.")]:
                del merged.origin[old]
            base[name] = {} if table else value
        if table:
            merged.tables.setdefault(key, place(key))
            _lay_over(base[name], value, path=key, place=place, merged=merged)
        else:
            merged.origin.update({leaf: place(leaf) for leaf in leaves(value, key)})


def leaves(value: object, path: str = "") -> Iterator[str]:
    """Yield the dotted key of every value inside; a table in a list goes by its number."""
    match value:
        case dict() if value or not path:
            for name, inner in value.items():
                yield from leaves(inner, f"{path}.{name}" if path else name)
        case [dict(), *_]:
            for number, inner in enumerate(value):
                yield from leaves(inner, f"{path}.{number}")
        case _:
            yield path


def place_of(origin: Mapping[str, str], key: str) -> str:
    """Return where a key was set: its own place, else that of what it is part of, else default."""
    while key:
        if key in origin:
            return origin[key]
        key = key.rpartition(".")[0]
    return "default"


def place_near(merged: Merged, key: str) -> str:
    """Return where a key was set; for one that is missing or a table, where its table begins."""
    if (place := place_of(merged.origin, key)) != "default":
        return place
    for known, at in merged.origin.items():
        if known.startswith(f"{key}."):
            return merged.tables.get(key, at)
    while key and key not in merged.tables:
        key = key.rpartition(".")[0]
    return merged.tables.get(key, "default")


def files(paths: Sequence[Path] | None) -> tuple[list[Path], list[SettingProblem]]:
    """Return the files to read, in order, and what is wrong with those that were named.

    paths: files, and folders laid out as /etc/gpumedic is; None: /etc/gpumedic if it is there
    """
    found: list[Path] = []
    problems: list[SettingProblem] = []
    for path in [ETC] if paths is None else paths:
        if path.is_dir():
            main = path / MAIN_FILE
            found += [main] if main.exists() else []
            found += sorted((path / DROP_INS).glob("*.toml"))
        elif paths is not None and not path.exists():
            text = "there is no such file: name one that exists, or leave it out for the defaults."
            problems.append(SettingProblem("", str(path), text))
        elif paths is not None:
            found.append(path)
    return found, problems


def file_layer(path: Path) -> Layer | SettingProblem:
    """Read one TOML file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        data = tomllib.loads(text)
    except OSError as error:
        why = f"cannot be read ({error.strerror}): let the user that gpumedic runs as read it."
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 text (byte {error.start}): save it as UTF-8."
    except tomllib.TOMLDecodeError as error:
        why = f"is not TOML: {error}. Text stands in quotes, a table's name in [brackets]."
    except RecursionError:
        why = "is not TOML that can be read: its brackets are nested too deep."
    else:
        lines = _lines(text)
        return Layer(data, partial(_place_in_file, path=path, lines=lines))
    return SettingProblem("", str(path), why)


def _place_in_file(key: str, *, path: Path, lines: Mapping[str, int]) -> str:
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return f"{path}:{lines[key]}" if key else str(path)


def _lines(text: str) -> dict[str, int]:
    """Map each dotted key to the line it is on; tomllib reads values but keeps no lines."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    flat = _LONG_STRING.sub(lambda found: '""' + "\n" * found[0].count("\n"), text)
    for number, line in enumerate(flat.splitlines(), start=1):
        match = _STATEMENT.match(line)
        if match is None:
            continue
        if match[1]:
            table = _bare(match[2])
            if match[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = f"{table}.{counts[table]}"
            lines.setdefault(table, number)
        else:
            key = _bare(match[3])
            lines.setdefault(f"{table}.{key}" if table else key, number)
    return lines


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


class _Variable(EnvSettingsSource):
    """One environment variable as pydantic-settings reads it."""

    def __init__(self, name: str, value: str) -> None:
        self._variable = {name.lower(): value}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._variable


def environment_layers(
    environ: Mapping[str, str],
) -> tuple[list[Layer], list[SettingProblem]]:
    """Read each variable ``GPUMEDIC__SECTION__KEY``; a list or table is written as JSON."""
    layers: list[Layer] = []
    problems: list[SettingProblem] = []
    for name in sorted(environ):
        if not name.upper().startswith(ENV_PREFIX) or len(name) == len(ENV_PREFIX):
            continue
        place = f"environment {name}"
        key = name[len(ENV_PREFIX) :].lower().replace("__", ".")
        try:
            data = _Variable(name, environ[name])()
        except SettingsError:
            text = f'{key} is not JSON: write a list as \'["a", "b"]\', a table as \'{{"a": 1}}\'.'
            problems.append(SettingProblem(key, place, text))
            continue
        layers.append(Layer(data or _nested(key, environ[name]), _always(place)))
    return layers, problems


def flag_layers(flags: Mapping[str, object]) -> list[Layer]:
    """Take the command line's options: dotted key -> value, None where it was not given."""
    layers = []
    for key, value in flags.items():
        if value is not None:
            option = OPTIONS.get(key, "--" + key.rpartition(".")[2].replace("_", "-"))
            layers.append(Layer(_nested(key, value), _always(f"flag {option}")))
    return layers


def _nested(key: str, value: object) -> dict[str, Any]:
    head, dot, rest = key.partition(".")
    return {head: _nested(rest, value) if dot else value}


def _always(place: str) -> Callable[[str], str]:
    return lambda _key: place
