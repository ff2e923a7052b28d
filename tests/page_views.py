"""Views for tests of the page and the API: an empty one, and one in which much is going on."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from agent.view import DemandView, ForecastView, Learned, Pause, View
from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.faults import FaultClass
from core.ports import Problem
from core.target import Target
from core.topology import Topology
from core.types import (
    Action,
    Anomaly,
    Autonomy,
    Breach,
    Cause,
    Check,
    Diagnosis,
    Event,
    Evidence,
    Floats,
    Forecast,
    Hop,
    Incident,
    IncidentState,
    JournalEntry,
    Outcome,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
    Refusal,
    RuledOut,
    Severity,
)

NOW_S = 1_795_183_331.0  # 2026-11-20T14:02:11Z
GPUS_PER_NODE = 8


def empty_view() -> View:
    """What a controller shows before it has heard of anything."""
    return View(
        made_at_s=NOW_S,
        version="0.1.0",
        cluster="default",
        sentence="Starting: no cycle has run yet.",
        pause=None,
        state=None,
        incidents=(),
        diagnoses={},
        plans=(),
        forecasts=(),
        problems=(),
        sources={},
        series=0,
        learning=0,
        nodes_out=0,
        nodes_out_limit=4,
    )


def busy_view(*, racks: int = 4, nodes_per_rack: int = 8, pause: Pause | None = None) -> View:
    """A cluster in which a GPU failed, a volume fills up, a node is dead and a plan waits."""
    state = cluster_state(racks=racks, nodes_per_rack=nodes_per_rack)
    incidents = (gpu_incident(), volume_incident(), thermal_incident())
    return View(
        made_at_s=NOW_S,
        version="0.1.0",
        cluster="helsinki-a",
        sentence="2 incidents open; waiting for approval to drain node-003: row remap failed on "
        "GPU-003-5 (p=0.86), job 88213 is stopped.",
        pause=pause,
        state=state,
        incidents=incidents,
        diagnoses={"inc-41": gpu_diagnosis(), "inc-42": volume_diagnosis()},
        plans=(waiting_plan(), refused_plan(), done_plan()),
        forecasts=(volume_forecast(), memory_forecast(), calm_forecast()),
        problems=(
            Problem(
                "prometheus",
                "stale",
                "Reading gpu_xid_code from prometheus: the newest reading is 4 min old, at most "
                "2 min are used. Check the scrape job dcgm.",
            ),
        ),
        sources={"prometheus": 3.2, "slurm": 1.0, "alertmanager": math.nan},
        learned=(
            Learned(
                gpu_diagnosis().causes[0].fault,
                3,
                1,
                0.2,
                "on this fleet acting on it helped in 3 of 4 cases",
            ),
        ),
        series=4096,
        learning=96,
        nodes_out=1,
        nodes_out_limit=4,
        goodput_ratio=0.941,
        timelines={"inc-41": gpu_timeline(), "inc-42": gpu_timeline()[:2]},
        demand=rising_demand(),
    )


def cluster_state(*, racks: int, nodes_per_rack: int) -> ClusterState:
    count = racks * nodes_per_rack
    names = tuple(f"node-{i:03d}" for i in range(count))
    gpus = tuple(f"GPU-{i:03d}-{g}" for i in range(count) for g in range(GPUS_PER_NODE))
    jobs = _jobs(names)
    ranks = [
        (j, names.index(node) * GPUS_PER_NODE + g)
        for j, job in enumerate(jobs)
        for node in job.nodes
        for g in range(GPUS_PER_NODE)
    ]
    topology = Topology(
        nodes=names,
        racks=tuple(f"rack r{r + 1}" for r in range(racks)),
        switches=(),
        gpus=gpus,
        jobs=tuple(job.id for job in jobs),
        node_rack=np.arange(count) // nodes_per_rack,
        node_switch=np.full(count, -1),
        gpu_node=np.repeat(np.arange(count), GPUS_PER_NODE),
        rank_job=np.array([j for j, _ in ranks], dtype=np.int64),
        rank_gpu=np.array([g for _, g in ranks], dtype=np.int64),
    )
    return ClusterState(NOW_S, topology, tuple(_node(name) for name in names), jobs)


def _node(name: str) -> NodeState:
    ready = NodeState(name, NodeCondition.READY, spare=name.endswith("31"))
    return {
        "node-003": replace(
            ready,
            condition=NodeCondition.CORDONED,
            owner=OWNER,
            reason="row remap failed on GPU-003-5, inc-41",
            since_s=NOW_S - 130,
        ),
        "node-014": replace(
            ready,
            condition=NodeCondition.DRAINED,
            owner="anna",
            reason="PSU swap, ticket 4411",
            since_s=NOW_S - 86400 * 2,
        ),
        "node-021": replace(
            ready,
            condition=NodeCondition.DOWN,
            owner="slurm",
            reason="Not responding",
            since_s=NOW_S - 5400,
        ),
    }.get(name, ready)


def _jobs(names: tuple[str, ...]) -> tuple[JobState, ...]:
    return (
        JobState("88213", JobPhase.STOPPED, names[:8], 64, NOW_S - 150, NOW_S - 1380, 41200, 2),
        JobState("88220", JobPhase.RUNNING, names[8:13], 40, NOW_S - 40000, NOW_S - 600, 9120),
        JobState("88231", JobPhase.RUNNING, names[16:20], 32, NOW_S - 7000, None, 310),
        JobState("88240", JobPhase.STARTING, names[24:26], 16, NOW_S - 40, NOW_S - 9000, 777, 1),
        JobState("88241", JobPhase.PENDING, (), 128, NOW_S - 3600),
    )


BAD_GPU = Target(node="node-003", gpu="GPU-003-5")
SCRATCH = Target(volume="/scratch")
HOT_NODE = Target(node="node-018")


def gpu_incident() -> Incident:
    return Incident(
        id="inc-41",
        state=IncidentState.OPEN,
        severity=Severity.CRITICAL,
        opened_s=NOW_S - 160,
        updated_s=NOW_S - 20,
        resolved_s=None,
        title="Job 88213 stopped: uncorrectable memory errors on node-003/GPU-003-5",
        targets=(BAD_GPU, Target(job="88213")),
        jobs=("88213",),
        anomalies=(
            Anomaly(
                target=BAD_GPU,
                metric="gpu_ecc_uncorrected_total",
                start_s=NOW_S - 158,
                end_s=NOW_S,
                value=3.0,
                lower=0.0,
                upper=0.0,
                score=1.0,
                detector="rules",
                severity=Severity.CRITICAL,
                text="3 uncorrected memory errors in 2 min",
            ),
        ),
        events=(
            Event(BAD_GPU, NOW_S - 160, "xid", "64", "Row remap failure", Severity.CRITICAL),
            Event(Target(job="88213"), NOW_S - 150, "job_failed", "1", "exit 1", Severity.CRITICAL),
        ),
    )


def volume_incident() -> Incident:
    return Incident(
        id="inc-42",
        state=IncidentState.OPEN,
        severity=Severity.WARNING,
        opened_s=NOW_S - 1500,
        updated_s=NOW_S - 15,
        resolved_s=None,
        title="/scratch is expected to be full in 42 min",
        targets=(SCRATCH,),
        jobs=("88220", "88231"),
        breaches=(scratch_breach(),),
        reopened=1,
    )


def scratch_breach() -> Breach:
    return Breach(
        target=SCRATCH,
        metric="volume_used_ratio",
        limit=0.95,
        made_at_s=NOW_S - 1500,
        horizon_s=7200.0,
        probability=0.91,
        expected_s=NOW_S + 2520,
        earliest_s=NOW_S + 1800,
        latest_s=NOW_S + 3600,
        value=0.87,
        model="prophet",
        skill=0.62,
    )


def thermal_incident() -> Incident:
    return Incident(
        id="inc-40",
        state=IncidentState.RESOLVED,
        severity=Severity.WARNING,
        opened_s=NOW_S - 9000,
        updated_s=NOW_S - 7900,
        resolved_s=NOW_S - 7900,
        title="node-018 ran hot while its neighbours did not",
        targets=(HOT_NODE,),
        jobs=(),
    )


def gpu_diagnosis() -> Diagnosis:
    remap = Cause(
        target=BAD_GPU,
        fault="row_remap_failed",
        probability=0.86,
        evidence=(
            Evidence("Xid 64 on this GPU 10 s before the job stopped", 3.1),
            Evidence("3 uncorrected errors, 0 on the other 63 GPUs of the job", 2.2),
            Evidence("NVLink errors did not rise, which a failing link would show", -0.4),
        ),
        kind=FaultClass.GPU_MEMORY,
        persistent=0.97,
        impact=1.0,
        path=(
            Hop(BAD_GPU, "gpu_ecc_uncorrected_total", 40.0, NOW_S - 158, 0.0, 0.025),
            Hop(Target(job="88213"), "job_steps_total", -9.0, NOW_S - 150, 0.4, 0.0),
        ),
    )
    link = Cause(
        Target(node="node-003"), "pcie_fault", 0.07, (), kind=FaultClass.GPU_HARDWARE, impact=0.9
    )
    return Diagnosis(
        incident_id="inc-41",
        made_at_s=NOW_S - 140,
        causes=(remap, link),
        unknown=0.06,
        method="causal graph",
        missing=("no reading of gpu_rows_remap_pending for node-003",),
        no_fault=0.01,
        explained=1.0,
        ruled_out=(
            RuledOut(SCRATCH, "storage_slow", "its read latency stayed at 4 ms throughout"),
        ),
        checks=(Check(BAD_GPU, "read the pending row remaps (nvidia-smi -q)", 0.7),),
        run_s=0.0042,
    )


def volume_diagnosis() -> Diagnosis:
    writer = Cause(Target(job="88220"), "checkpoint_growth", 0.55, (), kind=FaultClass.CHECKPOINT)
    return Diagnosis("inc-42", NOW_S - 1400, (writer,), 0.45, "causal graph")


def action(kind: str, target: Target, **params: str | int) -> Action:
    key = f"{kind}-{target}"
    inverse = {"drain": "uncordon", "cordon": "uncordon"}.get(kind, "")
    return Action(key, kind, target, tuple(params.items()), 600.0, inverse)


def waiting_plan() -> PlanRecord:
    node = Target(node="node-003")
    plan = Plan(
        id="plan-17",
        incident_id="inc-41",
        made_at_s=NOW_S - 130,
        expires_s=NOW_S + 1670,
        cause=gpu_diagnosis().causes[0],
        actions=(
            action("drain", node),
            action("swap_node", Target(job="88213"), spare="node-031"),
            action("resume_job", Target(job="88213"), checkpoint="step-41000"),
        ),
        rationale="The GPU cannot be repaired in place; a spare is free in the same rack and the "
        "newest checkpoint is 23 min old.",
        lost_gpu_s_with=96_000.0,
        lost_gpu_s_without=1_340_000.0,
        policy="rules",
        policy_version="1",
    )
    return PlanRecord(plan, PlanState.PROPOSED, Autonomy.APPROVE, NOW_S - 130)


def refused_plan() -> PlanRecord:
    plan = replace(
        waiting_plan().plan,
        id="plan-16",
        incident_id="inc-42",
        actions=(action("stop_job", Target(job="88220")),),
        rationale="Stop the writer before the volume is full.",
        lost_gpu_s_with=400_000.0,
        lost_gpu_s_without=410_000.0,
    )
    refusal = Refusal(
        "min_probability",
        "Not stopping job 88220: the cause has probability 0.55, at least 0.60 is needed.",
        "Wait for more evidence, or lower guards.min_probability (now 0.6) and reload.",
    )
    return PlanRecord(plan, PlanState.REFUSED, Autonomy.AUTO, NOW_S - 1390, refusals=(refusal,))


def done_plan() -> PlanRecord:
    step = action("set_power_limit", HOT_NODE, watts=600)
    plan = replace(
        waiting_plan().plan,
        id="plan-15",
        incident_id="inc-40",
        actions=(step,),
        rationale="Lower the board power until the inlet is below 35 °C.",
        lost_gpu_s_with=900.0,
        lost_gpu_s_without=30_000.0,
    )
    outcome = Outcome(
        action=step,
        status=OutcomeStatus.SUCCEEDED,
        started_s=NOW_S - 8500,
        ended_s=NOW_S - 8200,
        text="temperature fell from 88 to 79 °C",
        verified=True,
        symptom_before=2.0,
        symptom_after=0.0,
        lost_gpu_s=880.0,
    )
    return PlanRecord(
        plan,
        PlanState.DONE,
        Autonomy.AUTO,
        NOW_S - 8200,
        step=1,
        decided_by="policy",
        outcomes=(outcome,),
    )


def gpu_timeline() -> tuple[JournalEntry, ...]:
    lines = (
        (-160, "opened", "Xid 64 on node-003/GPU-003-5: row remap failure"),
        (-150, "symptom", "job 88213 stopped with exit 1"),
        (-140, "diagnosed", "row remap failed on node-003/GPU-003-5, p=0.86"),
        (-130, "proposed", "plan-17: drain node-003, swap in node-031, resume from step-41000"),
        (-20, "symptom", "still 2 live symptoms"),
    )
    return tuple(JournalEntry(NOW_S + at, "inc-41", "", kind, text) for at, kind, text in lines)


def forecast_view(
    target: Target, metric: str, *, unit: str, history: Any, slope: float, limit: float, **rest: Any
) -> ForecastView:
    history_s: Floats = NOW_S - np.arange(len(history), dtype=np.float64)[::-1] * 60.0
    ahead_s: Floats = NOW_S + np.arange(1, 121, dtype=np.float64) * 60.0
    mean = history[-1] + slope * np.arange(1, 121)
    spread = float(np.nanstd(np.diff(history)) * 1.3 + 1e-6) * np.sqrt(np.arange(1, 121))
    forecast = Forecast(
        metric=metric,
        targets=(target,),
        made_at_s=NOW_S,
        time_s=ahead_s,
        mean=mean[None, :],
        lower=(mean - spread)[None, :],
        upper=(mean + spread)[None, :],
        coverage=0.8,
        model=(rest.pop("model", "prophet"),),
        skill=np.array([rest.pop("skill", 0.62)]),
    )
    values = {"expected_s": None, "probability": 0.0, **rest}
    return ForecastView(target, metric, unit, history_s, history, forecast, limit, **values)


def rising_demand() -> DemandView:
    """A queue that grew in the morning and may outgrow 256 GPUs within half an hour."""
    time_s = NOW_S - 300 * np.arange(71.0, -1, -1)
    gpus = 120.0 + 8 * np.floor(np.arange(72) / 9) + np.where(np.arange(72) > 40, 48.0, 0.0)
    ahead = np.array([[224.0, 240.0], [224.0, 264.0], [232.0, 288.0]])
    return DemandView(
        made_at_s=NOW_S,
        wanted=224.0,
        have=256,
        history_time_s=time_s,
        history_gpus=gpus,
        lead_s=(900.0, 1800.0, 3600.0),
        level=(0.5, 0.9),
        gpus=ahead,
        to_add=np.maximum(ahead[:, 1] - 256, 0),
    )


def volume_forecast() -> ForecastView:
    noise = np.random.default_rng(1).normal(0, 0.0015, 240)
    history = np.linspace(0.55, 0.87, 240) + noise
    return forecast_view(
        SCRATCH,
        "volume_used_ratio",
        unit="ratio",
        history=history,
        slope=0.0019,
        limit=0.95,
        expected_s=NOW_S + 2520,
        probability=0.91,
    )


def memory_forecast() -> ForecastView:
    history = 61 * 2.0**30 + np.random.default_rng(2).normal(0, 2.0**28, 240).cumsum()
    history[90:110] = np.nan
    return forecast_view(
        Target(node="node-010"),
        "node_memory_used_bytes",
        unit="bytes",
        history=history,
        slope=2.0**22,
        limit=math.nan,
        skill=math.nan,
        model="seasonal naive",
    )


def calm_forecast() -> ForecastView:
    history = 64 + 4 * np.sin(np.arange(240) / 20) + np.random.default_rng(3).normal(0, 0.4, 240)
    return forecast_view(
        Target(node="node-018", gpu="GPU-018-2"),
        "gpu_temperature_celsius",
        unit="°C",
        history=history,
        slope=0.01,
        limit=87.0,
        probability=0.02,
        skill=-0.1,
    )
