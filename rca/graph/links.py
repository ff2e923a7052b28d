"""The known links, read from ``links.toml``, and what users and learning add to them."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.resources import files
from typing import Any

from core.errors import InputError
from core.target import TargetKind
from core.units import CATALOG
from rca.graph.templates import PARTS, Join, Provenance, Template, order

_TEXTS = ("cause", "effect", "join", "why", "source")
_KEYS = (*_TEXTS, "sign", "lag_s", "strength", "barrier", "feedback")


def read_links(text: str, name: str) -> tuple[Template, ...]:
    """Read links in the form of ``links.toml``; InputError says what is wrong in which link.

    name: what the text is, for the sentence
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"reading {name}: it is no TOML: {error}.") from None
    for key in data:
        _one_of(f"reading {name}: the section", key, ("sources", "link"))
    sources, rows = data.get("sources", {}), data.get("link", [])
    if not isinstance(sources, dict) or not isinstance(rows, list):
        raise InputError(f"reading {name}: write [sources] once and [[link]] for every link.")
    links = tuple(
        _link(f"reading {name}: link {number}", row, sources)
        for number, row in enumerate(rows, start=1)
    )
    check_links(links, f"reading {name}")
    return links


def check_links(links: Iterable[Template], what: str) -> None:
    """Refuse two links of one pair and join, and a cycle, naming its members."""
    known = tuple(links)
    seen: set[tuple[str, str, Join]] = set()
    for link in known:
        if link.pair in seen:
            raise InputError(
                f"{what}: {link.cause} -> {link.effect} ({link.join}) is there twice; keep one."
            )
        seen.add(link.pair)
    forward = tuple(link for link in known if not link.feedback)
    try:
        order({name for link in forward for name in (link.cause, link.effect)}, forward)
    except ValueError as error:
        raise InputError(
            f"{what}: {error}. A cause must come before its effect: take one of these links out."
        ) from None


# What a target of each kind names of itself; a node's leaf switch is known from the topology.
_NAMED: Mapping[TargetKind, frozenset[str]] = {
    TargetKind.GPU: frozenset({"node", "switch", "gpu"}),
    TargetKind.NODE: frozenset({"node", "switch"}),
    TargetKind.PORT: frozenset({"node", "switch", "port"}),
    TargetKind.VOLUME: frozenset({"node", "switch", "volume"}),
    TargetKind.JOB: frozenset({"job"}),
    TargetKind.RANK: frozenset({"node", "switch", "gpu", "job"}),
}


def joins_of(cause: str, effect: str) -> tuple[Join, ...]:
    """Return the joins that can link two metrics of the catalogue, by what their targets name."""
    here, there = _NAMED[CATALOG[cause].scope], _NAMED[CATALOG[effect].scope]
    return tuple(join for join, (of, to, _) in PARTS.items() if of in here and to in there)


def _link(where: str, row: Any, sources: Mapping[str, str]) -> Template:
    if not isinstance(row, dict):
        raise InputError(f"{where}: it is {row!r}; write it as a table under [[link]].")
    for key in row:
        _one_of(f"{where}: the key", key, _KEYS)
    for key in _TEXTS:
        if not isinstance(row.get(key), str) or not row[key]:
            raise InputError(f"{where}: {key} is {row.get(key)!r}; write it as a text.")
    where = f"{where} ({row['cause']} -> {row['effect']})"
    for key in ("cause", "effect"):
        _one_of(f"{where}: the {key}", row[key], CATALOG)
    fitting = joins_of(row["cause"], row["effect"])
    _one_of(f"{where}: the join", row["join"], [str(join) for join in fitting])
    _one_of(f"{where}: the source", row["source"], sources)
    least_s, most_s = _lag(where, row.get("lag_s"))
    return Template(
        cause=row["cause"],
        effect=row["effect"],
        join=Join(row["join"]),
        sign=_sign(where, row.get("sign")),
        lag_least_s=least_s,
        lag_s=most_s,
        strength=_strength(where, row.get("strength", 1.0)),
        barrier=_flag(where, "barrier", row),
        feedback=_flag(where, "feedback", row),
        why=row["why"],
        source=sources[row["source"]],
    )


def _lag(where: str, value: Any) -> tuple[float, float]:
    good = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
    if not good or not 0 <= value[0] <= value[1]:
        raise InputError(f"{where}: lag_s is {value!r}; write [least, most] seconds, 0 or more.")
    return float(value[0]), float(value[1])


def _sign(where: str, value: Any) -> int:
    if value not in (1, -1) or isinstance(value, bool):
        raise InputError(
            f"{where}: sign is {value!r}; write 1 (they move together) or -1 (against each other)."
        )
    return int(value)


def _strength(where: str, value: Any) -> float:
    if not _is_number(value) or not 0 < value <= 1:
        raise InputError(f"{where}: strength is {value!r}; write a number above 0 and at most 1.")
    return float(value)


def _flag(where: str, key: str, row: Mapping[str, Any]) -> bool:
    value = row.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f"{where}: {key} is {value!r}; write true or false.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(what: str, word: object, known: Iterable[str]) -> None:
    names = list(known)
    if word not in names:
        near = get_close_matches(str(word), names, n=1, cutoff=0.0)
        raise InputError(
            f"{what} {word!r} is unknown; the nearest is {near[0] if near else 'none'}."
        )


def with_links(links: tuple[Template, ...], own: Iterable[Template]) -> tuple[Template, ...]:
    """Return the links with a user's own: one of the same cause, effect and join is replaced.

    A strength of 0 takes the link out; one that was learned replaces none. InputError for a cycle,
    naming its members.
    """
    merged = {link.pair: link for link in links}
    for link in own:
        if link.provenance is not Provenance.LEARNED or link.pair not in merged:
            merged[link.pair] = link
    kept = tuple(link for link in merged.values() if link.strength > 0)
    check_links(kept, "adding links to the causal graph")
    return kept


ALL_LINKS = read_links(
    files("rca.graph").joinpath("links.toml").read_text(encoding="utf-8"), "links.toml"
)
TEMPLATES: tuple[Template, ...] = tuple(link for link in ALL_LINKS if not link.feedback)
METRICS: frozenset[str] = frozenset(
    name for link in TEMPLATES for name in (link.cause, link.effect)
)
