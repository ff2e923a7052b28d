"""What is wrong with a setting, as a sentence: the key, where, what was found, what would work."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from agent.config.settings import Settings
from core.errors import ConfigError

_SECRET_WORDS = ("token", "secret", "password", "passwd", "key", "authorization")
_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One thing wrong; ``key`` is dotted and "" for a whole file, ``place`` says where it is."""

    key: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class SettingsRefused(ConfigError):
    """The settings cannot be used; ``problems`` are all that were found, not only the first."""

    def __init__(self, problems: Sequence[SettingProblem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in problems]
        super().__init__(
            f"Reading the settings: {lines[0]}"
            if len(lines) == 1
            else "\n- ".join([f"Reading the settings: {len(lines)} problems found.", *lines])
        )


def describe(error: ErrorDetails, place: str) -> SettingProblem:
    """Put one of pydantic's errors into words; a value that may be secret is not repeated."""
    key = dotted(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return SettingProblem(key, place, _unknown(key))
        case "missing":
            return SettingProblem(key, place, f"{key} is missing: add it.")
        case "value_error":
            what = error["msg"].removeprefix("Value error, ")
        case kind:
            what = _WORDS.get(kind) or _SHOULD.sub("must", error["msg"])
    hidden = error["loc"][-1] == "[key]" or error["type"] in _NO_VALUE
    hidden = hidden or _may_be_secret(key, error["input"])
    found = "" if hidden else f" = {_shown(error['input'])}"
    return SettingProblem(key, place, f"{safe(key)}{found} {what}.{_default(key)}")


def dotted(loc: Sequence[int | str]) -> str:
    """Write pydantic's path to a value as a dotted key."""
    return ".".join(str(part) for part in loc if part != "[key]")


@cache
def known_keys() -> tuple[str, ...]:
    """Return every dotted key there is, without the numbers of tables in lists."""
    return tuple(_keys_of(Settings))


def _keys_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{path}.{name}" if path else name
        yield key
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _keys_of(part, key)


# Where a table or list belongs, a plain value is a slip that may hold anything.
_NO_VALUE = ("model_type", "model_attributes_type", "tuple_type", "dict_type", "mapping_type")
_SHOULD = re.compile(r"^(?:Input|String|Value|Tuple) should")
_WORDS: Mapping[str, str] = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "mapping_type": "must be a table",
    "model_attributes_type": "must be a table: write its name in [brackets], its keys below it",
    "model_type": "must be a table: write its name in [brackets], its keys below it",
    "path_type": "must be text in quotes",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list in [brackets]",
}


def _unknown(key: str) -> str:
    """Name the nearest key that there is, by its whole name or by its last part elsewhere."""
    plain = ".".join(part for part in key.split(".") if not part.isdigit())
    section, _, last = plain.rpartition(".")
    if same := [known for known in known_keys() if known.rpartition(".")[2] == last]:
        return f"there is no key {safe(key)}; there is {' and '.join(same)}."
    if near := get_close_matches(plain, known_keys(), n=1, cutoff=0.75):
        return f"there is no key {safe(key)}; the nearest is {near[0]}."
    inside = [known for known in known_keys() if known.rpartition(".")[0] == section]
    names = [known.rpartition(".")[2] for known in inside]
    if near := get_close_matches(last, names, n=1, cutoff=0.5):
        return f"there is no key {safe(key)}; the nearest is {inside[names.index(near[0])]}."
    where = f"{section} has" if section else "there are"
    return f"there is no key {safe(key)}; {where} {', '.join(names)}."


def safe(text: str) -> str:
    """Return a key as it is, or escaped where it could steer a terminal or break a line."""
    return text if text.isprintable() else json.dumps(text)


def _may_be_secret(key: str, value: object) -> bool:
    """Say whether a wrong value may hold a secret, which must not reach a log or a screen."""
    last = key.rpartition(".")[2]
    if isinstance(value, dict | list) or (last == "url" and key.startswith("webhooks")):
        return True
    return any(word in key for word in _SECRET_WORDS) or (last == "url" and "@" in str(value))


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _default(key: str) -> str:
    value: Any = Settings().model_dump(mode="json")
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return f" The default is {_shown(value)}." if value not in (None, "", [], {}) else ""
