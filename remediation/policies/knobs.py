"""Numbers that a hand-written policy can be tuned by: names, defaults and how far they may go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.types import Floats


@dataclass(frozen=True, slots=True)
class Knob:
    """One number.

    usual: what published practice or the vendor's guide has; the default
    low, high: the search stays between them; ``by_ratio``: it goes by factors, not by steps
    why:   what it is for, and in brackets who says so
    unit:  seconds where the name ends so; "" for a probability or a share
    """

    name: str
    usual: float
    low: float
    high: float
    why: str
    by_ratio: bool = False
    unit: str = ""


def usual(knobs: Sequence[Knob]) -> Floats:
    """Return (knobs,) the defaults."""
    return np.array([knob.usual for knob in knobs])


def values_of(knobs: Sequence[Knob], named: Mapping[str, object], *, what: str) -> Floats:
    """Return (knobs,) the named values, in the knobs' order.

    InputError where one is missing, unknown, no number or out of its range.
    """
    names = [knob.name for knob in knobs]
    if odd := sorted(set(named).symmetric_difference(names)):
        missing = "missing" if odd[0] in names else "unknown"
        raise InputError(f"{what}: {odd[0]} is {missing}; there must be {', '.join(names)}.")
    found = np.zeros(len(knobs))
    for place, knob in enumerate(knobs):
        value = named[knob.name]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not knob.low <= value <= knob.high
        ):
            raise InputError(
                f"{what}: {knob.name} is {value!r}; a number from {knob.low:g} to {knob.high:g}."
            )
        found[place] = value
    return found


def table(knobs: Sequence[Knob], found: Floats) -> str:
    """Return a Markdown table of the numbers: what is usual, what a search found, from where to."""
    lines = [
        "| number | usual | found | from | to | unit | what, and who says so |",
        "|" + " --- |" * 7,
    ]
    for knob, value in zip(knobs, found, strict=True):
        cells = (f"{number:,.4g}" for number in (knob.usual, value, knob.low, knob.high))
        lines.append(
            f"| `{knob.name}` | {' | '.join(cells)} | {knob.unit or 'share'} | {knob.why} |"
        )
    return "\n".join(lines) + "\n"


def from_unit(knobs: Sequence[Knob], unit: Floats) -> Floats:
    """Return (knobs,) the values at places in [0, 1] between each one's ends."""
    low = np.array([knob.low for knob in knobs])
    high = np.array([knob.high for knob in knobs])
    ratio = np.array([knob.by_ratio for knob in knobs])
    with np.errstate(divide="ignore", invalid="ignore"):
        by_ratio = low * (high / low) ** unit
    found: Floats = np.clip(np.where(ratio, by_ratio, low + (high - low) * unit), low, high)
    return found


def to_unit(knobs: Sequence[Knob], value: Floats) -> Floats:
    """Return (knobs,) where values lie between each one's ends, in [0, 1]."""
    low = np.array([knob.low for knob in knobs])
    high = np.array([knob.high for knob in knobs])
    ratio = np.array([knob.by_ratio for knob in knobs])
    with np.errstate(divide="ignore", invalid="ignore"):
        by_ratio = np.log(value / low) / np.log(high / low)
    found: Floats = np.where(ratio, by_ratio, (value - low) / (high - low))
    return found
