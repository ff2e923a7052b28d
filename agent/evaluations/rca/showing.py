"""Which faults an incident shows: those without which it would not be what it is."""

from collections.abc import Iterable, Mapping, Sequence

from agent.evaluations.grouping_truth import belongs
from agent.evaluations.rca.truths import Truth
from core.types import Incident

# What one fault brings may come later where the other has not come first.
ALLOWANCE_S = 300.0

Key = tuple[object, ...]


def keys(incidents: Iterable[Incident]) -> frozenset[Key]:
    """Return the symptoms of incidents, whenever they were seen."""
    return frozenset(
        key
        for incident in incidents
        for key in (
            *((anomaly.target, anomaly.metric) for anomaly in incident.anomalies),
            *((event.target, event.kind, event.code) for event in incident.events),
        )
    )


def shown(
    incident: Incident, truths: Sequence[Truth], without: Mapping[str, frozenset[Key]]
) -> tuple[Truth, ...]:
    """Return the truths that an incident shows.

    without: fault -> the symptoms of the same world where it does not happen; empty where it is
      the only one there. A fault is shown that has a symptom in the incident which is not there
      without it; where all are there without either, those count whose place or job has one.
    """
    mine = belongs(incident, [truth.cause for truth in truths])
    if not without:
        return tuple(truths[number] for number in mine)
    own = keys([incident])
    brought = tuple(truth for truth in truths if own - without.get(truth.sim, own))
    return brought or tuple(truths[number] for number in mine)
