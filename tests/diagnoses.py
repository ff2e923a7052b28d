"""Diagnoses made by hand, one of each kind of answer, and the readings along a path."""

from dataclasses import replace

import numpy as np

from core.faults import FaultClass
from core.target import Target
from core.types import (
    Anomaly,
    Cause,
    Check,
    Diagnosis,
    Evidence,
    Hop,
    Incident,
    IncidentState,
    RuledOut,
    Severity,
    Window,
)
from rca.hops import HopSeries, hop_series

NOW_S = 1_795_183_331.0  # 2026-11-20T14:02:11Z
ONSET_S = NOW_S - 1200.0
STEP_S = 15.0
NODE = Target(node="node-13")
GPU = Target(node="node-13", gpu="GPU-3b346151-3da1-97f6-7303-5dfbe863741b")
RANK = Target(job="llm-8b", rank="9")
JOB = Target(job="llm-8b")
VOLUME = Target(volume="/data")

# What moved on the way from the air at the inlet to the job: metric, from, to, after seconds.
_HOPS = (
    (NODE, "node_inlet_temperature_celsius", 24.0, 41.0, 0.0),
    (GPU, "gpu_temperature_celsius", 63.0, 88.0, 75.0),
    (GPU, "gpu_sm_clock_hz", 1.98e9, 1.32e9, 120.0),
    (RANK, "rank_step_time_s", 2.1, 2.9, 135.0),
    (JOB, "job_step_time_s", 2.2, 3.04, 150.0),
)


def slow_job() -> Incident:
    """A job whose step takes longer than it did."""
    slow = Anomaly(
        target=JOB,
        metric="job_step_time_s",
        start_s=ONSET_S + 180,
        end_s=NOW_S,
        value=3.04,
        lower=2.1,
        upper=2.4,
        score=1.0,
        detector="progress",
        severity=Severity.WARNING,
        text="the step takes 3.04 s",
    )
    return Incident(
        id="inc-7",
        state=IncidentState.OPEN,
        severity=Severity.WARNING,
        opened_s=ONSET_S + 240,
        updated_s=NOW_S,
        resolved_s=None,
        title="job llm-8b is slower than it was",
        targets=(JOB,),
        jobs=("llm-8b",),
        anomalies=(slow,),
    )


def path() -> tuple[Hop, ...]:
    """From a fan that failed to the job that waits for its hottest GPU."""
    sigmas = (15.2, 12.4, -9.8, 7.7, 7.1)
    return tuple(
        Hop(target, metric, moved, ONSET_S + late_s, usual, level)
        for moved, (target, metric, usual, level, late_s) in zip(sigmas, _HOPS, strict=True)
    )


def cooling() -> Cause:
    """The cause that is named."""
    return Cause(
        target=NODE,
        fault="cooling_degraded",
        probability=0.93,
        evidence=(
            Evidence("air at the inlet 41 °C, normally 24 °C: 15.2 sigma beyond its causes", 4.0),
            Evidence("8 of 8 GPUs of node-13 are hotter than the other 56 of the job", 2.6),
            Evidence("how usual this fault is", -1.2),
            Evidence("no fan of node-13 reports a failure", -0.7),
        ),
        kind=FaultClass.THERMAL,
        persistent=0.9,
        impact=0.84,
        path=path(),
    )


def named() -> Diagnosis:
    """Find one cause, sure of it."""
    slow_gpu = Cause(GPU, "gpu_slow", 0.03, kind=FaultClass.GPU_HARDWARE)
    return Diagnosis(
        incident_id="inc-7",
        made_at_s=NOW_S,
        causes=(cooling(), slow_gpu),
        unknown=0.03,
        method="posterior-2",
        missing=("power of rack r2 (nobody measures it)",),
        no_fault=0.01,
        explained=0.91,
        ruled_out=(
            RuledOut(VOLUME, "storage_slow", "its read latency stayed at 4 ms throughout"),
            RuledOut(JOB, "software_error", "no process of the job ended"),
        ),
        checks=(
            Check(NODE, "read the fans' speed (ipmitool sdr type fan)", 1.1),
            Check(Target(rack="r2"), "compare the inlets of the other nodes", 0.4),
        ),
        run_s=0.0042,
    )


def several() -> Diagnosis:
    """Two faults at once: each has its part of the symptom."""
    storage = Cause(
        VOLUME,
        "storage_slow",
        0.46,
        kind=FaultClass.STORAGE,
        persistent=0.2,
        impact=0.38,
        beside=True,
    )
    both = (replace(cooling(), probability=0.5, impact=0.55), storage)
    return replace(named(), causes=both, unknown=0.03, explained=0.93, ruled_out=())


def no_fault() -> Diagnosis:
    """Nothing is broken: the load changed."""
    return replace(
        named(),
        causes=(replace(cooling(), probability=0.04, path=(), impact=None),),
        unknown=0.05,
        no_fault=0.91,
        explained=None,
        missing=(),
        calm="the job does something else now",
        calm_evidence=(
            Evidence("a checkpoint began with the slow steps and ends with them", 3.2),
            Evidence("2 symptoms came together", -0.3),
        ),
    )


def unknown() -> Diagnosis:
    """Too much is missing to name anything."""
    unlikely = replace(cooling(), probability=0.21, path=path()[2:], impact=None)
    missing = ("air at the inlet (nobody measures it)", "board power (nobody measures it)")
    return replace(
        named(), causes=(unlikely,), unknown=0.72, no_fault=0.07, explained=None, missing=missing
    )


def uncertain() -> Diagnosis:
    """Two rivals, either of which would explain it all."""
    first = replace(cooling(), probability=0.45, persistent=0.5, impact=0.95)
    rival = Cause(GPU, "gpu_slow", 0.4, kind=FaultClass.GPU_HARDWARE, impact=0.95)
    return replace(named(), causes=(first, rival), unknown=0.14, explained=0.97)


ANSWERS = {
    "named": named,
    "several": several,
    "no_fault": no_fault,
    "unknown": unknown,
    "uncertain": uncertain,
}


def hops(*, seed: int = 7) -> tuple[HopSeries, ...]:
    """Return the readings along ``path``: calm for 50 min, then each creeps to its new level."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(ONSET_S - 3000, NOW_S, STEP_S)
    found = []
    for hop, (target, metric, usual, level, late_s) in zip(path(), _HOPS, strict=True):
        ramp = np.clip((time_s - ONSET_S - late_s) / 240.0, 0, 1)
        value = usual + (level - usual) * ramp + rng.normal(0, abs(level - usual) / 25, len(time_s))
        value[40:44] = np.nan
        window = Window(metric, (target,), time_s, value[None])
        found.append(
            hop_series(hop, window, normal_until_s=ONSET_S - 120, shown_from_s=ONSET_S - 1200)
        )
    return tuple(found)
