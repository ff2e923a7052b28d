"""Reads the fault catalogue's two files strictly: a slip is said with its place."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from core.errors import InputError
from core.faults import FaultClass
from core.target import TargetKind
from core.units import CATALOG


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that a diagnosis can name.

    kind:       its class
    scope:      what it sits on; a group of these (rack, switch, cluster) may share a cause
    metrics:    the readings whose mechanism it breaks; the strongest speaks for it
    prior:      log odds against "nothing we can name", before any evidence, in nats
    persistent: probability that it stays until somebody acts on it
    text:       the words of a sentence about a target: "node-7: cooling is degraded"
    check:      what to run or to look at to decide whether it is this one
    shared:     what it is called where all on one target of that kind have it
    sources:    where ``prior`` and ``persistent`` come from
    """

    name: str
    kind: FaultClass
    scope: TargetKind
    metrics: tuple[str, ...]
    prior: float
    persistent: float
    text: str
    check: str
    shared: Mapping[TargetKind, str]
    sources: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign speaks for a fault, or for there being none.

    weight: log-likelihood ratio against its base rate, nats
    stays:  probability that the fault stays until somebody acts, where the sign says so
    source: who says what the sign means
    """

    fault: str
    weight: float
    stays: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class EventRule:
    """What events of a kind say; no codes: any code that no other rule of the kind has."""

    kind: str
    codes: frozenset[str]
    on: frozenset[TargetKind]
    signs: tuple[Sign, ...]


@dataclass(frozen=True, slots=True)
class LineRule:
    """What a line of a log says; ``example`` is one that the pattern finds."""

    pattern: re.Pattern[str]
    example: str
    signs: tuple[Sign, ...]


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs by where they are seen; ``anomalies`` by the name of the detector."""

    events: tuple[EventRule, ...]
    anomalies: Mapping[str, tuple[Sign, ...]]
    lines: tuple[LineRule, ...]


_FAULT = ("class", "scope", "metrics", "prior", "persistent", "text", "check")
_PRIORS = (-10.0, 0.0)
_MOST_WEIGHT = 10.0
_SPAN = re.compile(r"(\d+)-(\d+)")


def read_faults(data: Mapping[str, Any]) -> tuple[Mapping[str, Fault], Mapping[str, str]]:
    """Read ``faults.toml``: the faults by name, and the words of what is no fault."""
    _keys("faults.toml", data, ("sources", "fault", "no_fault"))
    names = [*data["fault"], *data["no_fault"]]
    if double := [name for name in data["no_fault"] if name in data["fault"]]:
        _refuse("faults.toml", double, "a fault or no fault, not both")
    faults = {
        name: _fault(name, table, names, data["sources"]) for name, table in data["fault"].items()
    }
    nothing = {}
    for name, table in data["no_fault"].items():
        _keys(f"no_fault {name}", table, ("text",), required=("text",))
        nothing[name] = _text(f"no_fault {name}: text", table["text"])
    return MappingProxyType(faults), MappingProxyType(nothing)


def _fault(
    name: str, table: Mapping[str, Any], names: Sequence[str], sources: Mapping[str, str]
) -> Fault:
    where = f"fault {name}"
    _keys(where, table, (*_FAULT, "shared"), required=_FAULT)
    for metric in table["metrics"]:
        _one_of(f"{where}: metric", metric, CATALOG)
    for kind, other in table.get("shared", {}).items():
        _one_of(f"{where}: shared by", kind, list(TargetKind))
        _one_of(f"{where}: shared", other, names)
    prior, prior_source = _sourced(f"{where}: prior", table["prior"], _PRIORS, sources)
    stays, stays_source = _sourced(f"{where}: persistent", table["persistent"], (0.0, 1.0), sources)
    _one_of(f"{where}: class", table["class"], list(FaultClass))
    _one_of(f"{where}: scope", table["scope"], list(TargetKind))
    return Fault(
        name=name,
        kind=FaultClass(table["class"]),
        scope=TargetKind(table["scope"]),
        metrics=tuple(table["metrics"]),
        prior=prior,
        persistent=stays,
        text=_text(f"{where}: text", table["text"]),
        check=_text(f"{where}: check", table["check"]),
        shared={TargetKind(kind): other for kind, other in table.get("shared", {}).items()},
        sources=(prior_source, stays_source),
    )


