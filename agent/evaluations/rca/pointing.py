"""Somebody points at a series that looks odd: what a rule of three sigmas would raise."""

import numpy as np

from agent.evaluations.play import STEP_S, Play
from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Incident, IncidentState, Severity

_SPAN_S, _LATELY, _SIGMAS = 3600.0, 20, 3.0
_NO_GAUGE = "_total"


def pointed_at(play: Play, topology: Topology, random: np.random.Generator) -> Incident | None:
    """Return an incident of one odd reading, drawn from the odd ones of the last five minutes."""
    now_s = play.world.now_s
    last = np.floor(now_s / STEP_S) * STEP_S
    time_s = np.arange(last - _SPAN_S, last + STEP_S / 2, STEP_S)
    found: list[Anomaly] = []
    for metric, window in play.read(time_s).items():
        if metric.endswith(_NO_GAUGE):
            continue
        usual, late = window.value[:, :-_LATELY], window.value[:, -_LATELY:]
        known = np.isfinite(usual).all(axis=1) & np.isfinite(late).all(axis=1)
        mean, sd = usual.mean(axis=1), usual.std(axis=1)
        far = np.abs(late - mean[:, None]) > _SIGMAS * sd[:, None]
        for row in np.flatnonzero(known & (sd > 0) & far.any(axis=1)):
            column = int(np.argmax(far[row]))
            begun_s = float(time_s[len(time_s) - _LATELY + column])
            found.append(
                Anomaly(
                    target=window.targets[row],
                    metric=metric,
                    start_s=begun_s,
                    end_s=now_s,
                    value=float(late[row, column]),
                    lower=float(mean[row] - _SIGMAS * sd[row]),
                    upper=float(mean[row] + _SIGMAS * sd[row]),
                    score=1.0,
                    detector="three-sigma",
                    severity=Severity.WARNING,
                    text=f"{metric} is out of the ordinary",
                )
            )
    if not found:
        return None
    return _incident(found[int(random.integers(len(found)))], topology, now_s)


def _incident(anomaly: Anomaly, topology: Topology, now_s: float) -> Incident:
    return Incident(
        id="pointed",
        state=IncidentState.OPEN,
        severity=Severity.WARNING,
        opened_s=anomaly.start_s,
        updated_s=now_s,
        resolved_s=None,
        title=anomaly.text,
        targets=(anomaly.target,),
        jobs=_jobs(anomaly.target, topology),
        anomalies=(anomaly,),
    )


def _jobs(target: Target, topology: Topology) -> tuple[str, ...]:
    return (target.job,) if target.job else tuple(topology.jobs_on(target))
