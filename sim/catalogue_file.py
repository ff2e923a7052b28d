"""Reads the data files of the fault catalogue; whatever is wrong in them is said with its place."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from core.errors import InputError
from sim.checks import nearest, read_seconds
from sim.engine.words import Effect, Reason, Said, Scope

CONFIDENCES = ("measured", "reported", "derived", "assumed")
RATIOS = ("and_pcie", "seen", "restart_mends", "reboot_mends", "relapses", "spreads", "warns")
FLAGS = ("frail", "hangs", "unwatched", "lasts_alone")
SPANS = ("size", "crash_s", "notice_s")  # lowest and highest
LOGNORMAL = ("lasts", "relapse", "warn")  # median and sigma of ln
NUMBERS = ("shape", "ramp_s", "spread_s", "spread_most", "code")
WORDS: Mapping[str, type[Effect] | type[Reason] | type[Said]] = {
    "reason": Reason,
    "said": Said,
    "warn_effect": Effect,
}
PARAMETERS = (*RATIOS, *FLAGS, *SPANS, *LOGNORMAL, *NUMBERS, *WORDS)
_TEXTS = ("cause", "best", "text", "symptoms", "repaired_by")
_THOUSAND_NODE_DAYS = 1000.0


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number or word of a class, with who says so and how sure that is."""

    value: Any
    source: str
    confidence: str


@dataclass(frozen=True, slots=True)
class FaultClass:
    """One class of fault, for people and for diagnosis to be measured against.

    cause:  what a diagnosis calls it; "unknown": it has no name; "none": there is no fault
    best:   what would be best to do: an action, ``wait``, or ``escalate`` to people
    parameters: every parameter of ``tables.FAULT_CLASS`` but its rate
    """

    name: str
    cause: str
    best: str
    text: str
    symptoms: str
    repaired_by: str
    scope: Scope
    effect: Effect
    parameters: Mapping[str, Parameter]

    @property
    def sources(self) -> tuple[str, ...]:
        """Return who says what of it, each once, assumptions left out."""
        said = (p.source for p in self.parameters.values() if p.confidence != "assumed")
        return tuple(dict.fromkeys(said))


@dataclass(frozen=True, slots=True)
class Row:
    """What a source counted under one name: per 1,000 node-days, spread over classes by shares.

    count: nan where the source gives a rate
    """

    name: str
    rate: float
    classes: Mapping[str, float]
    count: float = math.nan
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """How often faults come, by one source.

    nodes, days: what its counts were seen over; nan where it gives rates
    frailty: variance of the gamma frailty of nodes; lemons: share of nodes with ``lemon_times``
             the faults; shape: of the Weibull clocks
    all:     parameters that hold for all classes under this profile
    """

    name: str
    text: str
    source: str
    confidence: str
    rows: tuple[Row, ...]
    nodes: float
    days: float
    frailty: float
    lemons: float
    lemon_times: float
    shape: float
    all: Mapping[str, Parameter]

    @property
    def rates(self) -> Mapping[str, float]:
        """Return each class's rate per 1,000 node-days: first faults, repeats and co-starts."""
        rates: dict[str, float] = {}
        for row in self.rows:
            for name, share in row.classes.items():
                rates[name] = rates.get(name, 0.0) + row.rate * share
        return rates

    @property
    def unexpected(self) -> float:
        """Return the rate per 1,000 node-days of what was not planned."""
        return math.fsum(row.rate for row in self.rows if not row.planned)


def read_classes(text: str) -> tuple[Mapping[str, FaultClass], Mapping[str, str]]:
    """Read the text of ``faults.toml``: the classes, and the sources by their keys."""
    data = tomllib.loads(text)
    _known("the file", data, ("sources", "defaults", "class"))
    sources: dict[str, str] = data["sources"]
    defaults = read_parameters("defaults", data["defaults"], sources)
    missing = [key for key in PARAMETERS if key not in defaults]
    if missing:
        raise InputError(f"reading the fault catalogue: [defaults] gives no {missing[0]}; add it.")
    classes = {
        name: _fault_class(name, table, defaults, sources) for name, table in data["class"].items()
    }
    return MappingProxyType(classes), MappingProxyType(sources)


