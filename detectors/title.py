"""One sentence for an incident that an operator understands without opening it."""

from collections.abc import Sequence

from core.target import Target
from core.types import Breach, Event
from detectors.places import Places
from detectors.related import SHARED_NODES, Symptom
from detectors.words import amount, duration, subject


def title(symptoms: Sequence[Symptom], targets: Sequence[Target], places: Places) -> str:
    """Say the worst and earliest of an incident's symptoms, and how much more there is.

    The sentence depends on what they are only, not on the order they came in.
    symptoms: at least one; targets: those that have shown one
    """
    ranks = [_rank(symptom) for symptom in symptoms]
    worst = min(ranks)
    worst_ones = [s for s, rank in zip(symptoms, ranks, strict=True) if rank == worst]
    first = worst_ones[0]
    if len(worst_ones) > 1:
        first = min(worst_ones, key=lambda symptom: (str(symptom.target), repr(symptom)))
    return f"{_where(first, targets, places)}{_say(first)}{_more(targets, symptoms)}"


def _where(worst: Symptom, targets: Sequence[Target], places: Places) -> str:
    """Name the switch, else the rack, that holds all of an incident's many nodes."""
    nodes = {target.node for target in targets if target.node and not target.job}
    if len(nodes) < SHARED_NODES or not worst.target.node:
        return ""
    for kind, place_of in (("switch", places.switch_of), ("rack", places.rack_of)):
        found = {place_of(node) for node in nodes}
        if len(found) == 1 and "" not in found:
            return f"{kind[:1].upper()}{kind[1:]} {found.pop()}: "
    return ""


def _rank(symptom: Symptom) -> tuple[int, int, float]:
    """Order by severity; then events, anomalies, what is only expected; then the earliest."""
    match symptom:
        case Event():
            kind, since_s = 0, symptom.time_s
        case Breach():
            kind, since_s = 2, symptom.expected_s
        case _:
            kind, since_s = 1, symptom.start_s
    return -symptom.severity.rank, kind, since_s


def _say(symptom: Symptom) -> str:
    if not isinstance(symptom, Breach):
        return symptom.text[:1].upper() + symptom.text[1:]
    what = f"{subject(symptom.metric)} of {symptom.target}"
    limit = amount(symptom.limit, symptom.metric)
    ahead_s = symptom.expected_s - symptom.made_at_s
    if ahead_s <= 0:
        return f"{what[:1].upper()}{what[1:]} is beyond its limit of {limit}"
    return (
        f"{what[:1].upper()}{what[1:]} is expected to cross {limit} in {duration(ahead_s)} "
        f"(probability {symptom.probability:.0%})"
    )


def _more(targets: Sequence[Target], symptoms: Sequence[Symptom]) -> str:
    others = len(symptoms) - 1
    if not others:
        return ""
    nodes = {target.node for target in targets if target.node}
    where = f" on {len(nodes)} nodes" if len(nodes) > 1 else ""
    return f", and {others} more symptom{'s' if others > 1 else ''}{where}"
