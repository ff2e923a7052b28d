"""The faults that a diagnosis can name, the readings they break and the signs that betray them."""

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from core.target import TargetKind
from core.types import Anomaly, Event
from rca.faults.read import EventRule, Fault, Sign, read_faults, read_signs

__all__ = [
    "FAULTS",
    "FAULTS_OF_METRIC",
    "FAULT_OF_METRIC",
    "NO_FAULTS",
    "SIGNS",
    "Fault",
    "Sign",
    "named_for",
    "persistence",
    "signs_of",
    "signs_of_anomaly",
]

_HERE = Path(__file__).parent


def _toml(name: str) -> dict[str, object]:
    return tomllib.loads((_HERE / name).read_text(encoding="utf-8"))


FAULTS, NO_FAULTS = read_faults(_toml("faults.toml"))
SIGNS = read_signs(_toml("signs.toml"), [*FAULTS, *NO_FAULTS])


def _by_metric() -> Mapping[str, tuple[str, ...]]:
    """Return the faults that break each metric, the one that the metric itself is about first."""
    found: dict[str, list[str]] = defaultdict(list)
    for fault in FAULTS.values():
        for metric in fault.metrics:
            found[metric].append(fault.name)
    return MappingProxyType({metric: tuple(names) for metric, names in found.items()})


FAULTS_OF_METRIC = _by_metric()
FAULT_OF_METRIC: Mapping[str, str] = MappingProxyType(
    {metric: names[0] for metric, names in FAULTS_OF_METRIC.items()}
)

# From this weight on kind and code say enough, and the text of an event is not read.
ENOUGH = 5.0
_REMEMBERED = 4096


def _by_kind() -> Mapping[str, tuple[EventRule, ...]]:
    """Return the rules of each kind of event, those for certain codes first."""
    found: dict[str, list[EventRule]] = defaultdict(list)
    for rule in SIGNS.events:
        found[rule.kind].append(rule)
    return {kind: tuple(sorted(rules, key=lambda r: not r.codes)) for kind, rules in found.items()}


_RULES = _by_kind()


def signs_of(event: Event) -> tuple[Sign, ...]:
    """Return what an event speaks for, the likeliest first; () where it says nothing.

    Kind and code come first; where they say little, the text is read as a line of a log. A fault
    that several rules name has the strongest of their weights: they saw one thing.
    """
    return _signs(event.kind, event.code.strip(), event.target.kind, event.text)


@lru_cache(maxsize=_REMEMBERED)
def _signs(kind: str, code: str, on: TargetKind, text: str) -> tuple[Sign, ...]:
    rule = _rule(kind, code, on)
    found = list(rule.signs) if rule else []
    if rule is None or 0 < max((sign.weight for sign in found), default=0.0) < ENOUGH:
        found += (sign for line in SIGNS.lines if line.pattern.search(text) for sign in line.signs)
    return _strongest(found)


def _rule(kind: str, code: str, on: TargetKind) -> EventRule | None:
    return next(
        (r for r in _RULES.get(kind, ()) if on in r.on and (not r.codes or code in r.codes)), None
    )


def _strongest(signs: Iterable[Sign]) -> tuple[Sign, ...]:
    best: dict[str, Sign] = {}
    for sign in signs:
        if sign.fault not in best or sign.weight > best[sign.fault].weight:
            best[sign.fault] = sign
    return tuple(sorted(best.values(), key=lambda sign: -sign.weight))


def signs_of_anomaly(anomaly: Anomaly) -> tuple[Sign, ...]:
    """Return what a detector's finding speaks for beyond its metric; () for most detectors."""
    return _strongest(SIGNS.anomalies.get(anomaly.detector, ()))


def named_for(fault: str, on: TargetKind) -> str:
    """Return what a fault is called where everything on one target of that kind has it."""
    return FAULTS[fault].shared.get(on, fault) if fault in FAULTS else fault


def persistence(fault: str, signs: Iterable[Sign] = ()) -> float | None:
    """Return the probability that a fault stays until somebody acts; None where nobody can say.

    Where signs of that fault say so, the worst of them counts, because the rest of what it did does
    not undo it: a contained memory error alone ends with its process, one beside a double-bit error
    does not.
    """
    known = FAULTS.get(fault)
    if known is None:
        return 0.0 if fault in NO_FAULTS else None
    said = [sign.stays for sign in signs if sign.fault == fault and sign.stays is not None]
    return max(said, default=known.persistent)