def _fault_class(
    name: str,
    table: Mapping[str, Any],
    defaults: Mapping[str, Parameter],
    sources: Mapping[str, str],
) -> FaultClass:
    for key in (*_TEXTS, "scope", "effect"):
        if not isinstance(table.get(key), str) or not table[key]:
            raise InputError(
                f"reading the fault catalogue: class {name}: {key} is {table.get(key)!r}; "
                "write it as a text."
            )
    own = {key: value for key, value in table.items() if key not in (*_TEXTS, "scope", "effect")}
    cause, best, text, symptoms, repaired_by = (str(table[key]) for key in _TEXTS)
    return FaultClass(
        name=name,
        cause=cause,
        best=best,
        text=text,
        symptoms=symptoms,
        repaired_by=repaired_by,
        scope=Scope[_word(name, "scope", table["scope"], Scope)],
        effect=Effect[_word(name, "effect", table["effect"], Effect)],
        parameters=MappingProxyType({**defaults, **read_parameters(f"class {name}", own, sources)}),
    )


def read_profiles(
    text: str, classes: Mapping[str, FaultClass], sources: Mapping[str, str]
) -> Mapping[str, Profile]:
    """Read the text of ``rates.toml``."""
    data = tomllib.loads(text)
    _known("the file", data, ("profile",))
    profiles: dict[str, Profile] = {}
    for name, table in data["profile"].items():
        profiles[name] = _profile(name, table, profiles, classes, sources)
    return MappingProxyType(profiles)


# What a profile says of nodes where it says nothing: all alike, with clocks that have no memory.
_HAZARD = {"frailty": 0.0, "lemons": 0.0, "lemon_times": 1.0, "shape": 1.0}
_HEAD = ("text", "source", "confidence")


def _profile(
    name: str,
    table: Mapping[str, Any],
    before: Mapping[str, Profile],
    classes: Mapping[str, FaultClass],
    sources: Mapping[str, str],
) -> Profile:
    where = f"profile {name}"
    _known(where, table, (*_HEAD, *_HAZARD, "over", "row", "like", "total", "every", "all"))
    text, source, confidence = (str(table.get(key, "")) for key in _HEAD)
    if confidence not in CONFIDENCES:
        _refuse(f"{where}: confidence", confidence, f"one of {', '.join(CONFIDENCES)}")
    hazard = {key: _at_least_0(where, key, table.get(key, value)) for key, value in _HAZARD.items()}
    if hazard["lemons"] > 1 or not hazard["shape"] > 0:
        _refuse(where, hazard, "a share of lemons of at most 1 and a shape above 0")
    over = table.get("over", {})
    _known(f"{where}: over", over, ("nodes", "days"))
    own = read_parameters(f"{where}: all", table.get("all", {}), sources)
    like = before.get(str(table.get("like")))
    nodes, days = (_at_least_0(where, key, over.get(key, math.inf)) for key in ("nodes", "days"))
    return Profile(
        name=name,
        text=text,
        source=source,
        confidence=confidence,
        rows=_rows(where, table, before, classes, nodes * days),
        nodes=nodes if over else math.nan,
        days=days if over else math.nan,
        frailty=hazard["frailty"],
        lemons=hazard["lemons"],
        lemon_times=hazard["lemon_times"],
        shape=hazard["shape"],
        all=MappingProxyType({**(like.all if like else {}), **own}),
    )


def _rows(
    where: str,
    table: Mapping[str, Any],
    before: Mapping[str, Profile],
    classes: Mapping[str, FaultClass],
    node_days: float,
) -> tuple[Row, ...]:
    if "like" in table:
        if table["like"] not in before:
            _refuse(f"{where}: like", table["like"], f"a profile above it; {_near(table, before)}")
        other = before[table["like"]]
        by = _at_least_0(where, "total", table.get("total")) / other.unexpected
        return tuple(
            Row(row.name, row.rate * by, row.classes) for row in other.rows if not row.planned
        )
    if "every" in table:
        rate = _at_least_0(where, "every", table["every"])
        return tuple(Row(name, rate, {name: 1.0}) for name in classes)
    return tuple(_row(where, row, classes, node_days) for row in table.get("row", ()))


def _near(table: Mapping[str, Any], before: Mapping[str, Profile]) -> str:
    return nearest(str(table["like"]), before)


