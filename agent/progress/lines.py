"""How far a training is, by its log: a step, a loss and a time in the forms that trainers write."""

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FORMS = Path(__file__).with_name("lines.toml")
# A number as %f, %e and repr write it, and what a loss is when it is none.
_NUMBER = r"[-+]?(?:\d[\d.]*(?:[eE][-+]?\d+)?|nan|NaN|inf|Infinity)"
# A step is no longer than this; what is would be no number to anybody.
MOST_DIGITS = 15
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# A line of a log that is longer is not a step's; a pattern is not tried on it.
MOST_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Said:
    """What a line says: steps done; the loss and a step's time where they are there."""

    steps: int
    loss: float | None = None
    step_s: float | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """How one trainer writes a step; ``first``: what it calls the first one."""

    name: str
    first: int
    pattern: re.Pattern[str]

    def said(self, line: str) -> Said | None:
        """Return what a line of this form says, None for another."""
        found = self.pattern.search(line)
        if found is None:
            return None
        told = {name: text for name, text in found.groupdict().items() if text is not None}
        if any(len(told.get(name, "")) > MOST_DIGITS for name in ("step", "epoch", "of")):
            return None
        steps = (
            int(told["step"]) + 1 - self.first + int(told.get("epoch", 0)) * int(told.get("of", 0))
        )
        loss = float(told["loss"]) if "loss" in told else None
        taken_s = float(told["ms"]) * 1e-3 if "ms" in told else float(told.get("s", math.nan))
        return Said(steps, loss, taken_s if math.isfinite(taken_s) else None)


@cache
def forms() -> tuple[Form, ...]:
    """Return the forms, in the order in which they are tried."""
    rows = tomllib.loads(FORMS.read_text(encoding="utf-8"))["form"]
    return tuple(
        Form(row["name"], row["first"], re.compile(row["pattern"].replace("NUMBER", _NUMBER)))
        for row in rows
    )


def said(line: str) -> Said | None:
    """Return what a line says of a step, None where it says nothing.

    >>> said("iter 100: loss 2.5, time 250.00ms, mfu 10.00%")
    Said(steps=101, loss=2.5, step_s=0.25)
    """
    plain = _COLOURS.sub("", line)
    if len(plain) > MOST_CHARACTERS:
        return None
    try:
        return next((found for form in forms() if (found := form.said(plain))), None)
    except ValueError:  # a version number or the like, 1.2.3, in the place of a loss
        return None


def newest(text: str) -> Said | None:
    """Return what the newest whole line that speaks of a step says; half a line is left out."""
    whole = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    return next(_backwards(whole), None)


def _backwards(text: str) -> Iterator[Said]:
    for line in reversed(re.split(r"[\r\n]+", text)):
        if (found := said(line)) is not None:
            yield found
