"""The catalogue of faults: what each class does, how often it comes, and who says so."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputError
from sim.catalogue_file import (
    FLAGS,
    LOGNORMAL,
    NUMBERS,
    RATIOS,
    SPANS,
    WORDS,
    FaultClass,
    Profile,
    read_classes,
    read_profiles,
)
from sim.checks import nearest
from sim.engine.rows_faults import FAULT_CLASS
from sim.engine.tables import Table
from sim.engine.words import GPUS, NONE, Scope

_DATA = Path(__file__).parent / "data"
CLASSES, SOURCES = read_classes((_DATA / "faults.toml").read_text(encoding="utf-8"))
PROFILES = read_profiles((_DATA / "rates.toml").read_text(encoding="utf-8"), CLASSES, SOURCES)
# What a diagnosis can call a fault here; the tables hold its index.
CAUSES = tuple(dict.fromkeys(fault.cause for fault in CLASSES.values()))
_BY_NODE = (Scope.GPU, Scope.NODE, Scope.JOB)


def fault_class(name: str) -> FaultClass:
    """Return a class of the catalogue; InputError names the nearest where there is none."""
    if name not in CLASSES:
        raise InputError(f"no fault {name!r} in the catalogue; {nearest(name, CLASSES)}")
    return CLASSES[name]


def profile(name: str) -> Profile:
    """Return named rates; InputError names the nearest where there are none."""
    if name not in PROFILES:
        raise InputError(f"no rate profile {name!r}; {nearest(name, PROFILES)}")
    return PROFILES[name]


def drawn(rates_of: str, rates: Sequence[tuple[str, float]] = ()) -> tuple[str, ...]:
    """Return the classes that a profile, and rates instead of its own, may draw."""
    wanted = {**profile(rates_of).rates, **dict(rates)}
    return tuple(name for name in CLASSES if wanted.get(name, 0.0) > 0)


def class_table(
    names: Sequence[str],
    *,
    units: Sequence[int] = (0,) * len(Scope),
    rates_of: str = "none",
    scale: float = 1.0,
    rates: Sequence[tuple[str, float]] = (),
) -> Table:
    """Return the FAULT_CLASS rows of those classes, in that order.

    units: how many of each scope there are, by ``Scope``. JOB, STORAGE and FLEET count as one:
      their faults come for the whole cluster; one on a job strikes that of a node drawn evenly
    rates_of: the profile, whose rates are times ``scale``
    rates: (class, a day and node; of a domain, a day and domain) instead of the profile's

    A rate counts every fault. Those that follow from others (co-starts, relapses) are not drawn, so
    the first ones come that much more seldom; so do all where lemons have more than their share.
    """
    by, own = profile(rates_of), dict(rates)
    table = np.zeros(len(names), dtype=FAULT_CLASS)
    for number, name in enumerate(names):
        row: Any = table[number]
        fault = fault_class(name)
        _fill(row, fault, by)
        if units[fault.scope]:
            each = units[Scope.NODE] / units[fault.scope]
            if name in own:
                rate = own[name] * (each if fault.scope in _BY_NODE else 1.0)
            else:
                each = 1 / GPUS if fault.scope is Scope.GPU else each
                rate = scale * by.rates.get(name, 0.0) / 1000 * each
            row["rate"] = rate / followers(row)
    return table


def followers(row: Any) -> float:
    """Return how many faults come of a first one in the mean, itself included.

    A first fault starts others with the chance ``spreads``, 1 to ``spread_most`` of them, any
    number as likely. Each of all these comes again after its repair with the chance ``relapses``,
    again and again; what followed from another starts no others.
    """
    company = 1 + float(row["spreads"]) * (1 + int(row["spread_most"])) / 2
    return company / (1 - float(row["relapses"]))


def _fill(row: Any, fault: FaultClass, by: Profile) -> None:
    parameters = {**fault.parameters, **by.all}
    row["scope"], row["effect"] = fault.scope, fault.effect
    row["cause"] = CAUSES.index(fault.cause)
    for key in (*RATIOS, *FLAGS, *NUMBERS):
        row[key] = parameters[key].value
    if by.shape != 1:
        row["shape"] = by.shape
    for key in SPANS:
        stem, unit = (key[:-2], "_s") if key.endswith("_s") else (key, "")
        row[f"{stem}_lo{unit}"], row[f"{stem}_hi{unit}"] = parameters[key].value
    for key in LOGNORMAL:
        median_s, sigma = parameters[key].value
        row[f"{key}_mu"], row[f"{key}_sigma"] = math.log(median_s), sigma
    for key, words in WORDS.items():
        word = parameters[key].value
        row[key] = words[word] if word else NONE