def _row(
    where: str, row: Mapping[str, Any], classes: Mapping[str, FaultClass], node_days: float
) -> Row:
    _known(f"{where}: row", row, ("name", "count", "rate", "planned", "classes"))
    where = f"{where}: row {row.get('name')!r}"
    shares = row.get("classes", {})
    for fault in shares:
        if fault not in classes:
            _refuse(f"{where}: class", fault, f"in the catalogue; {nearest(fault, classes)}")
        _at_least_0(where, fault, shares[fault])
    if not math.isclose(math.fsum(shares.values()), 1.0):
        _refuse(f"{where}: shares", shares, "shares that sum to 1")
    if ("count" in row) is ("rate" in row) or ("count" in row and not 0 < node_days < math.inf):
        _refuse(where, dict(row), "a rate, or a count with the profile's over = { nodes, days }")
    if "rate" in row:
        return Row(row["name"], _at_least_0(where, "rate", row["rate"]), shares)
    count = _at_least_0(where, "count", row["count"])
    rate = _THOUSAND_NODE_DAYS * count / node_days
    return Row(row["name"], rate, shares, count, bool(row.get("planned", False)))


def read_parameters(
    where: str, table: Mapping[str, Any], sources: Mapping[str, str]
) -> dict[str, Parameter]:
    """Read parameters, each ``{ value, source, confidence }``."""
    _known(where, table, PARAMETERS)
    return {key: _parameter(f"{where}: {key}", key, table[key], sources) for key in table}


def _parameter(where: str, key: str, data: object, sources: Mapping[str, str]) -> Parameter:
    if not isinstance(data, dict) or set(data) != {"value", "source", "confidence"}:
        _refuse(where, data, "a table of exactly a value, a source and a confidence")
    source, confidence = str(data["source"]), str(data["confidence"])
    if source not in sources:
        _refuse(f"{where}: source", source, f"in [sources]; {nearest(source, sources)}")
    if confidence not in CONFIDENCES:
        _refuse(f"{where}: confidence", confidence, f"one of {', '.join(CONFIDENCES)}")
    return Parameter(_value(where, key, data["value"]), sources[source], confidence)


def _value(where: str, key: str, value: Any) -> Any:
    """Return a parameter's value, seconds where it is a time."""
    good, wanted = True, ""
    if key in FLAGS:
        good, wanted = isinstance(value, bool), "true or false"
    elif key in RATIOS:
        good, wanted = _number(value) and 0 <= value <= 1, "a share between 0 and 1"
        if key == "relapses" and good:
            good, wanted = value < 1, "below 1: else it never ends"
    elif key in SPANS:
        good = _pair(value) and all(map(_number, value)) and 0 <= value[0] <= value[1]
        wanted = "[lowest, highest], not below 0"
    elif key in LOGNORMAL:
        good = _pair(value) and _number(value[1]) and value[1] >= 0
        wanted = 'a median and the sigma of ln, as ["12h", 2.4]'
        value = (read_seconds(value[0]), float(value[1])) if good else value
    elif key in WORDS:
        return _word(where, key, value, WORDS[key]) if value else ""
    else:
        good, wanted = _number(value) and value >= 0, "a number not below 0"
    if not good:
        _refuse(where, value, wanted)
    return tuple(value) if isinstance(value, list) else value


def _word(where: str, key: str, value: object, words: Iterable[Any]) -> str:
    names = [word.name.lower() for word in words]
    if value not in names:
        _refuse(f"{where}: {key}", value, f"a word of the engine; {nearest(str(value), names)}")
    return str(value).upper()


def _pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _at_least_0(where: str, key: str, value: Any) -> float:
    if not _number(value) or value < 0:
        _refuse(f"{where}: {key}", value, "a number not below 0")
    return float(value)


def _known(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    names = tuple(known)
    for key in table:
        if key not in names:
            _refuse(f"{where}: key", key, f"one there is; {nearest(key, names)}")


def _refuse(where: str, found: object, wanted: str) -> NoReturn:
    end = "" if wanted.endswith((".", "?")) else "."
    raise InputError(f"reading the fault catalogue: {where} is {found!r}; it must be {wanted}{end}")
