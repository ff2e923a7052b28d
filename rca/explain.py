"""A diagnosis in sentences for people: root cause, failure, impact, for, against, missing."""

from dataclasses import dataclass

from core.cluster import ClusterState
from core.types import Anomaly, Breach, Cause, Diagnosis, Event, Incident
from rca.faults.catalogue import FAULTS
from rca.words import say_duration, say_metric, say_target, say_value

_SHOWN = 4
_WORTH_NAMING = 0.01
_LIKELY = 0.5  # below this no cause is called the root cause


@dataclass(frozen=True, slots=True)
class Explanation:
    """What to tell a person; every entry is a sentence or a clause of one."""

    root_cause: str
    critical_failure: str
    impact: str
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]
    missing: tuple[str, ...]
    other_causes: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """Return it as text, one heading a line."""
        rows = (
            ("Root cause", self.root_cause),
            ("Critical failure", self.critical_failure),
            ("Impact", self.impact),
            ("For", "; ".join(self.speaks_for) or "nothing measured"),
            ("Against", "; ".join(self.speaks_against) or "none found"),
            ("Missing", "; ".join(self.missing) or "nothing that would decide it"),
            ("Other causes", "; ".join(self.other_causes) or "none worth naming"),
        )
        return tuple(f"{heading:<17} {text}" for heading, text in rows)


def explain(
    incident: Incident, diagnosis: Diagnosis, state: ClusterState | None = None
) -> Explanation:
    """Put an incident and its diagnosis into words; needs nothing but these values."""
    best = diagnosis.causes[0] if diagnosis.causes else None
    evidence = best.evidence if best else ()
    return Explanation(
        root_cause=_say_root(best, diagnosis.unknown),
        critical_failure=_say_failure(incident),
        impact=_say_impact(incident, state),
        speaks_for=tuple(item.text for item in evidence if item.weight > 0)[:_SHOWN],
        speaks_against=tuple(
            item.text for item in evidence if item.weight < 0 and "usual" not in item.text
        )[:_SHOWN],
        missing=diagnosis.missing,
        other_causes=tuple(
            _say_cause(cause)
            for cause in diagnosis.causes[1:_SHOWN]
            if cause.probability >= _WORTH_NAMING
        ),
    )


def _say_cause(cause: Cause) -> str:
    known = FAULTS.get(cause.fault)
    text = known.text if known else cause.fault
    return f"{say_target(cause.target)}: {text} (p = {cause.probability:.2f})"


def _say_root(best: Cause | None, unknown: float) -> str:
    if best is None:
        return "not known: no reading is out of order and no event names a fault"
    if best.probability < _LIKELY:
        return f"not certain (unknown {unknown:.2f}); likeliest {_say_cause(best)}"
    return _say_cause(best)


def _say_failure(incident: Incident) -> str:
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
            low, high = (say_value(symptom.metric, v) for v in (symptom.lower, symptom.upper))
            return (
                f"{where}: {say_metric(symptom.metric)} is "
                f"{say_value(symptom.metric, symptom.value)}, usually {low} to {high}"
            )
        case Breach():
            wait = say_duration(symptom.expected_s - symptom.made_at_s)
            return (
                f"{where}: {say_metric(symptom.metric)} crosses "
                f"{say_value(symptom.metric, symptom.limit)} in {wait} "
                f"(p = {symptom.probability:.2f})"
            )


def _say_impact(incident: Incident, state: ClusterState | None) -> str:
    lasted = say_duration(incident.updated_s - incident.opened_s)
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
