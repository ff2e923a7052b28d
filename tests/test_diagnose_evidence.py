"""Two faults at once, nothing broken, what follows from what, and a detector's word alone."""

from dataclasses import replace

import numpy as np
import pytest

from core.cluster import JobPhase, NodeCondition
from core.target import Target
from core.types import Anomaly, Diagnosis, Event, Severity, Window
from rca.diagnose import DiagnoseSettings, diagnose
from rca.knowledge import Knowledge
from tests.rca_scenes import (
    NOW_S,
    Scene,
    anomaly,
    incident_of,
    node_cooling,
    nothing,
    port_errors,
    scene,
    slow_gpu,
    slow_node,
    target_of_gpu,
    target_of_node,
)

JOB = Target(job="j1")
XID_GPU = target_of_gpu(3, 2)


def asked(
    case: Scene, *, told: tuple[Event, ...] = (), knowledge: Knowledge | None = None
) -> Diagnosis:
    return diagnose(
        case.incident,
        case.windows,
        case.state,
        now_s=NOW_S,
        settings=DiagnoseSettings(),
        knowledge=knowledge or Knowledge(),
        told=told,
    )


def event(
    kind: str, target: Target, *, code: str = "", severity: Severity = Severity.CRITICAL
) -> Event:
    return Event(target, NOW_S - 300, kind, code, f"{kind} {code}", severity)


def with_events(*events: Event, seed: int = 5) -> Scene:
    return replace(scene(nothing, seed), incident=incident_of(events=events))


def seen_by(detector: str, metric: str) -> Anomaly:
    return replace(anomaly(metric, JOB), detector=detector)


def stopped(case: Scene, phase: JobPhase) -> Scene:
    """Return the scene with its job no longer running, and its ranks silent for two minutes."""
    jobs = tuple(replace(job, phase=phase) for job in case.state.jobs)
    for name, window in case.windows.items():
        if name.startswith("rank_"):
            window.value[:, -8:] = np.nan
    return replace(case, state=replace(case.state, jobs=jobs))


def young(case: Scene, age_s: float) -> Scene:
    """Return the scene with its job begun so long ago, and nothing read of it before."""
    since_s = NOW_S - age_s
    for name, window in case.windows.items():
        if name.startswith(("rank_", "job_")):
            window.value[:, window.time_s < since_s] = np.nan
    jobs = tuple(replace(job, since_s=since_s) for job in case.state.jobs)
    return replace(case, state=replace(case.state, jobs=jobs))


def ranks_alone(case: Scene) -> Scene:
    """Return the scene as a launch reports it: its ranks' own times, and nothing of machines."""
    kept = {name: w for name, w in case.windows.items() if name.startswith(("rank_", "job_"))}
    return replace(case, windows=kept)


def silenced(case: Scene, node: str) -> Scene:
    for window in case.windows.values():
        rows = [row for row, target in enumerate(window.targets) if target.node == node]
        window.value[rows, -25:] = np.nan
    return case


@pytest.mark.parametrize("seed", range(4))
def test_two_faults_at_once_are_both_among_the_first_three(seed: int) -> None:
    case = scene(slow_gpu, seed)
    other = next(f"node-{n}" for n in range(8) if f"node-{n}" != case.truth.node)
    lost = replace(target_of_gpu(int(other[5:]), 1))
    both = replace(case.incident, events=(event("xid", lost, code="79"),))

    named = [(c.target, c.fault) for c in asked(replace(case, incident=both)).causes[:3]]
    assert (case.truth, case.fault) in named
    assert (lost, "gpu_fallen_off_bus") in named


def test_the_sums_hold_with_two_faults() -> None:
    case = scene(slow_gpu, 1)
    both = replace(case.incident, events=(event("xid", XID_GPU, code="79"),))
    found = asked(replace(case, incident=both))

    total = sum(cause.probability for cause in found.causes) + found.unknown + found.no_fault
    assert total == pytest.approx(1.0)


def test_the_evidence_stays_the_whole_of_the_score_with_two_faults() -> None:
    case = scene(slow_gpu, 1)
    both = replace(case.incident, events=(event("xid", XID_GPU, code="79"),))
    first, second = asked(replace(case, incident=both)).causes[:2]

    weight = [sum(item.weight for item in cause.evidence) for cause in (first, second)]
    assert np.log(first.probability / second.probability) == pytest.approx(weight[0] - weight[1])


def test_a_false_alarm_breaks_nothing() -> None:
    alarm = event("false_alarm", target_of_node(2), severity=Severity.WARNING)

    assert asked(with_events(alarm)).no_fault > 0.9


def test_a_job_that_somebody_stopped_is_no_fault() -> None:
    case = stopped(with_events(event("job_failed", JOB, code="ordered")), JobPhase.STOPPED)

    assert asked(case).no_fault > 0.9


def test_nodes_drained_for_planned_work_are_no_fault() -> None:
    drained = event("node_drained", target_of_node(1), severity=Severity.WARNING)
    case = with_events(drained)
    nodes = tuple(
        replace(n, condition=NodeCondition.DRAINED, owner="site", reason="planned maintenance")
        if n.name == "node-1"
        else n
        for n in case.state.nodes
    )

    assert asked(replace(case, state=replace(case.state, nodes=nodes))).no_fault > 0.9


def test_a_silent_node_whose_job_steps_on_has_only_lost_its_exporter() -> None:
    silent = event("silent", target_of_node(4), code="no_readings")
    found = asked(silenced(with_events(silent), "node-4"))

    assert found.no_fault > 0.9


