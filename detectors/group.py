"""Symptoms that belong together become incidents: opened, kept up, damped and resolved."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from operator import attrgetter

from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Breach, Event, Incident, IncidentState, Severity
from detectors.detector import Symptoms
from detectors.faults.memory import SAME_S
from detectors.places import Places
from detectors.placing import placed
from detectors.related import Key, Symptom, key_of
from detectors.title import title
from detectors.words import hitting_as

# A target's parts, in the order in which targets are compared.
PARTS = attrgetter(*(part.name for part in fields(Target)))


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How symptoms are put together; all in seconds.

    group_window_s:  a related symptom joins an incident that had one within this time
    resolve_after_s: without a live symptom for so long, an incident is resolved
    damping_s:       a symptom that returns within this time of its incident's end opens it again
    """

    group_window_s: float = 600.0
    resolve_after_s: float = 300.0
    damping_s: float = 1800.0


def group(
    incidents: Sequence[Incident],
    symptoms: Symptoms,
    *,
    topology: Topology | None,
    now_s: float,
    settings: GroupSettings,
    new_id: Callable[[], str],
) -> tuple[Incident, ...]:
    """Return the incidents after a look that found ``symptoms``, oldest first.

    Every symptom of the look ends in exactly one open incident. A symptom is the same as an earlier
    one when target, metric or kind and code, and detector are; it then brings its incident up to
    date. Events and anomalies stay in an incident's record after they are gone; a breach that is no
    longer forecast is taken out. Incidents resolved longer than the damping time ago are left out
    of the result. The order of the symptoms does not matter, and the same look twice changes
    nothing.
    """
    places = Places(topology)
    kept = [_not_ahead(i, now_s) for i in incidents if not _forgotten(i, now_s, settings)]
    homes, asleep, homeless = _known(kept, _newest_of_each(symptoms))
    known = [_updated(i, homes.get(i.id, ()), places, now_s) for i in kept]
    for home in placed(
        known,
        homeless,
        places,
        near=_near(known, now_s, settings),
        over=[i for i, each in enumerate(known) if each.state is IncidentState.RESOLVED],
        now_s=now_s,
        window_s=settings.group_window_s,
    ):
        if home.index is None:
            known.append(_updated(_opened(new_id(), now_s), home.placed, places, now_s))
        elif home.absorbed_by is None:
            before = kept[home.index]
            seen = (*homes.get(before.id, ()), *asleep.get(before.id, ()), *home.placed)
            known[home.index] = _updated(before, seen, places, now_s)
        elif home.absorbed_by.incident is not None:
            known[home.index] = _absorbed(known[home.index], home.absorbed_by.incident.id, now_s)
    settled = (_settled(incident, now_s, settings) for incident in known)
    return tuple(sorted(settled, key=lambda incident: (incident.opened_s, incident.id)))


def _newest_of_each(symptoms: Symptoms) -> dict[Key, Symptom]:
    """Return one symptom of each key; of several, what comes last by time and then by value."""
    of_key: dict[Key, list[Symptom]] = {}
    every: list[Symptom] = [*symptoms.anomalies, *symptoms.events, *symptoms.breaches]
    for symptom in every:
        of_key.setdefault(key_of(symptom), []).append(symptom)
    found = {
        key: same[0] if len(same) == 1 else reduce(_merged, sorted(same, key=_age))
        for key, same in of_key.items()
    }
    return {key: found[key] for key in sorted(found, key=_place)}


def _age(symptom: Symptom) -> tuple[float, str]:
    return _time_s(symptom), repr(symptom)


def _place(key: Key) -> tuple[str, ...]:
    """Return what orders keys as they order themselves, in less time."""
    target, *rest = key
    return (*PARTS(target), *rest)


def _forgotten(incident: Incident, now_s: float, settings: GroupSettings) -> bool:
    return incident.resolved_s is not None and now_s - incident.resolved_s > settings.damping_s


def _not_ahead(incident: Incident, now_s: float) -> Incident:
    """Count from now on what a clock that was set back has put in the future."""
    resolved_s = incident.resolved_s
    if max(incident.updated_s, resolved_s or -math.inf) <= now_s:
        return incident
    return replace(
        incident,
        updated_s=min(incident.updated_s, now_s),
        resolved_s=None if resolved_s is None else min(resolved_s, now_s),
    )


def _known(
    incidents: Sequence[Incident], live: Mapping[Key, Symptom]
) -> tuple[Mapping[str, Sequence[Symptom]], Mapping[str, Sequence[Symptom]], Sequence[Symptom]]:
    """Send each symptom that an incident has had before to it, an open one first, then the newest.

    Returns symptoms by incident id, information about incidents that are over by id, which opens
    nothing again, and symptoms that no incident knows. An incident of which nothing but its targets
    is left was one of breaches that cleared: a breach there belongs to it.
    """
    order = sorted(incidents, key=lambda i: (i.state is IncidentState.OPEN, i.updated_s, i.id))
    home: dict[Key, str] = {}
    cleared_at: dict[Target, str] = {}
    for incident in order:
        had = [key_of(symptom) for symptom in _all_of(incident)]
        home |= dict.fromkeys(had, incident.id)
        if not had:
            cleared_at |= dict.fromkeys(incident.targets, incident.id)
    homes: dict[str, list[Symptom]] = {}
    homeless: list[Symptom] = []
    quiet: dict[str, list[Symptom]] = {}
    for key, symptom in live.items():
        cleared = cleared_at.get(symptom.target) if isinstance(symptom, Breach) else None
        found = home.get(key, cleared)
        if found is None:
            homeless.append(symptom)
        elif symptom.severity is Severity.INFO:
            quiet.setdefault(found, []).append(symptom)
        else:
            homes.setdefault(found, []).append(symptom)
    awake = {i.id for i in incidents if i.state is IncidentState.OPEN} | homes.keys()
    for found in awake & quiet.keys():
        homes.setdefault(found, []).extend(quiet.pop(found))
    return homes, quiet, homeless


