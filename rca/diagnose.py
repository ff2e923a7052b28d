"""An incident to its diagnosis, in milliseconds and without ever failing on odd data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.cluster import ClusterState
from core.types import Diagnosis, Incident, Window
from rca.posterior.case import Case, open_case
from rca.posterior.rank import RankSettings, rank
from rca.posterior.standing import Spans

METHOD = "residual-cascade-1"


@dataclass(frozen=True, slots=True)
class DiagnoseSettings:
    """What counts as normal, and the calibration.

    normal_span_s: readings this long before the onset are normal
    guard_s:       readings this long before the onset are neither, because what creeps is
                   detected minutes late
    abnormal_s:    readings later than this after the onset say more of the aftermath
    """

    normal_span_s: float = 3600.0
    guard_s: float = 600.0
    abnormal_s: float = 600.0
    rank: RankSettings = field(default_factory=RankSettings)


def diagnose(
    incident: Incident,
    windows: Mapping[str, Window],
    state: ClusterState | None,
    *,
    now_s: float,
    settings: DiagnoseSettings,
) -> Diagnosis:
    """Return the causes of an incident, likeliest first, and the share of "unknown".

    windows: metric -> readings, any subset of the catalogue, the longer before the onset the
    better (``normal_span_s`` is used); missing, constant or unusable series only weaken the
    answer. Probabilities and ``unknown`` sum to 1. Same input, same answer, in whatever order the
    series come.
    """
    with np.errstate(all="ignore"):
        case = case_of(incident, windows, state, now_s=now_s, settings=settings)
        ranking = rank(case, settings.rank)
    return Diagnosis(
        incident_id=incident.id,
        made_at_s=now_s,
        causes=ranking.causes,
        unknown=ranking.unknown,
        method=METHOD,
        missing=ranking.missing,
    )


def case_of(
    incident: Incident,
    windows: Mapping[str, Window],
    state: ClusterState | None,
    *,
    now_s: float,
    settings: DiagnoseSettings,
) -> Case:
    """Return what a diagnosis of the incident, or its reference, is made from."""
    spans = _spans(incident, now_s=now_s, settings=settings)
    # Readings may hold anything: an overflow or 0/0 in one series must not stop the others.
    with np.errstate(all="ignore"):
        return open_case(incident, windows, state, spans=spans)


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
