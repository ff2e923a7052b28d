"""An example of a settings file, made from the settings themselves: every key and its default."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agent.config.settings import Settings

_HEAD = """\
# Settings of gpumedic: to /etc/gpumedic/config.toml. Nothing here is needed: a line that is
# commented out shows the default. Files in conf.d/*.toml come after this one, then environment
# variables (GPUMEDIC__HISTORY__STEP="30s"), then flags. A list replaces the whole earlier list.
# "gpumedic config check" says what is wrong, "gpumedic config show --origin" what is in force.
# Secrets are never written here: name a file that only gpumedic may read, or "credential:NAME"
# for a credential that systemd loads.
"""


def example() -> str:
    """Return the text of deploy/config.example.toml."""
    return "\n".join([_HEAD, *_lines()]) + "\n"


def _lines() -> Iterator[str]:
    plain = Settings().model_dump(mode="json")
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from _section(name, type(field.default), plain[name])
        elif field.default == ():
            yield from _list(name, field)
        else:
            yield _line(name, plain[name], field)


def _section(name: str, section: type[BaseModel], plain: Mapping[str, Any]) -> Iterator[str]:
    """Write a section's keys, then its lists of tables: TOML wants them last."""
    yield from ("", f"# {section.__doc__}", f"[{name}]")
    lists = {key for key, part in section.model_fields.items() if _of_tables(part)}
    for key, part in section.model_fields.items():
        if key not in lists:
            yield _line(key, plain[key], part)
    for key in sorted(lists):
        yield from _list(f"{name}.{key}", section.model_fields[key])


def _of_tables(field: FieldInfo) -> bool:
    inner = (get_args(field.annotation) or (None,))[0]
    return isinstance(inner, type) and issubclass(inner, BaseModel)


def _list(name: str, field: FieldInfo) -> Iterator[str]:
    """Write one table of a list: its defaults, and for a key that must be given its example."""
    table: type[BaseModel] = get_args(field.annotation)[0]
    keys = table.model_fields
    given = {key: (part.examples or [""])[0] for key, part in keys.items() if part.is_required()}
    plain = table(**given).model_dump(mode="json")
    yield from ("", f"# {table.__doc__}", f"# [[{name}]]")
    for key, part in keys.items():
        yield _line(key, plain[key], part)


def _line(key: str, value: Any, field: FieldInfo) -> str:
    return f"# {key} = {json.dumps(value)}  # {field.description}"
