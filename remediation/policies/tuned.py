"""What a search found for the hand-written policies' numbers (``remediation.policies.tuning``)."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.types import Floats
from remediation.policies.knobs import Knob, values_of

FILE = Path(__file__).parent / "tuned.toml"


@cache
def _content() -> Mapping[str, Any]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def tuned(policy: str, knobs: Sequence[Knob]) -> Floats:
    """Return (knobs,) the values that were found for a policy; InputError where they do not fit."""
    part = _content().get(policy)
    if part is None:
        raise InputError(f"{FILE.name} has nothing on {policy}; it has {', '.join(_content())}.")
    return values_of(knobs, part["knobs"], what=f"{FILE.name}, {policy}")
