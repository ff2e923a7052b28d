"""An incident to its diagnosis, whatever its readings hold; each answer says how long it took."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.cluster import ClusterState
from core.types import Cause, Diagnosis, Event, Incident, Window
from rca.account import calm, checks, leading, paths, ruled_out
from rca.faults.catalogue import FAULTS, Sign, persistence
from rca.knowledge import DEFAULT, Knowledge
from rca.posterior.case import Case, open_case
from rca.posterior.hypothesis import Hypothesis
from rca.posterior.impact import explained_share, impacts
from rca.posterior.rank import rank
from rca.posterior.standing import Spans
from rca.posterior.weights import Weights, fitted

METHOD = "residual-cascade-2"


@dataclass(frozen=True, slots=True)
class DiagnoseSettings:
    """What counts as normal, and the calibration.

    normal_span_s: readings this long before the onset are normal
    guard_s:       readings this long before the onset are neither, because what creeps is
                   detected minutes late
    abnormal_s:    readings later than this after the onset say more of the aftermath
    weights:       of the kinds of evidence; None: as fitted
    """

    normal_span_s: float = 3600.0
    guard_s: float = 600.0
    abnormal_s: float = 600.0
    weights: Weights | None = None


def diagnose(
    incident: Incident,
    windows: Mapping[str, Window],
    state: ClusterState | None,
    *,
    now_s: float,
    settings: DiagnoseSettings,
    knowledge: Knowledge = DEFAULT,
    told: tuple[Event, ...] = (),
) -> Diagnosis:
    """Return the causes of an incident, likeliest first, and the shares of "unknown" and none.

    windows: metric -> readings, any subset of the catalogue, the longer before the onset the
    better (``normal_span_s`` is used); missing, constant or unusable series only weaken the
    answer. told: what was said lately and is no symptom (planned work, a new driver); it explains.
    Probabilities, ``unknown`` and ``no_fault`` sum to 1. Same input, same answer, in whatever
    order the series come.
    """
    begun_s = time.perf_counter()
    weights = settings.weights or fitted()
    with np.errstate(all="ignore"):
        case = case_of(
            incident, windows, state, now_s=now_s, settings=settings, knowledge=knowledge, told=told
        )
        ranking = rank(case, weights)
        ways = paths(case, ranking)
        parts = impacts(case, ranking.kept)
        explained = explained_share(case, leading(ranking))
    causes = tuple(
        replace(_cause(item, share, weights), path=way, impact=part)
        for item, share, way, part in zip(
            ranking.kept, ranking.share.tolist(), ways, parts, strict=True
        )
    )
    calm_text, calm_evidence = calm(ranking, weights)
    return Diagnosis(
        incident_id=incident.id,
        made_at_s=now_s,
        causes=causes,
        unknown=ranking.unknown,
        method=METHOD,
        missing=ranking.missing,
        no_fault=ranking.no_fault,
        explained=explained,
        ruled_out=ruled_out(ranking, weights),
        checks=checks(ranking),
        calm=calm_text,
        calm_evidence=calm_evidence,
        run_s=time.perf_counter() - begun_s,
    )


def _cause(item: Hypothesis, share: float, weights: Weights) -> Cause:
    signs = [Sign(item.fault, note.value, note.stays) for note in item.notes]
    return Cause(
        target=item.target,
        fault=item.fault,
        probability=share,
        evidence=item.evidence(weights.of),
        kind=FAULTS[item.fault].kind,
        persistent=persistence(item.fault, signs),
        beside=item.beside,
    )


def case_of(
    incident: Incident,
    windows: Mapping[str, Window],
    state: ClusterState | None,
    *,
    now_s: float,
    settings: DiagnoseSettings,
    knowledge: Knowledge = DEFAULT,
    told: tuple[Event, ...] = (),
) -> Case:
    """Return what a diagnosis of the incident, or its reference, is made from."""
    spans = _spans(incident, now_s=now_s, settings=settings)
    # Readings may hold anything: an overflow or 0/0 in one series must not stop the others.
    with np.errstate(all="ignore"):
        return open_case(incident, windows, state, spans=spans, knowledge=knowledge, told=told)


def _spans(incident: Incident, *, now_s: float, settings: DiagnoseSettings) -> Spans:
    """Date the onset at the first symptom; an expected breach has none yet."""
    began = [item.start_s for item in incident.anomalies] + [e.time_s for e in incident.events]
    onset_s = min([moment for moment in began if np.isfinite(moment)], default=now_s)
    onset_s = min(onset_s, now_s)
    return Spans(
        normal_start_s=onset_s - settings.guard_s - settings.normal_span_s,
        onset_s=onset_s,
        now_s=now_s,
        guard_s=settings.guard_s,
        abnormal_s=settings.abnormal_s,
    )