def test_a_silent_node_whose_job_stopped_is_away() -> None:
    silent = event("silent", target_of_node(4), code="no_readings")
    case = stopped(silenced(with_events(silent), "node-4"), JobPhase.STOPPED)
    best = asked(case).causes[0]

    assert (best.target, best.fault) == (target_of_node(4), "node_silent")
    assert best.probability > 0.9


def test_a_panic_is_why_its_node_fell_silent() -> None:
    silent = event("silent", target_of_node(4), code="no_readings")
    panic = event("kernel_panic", target_of_node(4))
    case = stopped(silenced(with_events(silent, panic), "node-4"), JobPhase.STOPPED)

    assert asked(case).causes[0].fault == "kernel_panic"


def test_work_that_was_told_of_is_why_a_node_went_down() -> None:
    silent = event("silent", target_of_node(4), code="no_readings")
    work = event("maintenance", target_of_node(4), severity=Severity.INFO)
    case = stopped(silenced(with_events(silent), "node-4"), JobPhase.STOPPED)

    assert asked(case).causes[0].fault == "node_silent"
    assert asked(case, told=(work,)).causes[0].fault == "node_taken_down"


def test_a_job_that_stands_still_and_no_machine_shows_why_hangs() -> None:
    case = stopped(
        replace(
            scene(nothing, 2), incident=incident_of(anomalies=(seen_by("hang", "job_steps_total"),))
        ),
        JobPhase.RUNNING,
    )
    best = asked(case).causes[0]

    assert (best.target, best.fault) == (JOB, "job_hang")


def test_a_job_that_began_lately_and_stepped_a_minute_ago_hangs() -> None:
    time_s = np.arange(NOW_S - 90, NOW_S + 1)
    steps = np.minimum(time_s, NOW_S - 12)[None, :] - NOW_S + 90
    stands = replace(seen_by("hang", "job_steps_total"), start_s=NOW_S - 12)
    case = stopped(scene(nothing, 2), JobPhase.RUNNING)
    began = tuple(replace(job, since_s=NOW_S - 90) for job in case.state.jobs)
    case = Scene(
        incident_of(anomalies=(stands,)),
        {"job_steps_total": Window("job_steps_total", (JOB,), time_s, steps)},
        replace(case.state, jobs=began),
        JOB,
        "job_hang",
    )
    found = asked(case)

    assert (found.causes[0].target, found.causes[0].fault) == (JOB, "job_hang")
    assert found.no_fault < 0.05


def test_a_loss_that_is_no_number_is_the_jobs() -> None:
    best = asked(with_events(event("nan_loss", JOB, severity=Severity.WARNING))).causes[0]

    assert (best.target, best.fault) == (JOB, "nan_loss")
    assert best.probability > 0.9


def test_a_straggler_is_its_gpu() -> None:
    case = scene(slow_gpu, 4)
    best = asked(case).causes[0]

    assert (best.target, best.fault) == (case.truth, "gpu_slow")


@pytest.mark.parametrize("whole_node", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_a_straggler_of_a_job_that_began_lately_is_its_hardware(
    seed: int, whole_node: bool
) -> None:
    """That a job began explains what all its ranks do, and no rank behind the others."""
    case = young(ranks_alone(scene(slow_node if whole_node else slow_gpu, seed)), age_s=900.0)
    ranks = case.windows["rank_step_time_s"].targets
    (slow,) = {case.truth} if whole_node else {r for r in ranks if r.gpu == case.truth.gpu}
    behind = replace(anomaly("rank_step_time_s", slow), detector="straggler")
    slower = seen_by("slow-step", "job_step_time_s")
    found = asked(replace(case, incident=incident_of(anomalies=(behind, slower))))

    assert (found.causes[0].target, found.causes[0].fault) == (case.truth, "gpu_slow")
    assert found.causes[0].probability > 0.9
    assert found.no_fault < 0.05


def test_a_job_that_began_lately_and_is_slower_on_all_ranks_does_something_else() -> None:
    case = young(scene(nothing, 3), age_s=900.0)
    slower = seen_by("band", "job_step_time_s")
    found = asked(replace(case, incident=incident_of(anomalies=(slower,))))

    assert found.calm == "the job does something else now"
    assert found.no_fault > 0.9


def test_what_a_stopped_job_leaves_idle_is_not_slow() -> None:
    case = stopped(with_events(event("job_failed", JOB, code="software")), JobPhase.STOPPED)
    case.windows["gpu_sm_clock_hz"].value[:, -20:] = 3.4e8
    found = asked(case)

    assert (found.causes[0].target, found.causes[0].fault) == (JOB, "software_error")
    assert all(
        c.probability < 0.05 for c in found.causes if c.fault in ("gpu_slow", "power_capped")
    )


def test_port_errors_rather_than_the_slow_collectives_they_bring() -> None:
    case = scene(port_errors, 7)
    best = asked(case).causes[0]

    assert (best.target, best.fault) == (case.truth, "network_port_errors")
    assert best.probability > 0.9


def test_a_fleet_that_learned_a_fault_is_common_there_says_so() -> None:
    case = scene(node_cooling, 3)
    shifted = asked(case, knowledge=Knowledge(priors={"cooling_degraded": 1.0}))

    texts = [item.text for item in shifted.causes[0].evidence]
    assert "how often it was so on this fleet" in texts


def test_without_links_a_cause_still_shows_in_its_readings() -> None:
    case = scene(node_cooling, 3)
    bare = asked(case, knowledge=Knowledge(links=()))

    assert sum(cause.probability for cause in bare.causes) <= 1.0
    assert any(cause.target == case.truth for cause in bare.causes)
