"""A diagnosis in a message: as plain JSON values, and as the annotations of an alert."""

import math
from typing import Any

from agent.answer import class_of
from agent.notify.labels import alert_labels
from agent.times import rfc3339
from core.target import Target
from core.types import Cause, Diagnosis, Hop
from rca.explain import say_check, say_root
from rca.verdict import verdict_of

MAX_CHECKS = 10
MAX_RULED_OUT = 10


def annotations(diagnosis: Diagnosis | None) -> dict[str, str]:
    """Return cause, class and the check to make first, as far as known, for people's templates."""
    if diagnosis is None:
        return {}
    said = {"cause": _say(diagnosis), "class": class_of(diagnosis)}
    return {**said, "check": say_check(diagnosis.checks[0])} if diagnosis.checks else said


def _say(diagnosis: Diagnosis) -> str:
    cause = diagnosis.likeliest
    if cause is not None:
        return f"{cause.target}: {cause.fault} (p={cause.probability:.2f})"
    verdict = verdict_of(diagnosis)
    return f"{verdict} (p={max(diagnosis.unknown, diagnosis.no_fault):.2f})"


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis without its causes."""
    return {
        "made_at": rfc3339(diagnosis.made_at_s),
        "method": diagnosis.method,
        "run_s": number(diagnosis.run_s),
        "verdict": verdict_of(diagnosis).value,
        "answer": say_root(diagnosis),
        "unknown": number(diagnosis.unknown),
        "no_fault": number(diagnosis.no_fault),
        "explained": number(diagnosis.explained),
        "missing": list(diagnosis.missing),
        "ruled_out": [
            {"target": target_json(item.target), "fault": item.fault, "why": item.why}
            for item in diagnosis.ruled_out[:MAX_RULED_OUT]
        ],
        "checks": [
            {"target": target_json(item.target), "text": item.text, "gain": number(item.gain)}
            for item in diagnosis.checks[:MAX_CHECKS]
        ],
    }


def cause_json(cause: Cause) -> dict[str, Any]:
    """Return a cause with its evidence and its path."""
    return {
        "target": target_json(cause.target),
        "fault": cause.fault,
        "class": cause.kind.value,
        "probability": number(cause.probability),
        "persistent": number(cause.persistent),
        "impact": number(cause.impact),
        "beside": cause.beside,
        "evidence": [{"text": e.text, "weight": number(e.weight)} for e in cause.evidence],
        "path": [_hop(hop) for hop in cause.path],
    }


def _hop(hop: Hop) -> dict[str, Any]:
    return {
        "target": target_json(hop.target),
        "metric": hop.metric,
        "moved": number(hop.moved),
        "began": None if hop.began_s is None else rfc3339(hop.began_s),
        "usual": number(hop.usual),
        "level": number(hop.level),
        "learned": hop.learned,
    }


def target_json(target: Target) -> dict[str, Any]:
    """Return a target with its name, its kind and its labels."""
    return {"name": str(target), "kind": target.kind.value, "labels": alert_labels(target)}


def number(value: float | None) -> float | None:
    """Return the number, None where nobody knows it."""
    return value if value is not None and math.isfinite(value) else None
