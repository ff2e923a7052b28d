"""An incident in words: the symptom that hurts most, and whom it hurts."""

from core.cluster import ClusterState
from core.durations import lasting
from core.types import Anomaly, Breach, Event, Incident
from core.units import CATALOG
from rca.words import say_metric, say_target, say_value

_SHOWN = 6


def say_failure(incident: Incident) -> str:
    """Return the symptom that hurts most: a critical one before the earliest one."""
    symptoms: list[Event | Anomaly | Breach] = [
        *incident.events,
        *incident.anomalies,
        *incident.breaches,
    ]
    said = [(-item.severity.rank, _when(item), _say_symptom(item)) for item in symptoms]
    return min(said)[2] if said else incident.title


def _when(symptom: Event | Anomaly | Breach) -> float:
    match symptom:
        case Event():
            return symptom.time_s
        case Anomaly():
            return symptom.start_s
        case Breach():
            return symptom.expected_s


def _say_symptom(symptom: Event | Anomaly | Breach) -> str:
    where = say_target(symptom.target)
    match symptom:
        case Event():
            code = f" {symptom.code}" if symptom.code else ""
            return f"{where}: {symptom.text or symptom.kind + code}"
        case Anomaly():
            value = say_value(symptom.metric, symptom.value)
            return f"{where}: {say_metric(symptom.metric)} is {value}, {_say_band(symptom)}"
        case Breach():
            wait = lasting(symptom.expected_s - symptom.made_at_s)
            return (
                f"{where}: {say_metric(symptom.metric)} crosses "
                f"{say_value(symptom.metric, symptom.limit)} in {wait} "
                f"(p = {symptom.probability:.2f})"
            )


def _say_band(anomaly: Anomaly) -> str:
    """Say what the reading should be; a side that is as wide as the metric itself says nothing."""
    low, high = (say_value(anomaly.metric, v) for v in (anomaly.lower, anomaly.upper))
    known = CATALOG.get(anomaly.metric)
    if known and anomaly.lower <= known.low < anomaly.upper < known.high:
        return f"should be at most {high}"
    if known and known.low < anomaly.lower < known.high <= anomaly.upper:
        return f"should be at least {low}"
    return f"usually {low} to {high}"


def say_jobs(incident: Incident, state: ClusterState | None) -> str:
    """Say which jobs are touched, of what size, and for how long."""
    lasted = lasting(incident.updated_s - incident.opened_s)
    if not incident.jobs:
        return f"no job is touched so far; open for {lasted}"
    jobs = ", ".join(incident.jobs[:_SHOWN])
    more = len(incident.jobs) - _SHOWN
    jobs += f" and {more} more" if more > 0 else ""
    noun = "job" if len(incident.jobs) == 1 else "jobs"
    found = [state.job(job) for job in incident.jobs] if state is not None else []
    gpus = sum(job.gpus for job in found if job is not None)
    size = f" with {gpus} GPUs" if gpus else ""
    return f"{noun} {jobs}{size}, for {lasted}"
