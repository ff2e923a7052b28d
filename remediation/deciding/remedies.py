"""What ends a fault, as probabilities: what a policy knows of it instead of its name.

The figures are data (``remedies.toml``), each fault's with its source. The same table serves life
and simulation.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputError
from core.situation import Remedy
from core.types import Cause, Diagnosis, Floats

_DATA = Path(__file__).parent / "remedies.toml"
# What the simulator calls a cause that a diagnosis cannot name, and no fault at all: their
# probabilities are facts of their own (Fact.UNKNOWN, Fact.NO_FAULT), they have no remedy.
_NAMELESS = frozenset({"unknown", "none"})
_SUM_TOLERANCE = 1e-9


def read_remedies(text: str) -> Mapping[str, Floats]:
    """Return each fault's (len(Remedy),) probabilities from the text of such a file.

    InputError where it is no TOML, a remedy or a source is unknown, a number is no probability, or
    those of a fault do not sum to 1.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the remedies are no TOML: {error}.") from error
    sources = content.get("sources", {})
    return {name: _row(name, fields, sources) for name, fields in content.get("fault", {}).items()}


def _row(name: str, fields: Mapping[str, Any], sources: Mapping[str, str]) -> Floats:
    """Return a fault's probabilities."""
    row = np.zeros(len(Remedy))
    for key, value in fields.items():
        if key == "source":
            continue
        if key.upper() not in Remedy.__members__:
            known = ", ".join(remedy.name.lower() for remedy in Remedy)
            raise InputError(f"remedies of {name}: no remedy {key!r}; there are {known}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"remedies of {name}: {key} is {value!r}; a number from 0 to 1.")
        row[Remedy[key.upper()]] = value
    if (source := fields.get("source")) not in sources:
        raise InputError(
            f"remedies of {name}: its source is {source!r}, which [sources] does not have; it has "
            f"{', '.join(sorted(sources)) or 'none'}."
        )
    if not math.isclose(total := float(row.sum()), 1.0, abs_tol=_SUM_TOLERANCE):
        raise InputError(f"remedies of {name}: they sum to {total:.4g}; they must sum to 1.")
    return row


@cache
def known() -> Mapping[str, Floats]:
    """Return what ends each fault of the catalogue, read once."""
    return read_remedies(_DATA.read_text(encoding="utf-8"))


def remedies(fault: str) -> Floats:
    """Return (len(Remedy),) what ends the fault; zeros for "unknown" and "none"."""
    if fault in _NAMELESS:
        return np.zeros(len(Remedy))
    if fault not in known():
        raise InputError(
            f"nothing is known of what ends a fault {fault!r}; add it to {_DATA.name}, which has "
            f"{len(known())} faults."
        )
    return known()[fault].copy()


def table(causes: Sequence[str]) -> Floats:
    """Return (causes, len(Remedy)) what ends each."""
    return np.array([remedies(cause) for cause in causes]).reshape(-1, len(Remedy))


def of_cause(cause: Cause) -> Floats:
    """Return (len(Remedy),) what ends a cause, by how likely it is to stay where that is known.

    Where it stays with probability p, restart and time share 1 - p in their proportion, and the
    others p in theirs; nothing changes where the one or the other have nothing to share.
    """
    return staying(remedies(cause.fault), cause.persistent)


def staying(row: Floats, probability: float | None) -> Floats:
    """Return (len(Remedy),) what ends a fault that stays with a probability, as ``of_cause``."""
    if probability is None:
        return row
    passing = row[Remedy.RESTART] + row[Remedy.TIME]
    if not 0.0 < passing < 1.0:
        return row
    scaled: Floats = row * (probability / (1.0 - passing))
    for remedy in (Remedy.RESTART, Remedy.TIME):
        scaled[remedy] = row[remedy] * (1.0 - probability) / passing
    return scaled


def mixed(diagnosis: Diagnosis) -> Floats:
    """Return (len(Remedy),) the probability that each ends what the incident is about.

    Causes count by their probability, so that the sum is what is put down to named causes.
    """
    total = np.zeros(len(Remedy))
    for cause in diagnosis.causes:
        total += cause.probability * of_cause(cause)
    return total