def read_signs(data: Mapping[str, Any], names: Sequence[str]) -> Signs:
    """Read ``signs.toml``; ``names`` are those that a sign may speak for."""
    _keys("signs.toml", data, ("sources", "event", "anomaly", "line"))
    sources = data["sources"]
    events = tuple(_event(table, names, sources) for table in data["event"])
    _no_double(events)
    anomalies = {}
    for table in data["anomaly"]:
        where = f"anomaly {table.get('detector')!r}"
        _keys(where, table, ("detector", *_SAYS), required=("detector", "says", "source"))
        anomalies[str(table["detector"])] = _signs(where, table, names, sources)
    lines = tuple(_line(table, names, sources) for table in data["line"])
    return Signs(events, MappingProxyType(anomalies), lines)


_SAYS = ("says", "stays", "source")


def _event(table: Mapping[str, Any], names: Sequence[str], sources: Mapping[str, str]) -> EventRule:
    where = f"event {table.get('kind')!r} {table.get('codes', '')}"
    _keys(where, table, ("kind", "codes", "on", *_SAYS), required=("kind", "says", "source"))
    for kind in table.get("on", ()):
        _one_of(f"{where}: on", kind, list(TargetKind))
    return EventRule(
        kind=str(table["kind"]),
        codes=frozenset(_codes(table.get("codes", ()))),
        on=frozenset(TargetKind(kind) for kind in table.get("on", list(TargetKind))),
        signs=_signs(where, table, names, sources),
    )


def _codes(codes: Iterable[str]) -> Iterable[str]:
    """Yield each code of texts, numbers and spans of numbers."""
    for code in codes:
        if span := _SPAN.fullmatch(code):
            yield from map(str, range(int(span[1]), int(span[2]) + 1))
        else:
            yield code


def _no_double(rules: Iterable[EventRule]) -> None:
    seen: set[tuple[str, str, TargetKind]] = set()
    for rule in rules:
        for code in rule.codes or {"any"}:
            for kind in rule.on:
                if (rule.kind, code, kind) in seen:
                    _refuse(f"event {rule.kind!r}", code, "in one entry only")
                seen.add((rule.kind, code, kind))


def _line(table: Mapping[str, Any], names: Sequence[str], sources: Mapping[str, str]) -> LineRule:
    where = f"line {str(table.get('line'))[:40]!r}"
    _keys(where, table, ("line", "example", *_SAYS), required=("line", "example", "says", "source"))
    try:
        pattern = re.compile(table["line"], re.IGNORECASE)
    except re.error as error:
        _refuse(where, str(error), "a regular expression")
    if not pattern.search(table["example"]):
        _refuse(f"{where}: example", table["example"], "a line that the pattern finds")
    return LineRule(pattern, table["example"], _signs(where, table, names, sources))


def _signs(
    where: str, table: Mapping[str, Any], names: Sequence[str], sources: Mapping[str, str]
) -> tuple[Sign, ...]:
    stays = table.get("stays")
    if stays is not None:
        _number(f"{where}: stays", stays, (0.0, 1.0))
    _one_of(f"{where}: source", table["source"], sources)
    for name, weight in table["says"].items():
        _one_of(f"{where}: says", name, names)
        _number(f"{where}: {name}", weight, (0.0, _MOST_WEIGHT))
    source = sources[table["source"]]
    return tuple(Sign(name, float(weight), stays, source) for name, weight in table["says"].items())


def _sourced(
    where: str, found: Any, span: tuple[float, float], sources: Mapping[str, str]
) -> tuple[float, str]:
    if not isinstance(found, dict) or set(found) != {"value", "source"}:
        _refuse(where, found, "a table of exactly a value and a source")
    _number(where, found["value"], span)
    _one_of(f"{where}: source", found["source"], sources)
    return float(found["value"]), sources[found["source"]]


def _number(where: str, found: Any, span: tuple[float, float]) -> None:
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not span[0] <= found <= span[1]:
        _refuse(where, found, f"a number from {span[0]:g} to {span[1]:g}")


def _text(where: str, found: Any) -> str:
    if not isinstance(found, str) or not found.strip():
        _refuse(where, found, "a text")
    return found


def _one_of(where: str, found: Any, known: Iterable[str]) -> None:
    if found not in (names := [str(name) for name in known]):
        near = difflib.get_close_matches(str(found), names, n=1)
        _refuse(where, found, f"did you mean {near[0]!r}?" if near else f"one of {names[:12]}")


def _keys(
    where: str, table: Mapping[str, Any], known: Sequence[str], required: Sequence[str] = ()
) -> None:
    for key in table:
        _one_of(f"{where}: key", key, known)
    if missing := [key for key in required if key not in table]:
        _refuse(where, sorted(table), f"with {', '.join(missing)} too")


def _refuse(where: str, found: object, wanted: str) -> NoReturn:
    raise InputError(f"reading the fault catalogue: {where}: found {found!r}; wanted: {wanted}")