def _near(incidents: Sequence[Incident], now_s: float, settings: GroupSettings) -> list[int]:
    """Return the indices of the incidents that may be joined, oldest first."""
    near = [
        index
        for index, incident in enumerate(incidents)
        if incident.state is IncidentState.OPEN
        and now_s - incident.updated_s <= settings.group_window_s
    ]
    return sorted(near, key=lambda index: (incidents[index].opened_s, incidents[index].id))


def _absorbed(incident: Incident, by: str, now_s: float) -> Incident:
    """Return an incident that turned out to be part of another one, which has its symptoms."""
    return replace(
        incident,
        state=IncidentState.RESOLVED,
        resolved_s=now_s,
        title=f"Part of incident {by}: {incident.title}",
        breaches=(),
        part_of=by,
    )


def _opened(incident_id: str, now_s: float) -> Incident:
    return Incident(
        id=incident_id,
        state=IncidentState.OPEN,
        severity=Severity.INFO,
        opened_s=now_s,
        updated_s=now_s,
        resolved_s=None,
        title="",
        targets=(),
        jobs=(),
    )


def _updated(incident: Incident, seen: Sequence[Symptom], places: Places, now_s: float) -> Incident:
    """Return the incident with what was seen of it now; its breaches are those seen now only."""
    breaches = tuple(symptom for symptom in seen if isinstance(symptom, Breach))
    if not seen:
        return replace(incident, breaches=()) if incident.breaches else incident
    past: list[Symptom] = [*incident.anomalies, *incident.events]
    record = {key_of(symptom): symptom for symptom in past}
    for symptom in seen:
        if not isinstance(symptom, Breach):
            key = key_of(symptom)
            record[key] = _merged(record[key], symptom) if key in record else symptom
    ordered = [record[key] for key in sorted(record, key=_place)]
    reopens = incident.state is IncidentState.RESOLVED
    is_loud = any(symptom.severity is not Severity.INFO for symptom in seen)
    targets = tuple(sorted({*incident.targets, *(s.target for s in seen)}, key=PARTS))
    return replace(
        incident,
        state=IncidentState.OPEN,
        severity=max(
            (incident.severity, *(symptom.severity for symptom in seen)),
            key=lambda severity: severity.rank,
        ),
        # Information keeps no incident open.
        updated_s=now_s if is_loud else incident.updated_s,
        resolved_s=None,
        title=title([*ordered, *breaches], targets, places),
        targets=targets,
        jobs=_jobs(incident, targets, places),
        anomalies=tuple(item for item in ordered if isinstance(item, Anomaly)),
        events=tuple(item for item in ordered if isinstance(item, Event)),
        breaches=tuple(sorted(breaches, key=lambda each: _place(key_of(each)))),
        reopened=incident.reopened + reopens,
        part_of="",
    )


def _settled(incident: Incident, now_s: float, settings: GroupSettings) -> Incident:
    """Resolve an open incident that has been without a live symptom for long enough."""
    if incident.state is not IncidentState.OPEN:
        return incident
    if now_s - incident.updated_s < settings.resolve_after_s:
        return incident
    return replace(incident, state=IncidentState.RESOLVED, resolved_s=now_s)


def _jobs(incident: Incident, targets: Sequence[Target], places: Places) -> tuple[str, ...]:
    """Return the jobs touched so far: a job that has left the node was still touched."""
    found = {job for target in targets for job in places.jobs_on(target)}
    return tuple(sorted({*incident.jobs, *found}))


def _merged(before: Symptom, now: Symptom) -> Symptom:
    """Return the newer symptom, as bad as the worse; an anomaly keeps its first start.

    Of what a log and a gauge tell together, only the log names the jobs that it hits.
    """
    older, newer = (before, now) if _time_s(before) <= _time_s(now) else (now, before)
    worst = max((older.severity, newer.severity), key=lambda severity: severity.rank)
    if isinstance(newer, Anomaly) and isinstance(older, Anomaly):
        return replace(newer, start_s=min(older.start_s, newer.start_s), severity=worst)
    is_one = _time_s(newer) - _time_s(older) <= SAME_S
    if is_one and isinstance(newer, Event) and isinstance(older, Event):
        newer = replace(newer, text=hitting_as(newer.text, older.text))
    return newer if newer.severity is worst else replace(newer, severity=worst)


def _all_of(incident: Incident) -> tuple[Symptom, ...]:
    return (*incident.anomalies, *incident.events, *incident.breaches)


def _time_s(symptom: Symptom) -> float:
    match symptom:
        case Anomaly():
            return symptom.end_s
        case Event():
            return symptom.time_s
        case Breach():
            return symptom.made_at_s
