"""Commands over HTTP: only with the token, and every key of the body checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from agent.access import holds_token
from agent.refuse import Refused, limited_body

_MAX_BYTES = 64 * 1024
_DEADLINE_S = 10.0
_MAX_TEXT_CHARS = 500
_MAX_SECONDS = 366 * 86400.0


async def read_command(request: Request, token: str, *known: str) -> "Command":
    """Return what the request orders; Refused with 401 without the token, 400 where it is unfit."""
    if not holds_token(request, (token,)):
        raise Refused(
            401,
            "unauthorized",
            "A command needs the controller's token.",
            "Send Authorization: Bearer with the text of the file token in state_dir, or use the "
            "command line as the controller's user.",
        )
    body = await limited_body(request, _MAX_BYTES, deadline_s=_DEADLINE_S)
    return Command.read(body, known)


@dataclass(frozen=True, slots=True)
class Command:
    """A command's JSON body, checked key by key."""

    values: Mapping[str, Any]

    @classmethod
    def read(cls, body: bytes, known: tuple[str, ...]) -> "Command":
        """Read a body, empty or an object with known keys; Refused says what else was found."""
        try:
            values = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            values = None
        needed = f"Send a JSON object with any of {', '.join(known)}."
        if not isinstance(values, dict):
            raise Refused(400, "input", f"The body is no JSON object ({len(body)} bytes).", needed)
        if unknown := sorted(values.keys() - set(known)):
            raise Refused(400, "input", f"The body has the key {unknown[0]!r:.40}.", needed)
        return cls(values)

    def text(self, name: str, *, default: str = "api") -> str:
        """Return a text on one line, cut at 500 characters."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise Refused(400, "input", f"{name} is {value!r:.40}.", f"Give {name} as text.")
        printable = "".join(c if c.isprintable() else " " for c in value[:_MAX_TEXT_CHARS])
        return printable.strip() or default

    def seconds(self, name: str) -> float | None:
        """Return a duration above 0 and at most a year, or None where none is given."""
        value = self.values.get(name)
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 < value <= _MAX_SECONDS:
            remedy = f"Give {name} as seconds, above 0 and at most a year; leave it out for ever."
            raise Refused(400, "input", f"{name} is {value!r:.40}.", remedy)
        return float(value)

    def number(self, name: str) -> int | None:
        """Return a whole number that fits the store, or None where none is given."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
            remedy = f"Give {name} as a whole number, or leave it out."
            raise Refused(400, "input", f"{name} is {value!r:.40}.", remedy)
        return value
