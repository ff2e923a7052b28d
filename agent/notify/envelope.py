"""The body of an outgoing webhook: Alertmanager's envelope, version 4, with a ``gpumedic`` key.

Any receiver of Alertmanager's webhooks understands the envelope; the extra key says all that is
known, in the form that docs/webhook.schema.json describes. Pure: same notification, same bytes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from agent.notify.findings import (
    annotations,
    cause_json,
    diagnosis_json,
    number,
    target_json,
)
from agent.notify.labels import SOURCE, alert_labels, alert_name, camel, fingerprint
from agent.times import NOT_ENDED, rfc3339
from core.ports import Announcement, Notification
from core.target import Target
from core.types import (
    Action,
    Breach,
    Incident,
    IncidentState,
    Outcome,
    PlanRecord,
    PlanState,
    Severity,
)
from core.units import CATALOG

SCHEMA = 1
MAX_ALERTS = 50  # a rack switch takes 100s of targets down: the rest is counted, not sent
MAX_SYMPTOMS = 50
INTERVAL_COVERAGE = 0.8  # of Breach.earliest_s .. latest_s, see core.types


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks: the cluster's name and where its page is reached, without a slash at the end."""

    cluster: str
    external_url: str


def body(notification: Notification, sender: Sender, *, receiver: str) -> bytes:
    """Return the JSON to send; ASCII only, so that odd text from outside cannot break it."""
    document = envelope(notification, sender, receiver=receiver)
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode("ascii")


def envelope(notification: Notification, sender: Sender, *, receiver: str) -> dict[str, Any]:
    """Return the whole message as plain JSON values; a number nobody knows is null."""
    incident = notification.incident
    resolved = incident is not None and incident.state is IncidentState.RESOLVED
    common = common_labels(notification, sender)
    links = _links(notification, sender)
    targets = incident.targets if incident else ()
    return {
        "version": "4",
        "status": "resolved" if resolved else "firing",
        "receiver": receiver,
        "groupKey": f"{SOURCE}/incident/{incident.id}" if incident else f"{SOURCE}/system",
        "truncatedAlerts": max(0, len(targets) - MAX_ALERTS),
        "groupLabels": {"incident": incident.id} if incident else {},
        "commonLabels": common,
        "commonAnnotations": {
            "summary": notification.summary,
            **annotations(notification.diagnosis),
        },
        "externalURL": links["page"],
        "alerts": [
            _alert(notification, target, common=common, url=links["page"])
            for target in targets[:MAX_ALERTS] or (Target(),)
        ],
        "gpumedic": _extra(notification, sender, links=links),
    }


def common_labels(notification: Notification, sender: Sender) -> dict[str, str]:
    """Return the labels all alerts of the message share."""
    if (incident := notification.incident) is None:
        name = camel(f"{SOURCE}.{notification.announcement}")
        return _labels(name, Severity.INFO, cluster=sender.cluster)
    return incident_labels(incident, sender)


def incident_labels(incident: Incident, sender: Sender) -> dict[str, str]:
    """Return what tells an incident's alerts from others; only its severity ever changes."""
    labels = _labels(alert_name(incident), incident.severity, cluster=sender.cluster)
    return {**labels, "incident": incident.id}


def incident_url(incident_id: str, sender: Sender) -> str:
    """Return the incident's page."""
    return f"{sender.external_url}/incidents/{quote(incident_id, safe='')}"


def _labels(name: str, severity: Severity, *, cluster: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, "cluster": cluster, "source": SOURCE}


def _links(notification: Notification, sender: Sender) -> dict[str, str]:
    page = f"{sender.external_url}/"
    if notification.incident:
        page = incident_url(notification.incident.id, sender)
    if notification.plan is None:
        return {"page": page}
    plan_id = quote(notification.plan.plan.id, safe="")
    links = {"page": page, "plan": f"{sender.external_url}/plans/{plan_id}"}
    if notification.plan.state is PlanState.PROPOSED:
        api = f"{sender.external_url}/v1/plans/{plan_id}"
        links |= {"approve": f"{api}/approve", "deny": f"{api}/deny"}
    if notification.announcement is Announcement.PERSON_PAGED:
        links["acknowledge"] = f"{sender.external_url}/v1/plans/{plan_id}/acknowledge"
    return links


def _alert(
    notification: Notification, target: Target, *, common: dict[str, str], url: str
) -> dict[str, Any]:
    incident = notification.incident
    starts_s = incident.opened_s if incident else notification.time_s
    ended = incident is not None and incident.state is IncidentState.RESOLVED
    ends_s = (incident.resolved_s or incident.updated_s) if incident and ended else None
    labels = {**common, **alert_labels(target)}
    return {
        "status": "resolved" if ended else "firing",
        "labels": labels,
        "annotations": {"summary": incident.title if incident else notification.summary},
        "startsAt": rfc3339(starts_s),
        "endsAt": rfc3339(ends_s) or NOT_ENDED,
        "generatorURL": url,
        "fingerprint": fingerprint(labels),
    }


