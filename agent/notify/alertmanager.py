"""Incidents as alerts in a team's Alertmanager, so that its routes, silences and inhibitions hold.

An alert lives there only as long as someone repeats it: each cycle sends every open incident with
an end three cycles ahead, so that alerts of a controller that dies end by themselves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.notify.envelope import Sender, incident_labels, incident_url
from agent.notify.findings import annotations
from agent.notify.labels import alert_labels
from agent.notify.post import Address, post
from agent.times import rfc3339
from core.clock import Clock
from core.ports import Delivery, DeliveryStatus
from core.types import Diagnosis, Incident, IncidentState

PATH = "/api/v2/alerts"
LIVE_CYCLES = 3
RESOLVED_FOR_S = 900.0  # how long Prometheus repeats a resolved alert: 15 min, rules/alerting.go
MAX_INCIDENTS = 1000


@dataclass(frozen=True, slots=True)
class AlertmanagerSettings:
    """address: of ``/api/v2/alerts``; see ``alerts_url``; cycle_s: seconds between two calls."""

    address: Address
    cycle_s: float
    token: str = ""


def alerts_url(base: str) -> str:
    """Return where an Alertmanager at ``base`` takes alerts."""
    return base.rstrip("/") + PATH


class Alertmanager:
    """Repeats the open incidents and the newly resolved ones; keeps nothing itself."""

    def __init__(self, settings: AlertmanagerSettings, *, sender: Sender, clock: Clock) -> None:
        self._settings = settings
        self._sender = sender
        self._clock = clock

    async def push(
        self, incidents: Sequence[Incident], diagnoses: Mapping[str, Diagnosis]
    ) -> Delivery:
        """Send the incidents as they are now; a failure mends itself with the next cycle's call."""
        now_s = self._clock.now_s()
        alerts = [
            self._alert(incident, diagnoses.get(incident.id), now_s=now_s)
            for incident in incidents
            if incident.state is IncidentState.OPEN or _end_s(incident) > now_s - RESOLVED_FOR_S
        ][:MAX_INCIDENTS]
        if not alerts:
            return Delivery(DeliveryStatus.DELIVERED, "no incident to tell")
        headers = {"content-type": "application/json"}
        if self._settings.token:
            headers["authorization"] = f"Bearer {self._settings.token}"
        body = json.dumps(alerts, allow_nan=False).encode("ascii")
        return await post(self._settings.address, body, headers=headers, now_s=now_s)

    def _alert(
        self, incident: Incident, diagnosis: Diagnosis | None, *, now_s: float
    ) -> dict[str, Any]:
        """Return one alert per incident: its place is where it began, so the labels stay put."""
        is_open = incident.state is IncidentState.OPEN
        ends_s = now_s + LIVE_CYCLES * self._settings.cycle_s if is_open else _end_s(incident)
        first = alert_labels(incident.targets[0]) if incident.targets else {}
        jobs = {"jobs": ", ".join(incident.jobs)} if incident.jobs else {}
        return {
            "labels": {**first, **incident_labels(incident, self._sender)},
            "annotations": {"summary": incident.title, **annotations(diagnosis), **jobs},
            "startsAt": rfc3339(incident.opened_s),
            "endsAt": rfc3339(ends_s),
            "generatorURL": incident_url(incident.id, self._sender),
        }


def _end_s(incident: Incident) -> float:
    return incident.resolved_s if incident.resolved_s is not None else incident.updated_s
