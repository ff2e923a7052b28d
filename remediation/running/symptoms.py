"""An incident's symptoms on one line of time: when each was last seen, and where."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from core.target import Target
from core.types import Anomaly, Incident, Severity

HANG = "hang"  # the detector of jobs that make no step


class Symptom(NamedTuple):
    """One sign of trouble; ``seen_s`` is when it was last seen, an event is seen only once."""

    target: Target
    seen_s: float
    severity: Severity
    text: str
    once: bool = False


def symptoms(incident: Incident) -> tuple[Symptom, ...]:
    """Return the incident's symptoms; mere information is none."""
    return tuple(symptom for symptom in _all(incident) if symptom.severity is not Severity.INFO)


def newest_s(incident: Incident) -> float:
    """Return when the newest symptom was seen; the incident's opening where it holds none.

    Information is none: it opens no incident and keeps none open, so it makes none fresh either.
    """
    return max((symptom.seen_s for symptom in symptoms(incident)), default=incident.opened_s)


def broken(
    incident: Incident, node: str, *, since_s: float, mended_s: float = -math.inf
) -> Symptom | None:
    """Return a critical symptom on the node that an event told of, or that was seen since then.

    mended_s: when it was repaired or checked: what was seen before says nothing any more
    """
    for symptom in symptoms(incident):
        critical = symptom.severity is Severity.CRITICAL and symptom.target.node == node
        lasts = symptom.once or symptom.seen_s >= since_s
        if critical and lasts and symptom.seen_s > mended_s:
            return symptom
    return None


def hangs(incident: Incident, job: str) -> tuple[Anomaly, ...]:
    """Return what says that the job makes no step; its start is when it made its last one."""
    return tuple(
        anomaly
        for anomaly in incident.anomalies
        if anomaly.detector == HANG and anomaly.target.job == job
    )


def _all(incident: Incident) -> Iterator[Symptom]:
    for anomaly in incident.anomalies:
        yield Symptom(anomaly.target, anomaly.end_s, anomaly.severity, anomaly.text)
    for event in incident.events:
        yield Symptom(event.target, event.time_s, event.severity, event.text, once=True)
    for breach in incident.breaches:
        text = f"{breach.metric} is expected to cross {breach.limit:g}"
        yield Symptom(breach.target, breach.made_at_s, breach.severity, text)
