"""An example of a settings file, made from the settings themselves: every key and its default."""

import json
from collections.abc import Iterator
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
            yield from ("", f"# {type(field.default).__doc__}", f"[{name}]")
            for key, part in type(field.default).model_fields.items():
                yield _line(key, plain[name][key], part)
        elif field.default == ():
            table = get_args(field.annotation)[0]
            yield from ("", f"# {table.__doc__}", f"# [[{name}]]")
            for key, part in table.model_fields.items():
                yield _line(key, _one(part), part)
        else:
            yield _line(name, plain[name], field)


def _one(field: FieldInfo) -> Any:
    """Return a key's default, and for a key that must be given its example."""
    if field.is_required():
        return (field.examples or [""])[0]
    return list(field.default) if isinstance(field.default, tuple) else field.default


def _line(key: str, value: Any, field: FieldInfo) -> str:
    return f"# {key} = {json.dumps(value)}  # {field.description}"