def _extra(notification: Notification, sender: Sender, *, links: dict[str, str]) -> dict[str, Any]:
    diagnosis, incident = notification.diagnosis, notification.incident
    return {
        "schema": SCHEMA,
        "event": notification.announcement.value,
        "id": notification.id,
        "time": rfc3339(notification.time_s),
        "cluster": sender.cluster,
        "summary": notification.summary,
        "incident": incident and _incident(incident),
        "diagnosis": diagnosis and diagnosis_json(diagnosis),
        "causes": [cause_json(cause) for cause in diagnosis.causes] if diagnosis else [],
        "plan": notification.plan and _plan(notification.plan),
        "forecast": _forecast(notification),
        "links": links,
    }


def _incident(incident: Incident) -> dict[str, Any]:
    symptoms = list(_symptoms(incident))
    return {
        "id": incident.id,
        "state": incident.state.value,
        "severity": incident.severity.value,
        "title": incident.title,
        "opened": rfc3339(incident.opened_s),
        "updated": rfc3339(incident.updated_s),
        "resolved": rfc3339(incident.resolved_s),
        "reopened": incident.reopened,
        "targets": [target_json(target) for target in incident.targets[:MAX_ALERTS]],
        "target_count": len(incident.targets),
        "jobs": list(incident.jobs),
        "symptoms": symptoms[:MAX_SYMPTOMS],
        "symptom_count": len(symptoms),
    }


def _symptoms(incident: Incident) -> Iterable[dict[str, Any]]:
    for event in incident.events:
        yield _symptom("event", event.target, event.code, time_s=event.time_s, text=event.text)
    for breach in incident.breaches:
        text = f"expected to reach {breach.limit:g}, probability {breach.probability:.2f}"
        yield _symptom("breach", breach.target, breach.metric, time_s=breach.made_at_s, text=text)
    for odd in incident.anomalies:
        yield _symptom("anomaly", odd.target, odd.metric, time_s=odd.start_s, text=odd.text)


def _symptom(kind: str, target: Target, name: str, *, time_s: float, text: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "target": target_json(target),
        "name": name,
        "time": rfc3339(time_s),
        "text": text,
    }


def _plan(record: PlanRecord) -> dict[str, Any]:
    plan = record.plan
    return {
        "id": plan.id,
        "state": record.state.value,
        "mode": record.mode.value,
        "made_at": rfc3339(plan.made_at_s),
        "expires": rfc3339(plan.expires_s),
        "step": record.step,
        "decided_by": record.decided_by,
        "cause": cause_json(plan.cause),
        "actions": [_action(action) for action in plan.actions],
        "rationale": plan.rationale,
        "lost_gpu_s_with": number(plan.lost_gpu_s_with),
        "lost_gpu_s_without": number(plan.lost_gpu_s_without),
        "policy": plan.policy,
        "policy_version": plan.policy_version,
        "refusals": [
            {"guard": no.guard, "reason": no.reason, "remedy": no.remedy} for no in record.refusals
        ],
        "outcomes": [_outcome(outcome) for outcome in record.outcomes],
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "kind": action.kind,
        "target": target_json(action.target),
        "params": {
            name: number(value) if isinstance(value, float) else value
            for name, value in action.params
        },
        "deadline_s": number(action.deadline_s),
        "inverse": action.inverse or None,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "action": outcome.action.kind,
        "target": target_json(outcome.action.target),
        "status": outcome.status.value,
        "started": rfc3339(outcome.started_s),
        "ended": rfc3339(outcome.ended_s),
        "text": outcome.text,
        "verified": outcome.verified,
        "symptom_before": number(outcome.symptom_before),
        "symptom_after": number(outcome.symptom_after),
        "lost_gpu_s": number(outcome.lost_gpu_s),
    }


def _forecast(notification: Notification) -> dict[str, Any] | None:
    """Return the breach that is expected first; the incident's symptoms list them all."""
    incident = notification.incident
    if incident is None or not incident.breaches:
        return None
    breach: Breach = min(incident.breaches, key=lambda each: each.expected_s)
    metric = CATALOG.get(breach.metric)
    return {
        "metric": breach.metric,
        "unit": metric.unit if metric else "",
        "target": target_json(breach.target),
        "value": number(breach.value),
        "limit": number(breach.limit),
        "probability": number(breach.probability),
        "made_at": rfc3339(breach.made_at_s),
        "horizon_s": number(breach.horizon_s),
        "expected": rfc3339(breach.expected_s),
        "earliest": rfc3339(breach.earliest_s),
        "latest": rfc3339(breach.latest_s),
        "interval_coverage": INTERVAL_COVERAGE,
        "model": breach.model,
        "skill": number(breach.skill),
    }


TEST_SUMMARY = "A test message of gpumedic: the receiver is reached and nothing is wrong."


def trial_notification(message_id: str, now_s: float) -> Notification:
    """Return what ``gpumedic notify test`` sends."""
    return Notification(message_id, Announcement.TEST, now_s, TEST_SUMMARY)
