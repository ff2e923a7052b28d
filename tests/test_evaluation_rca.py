"""A diagnosis counts as right only where one would act on the right thing for the right reason."""

from dataclasses import replace

import numpy as np
import pytest

from agent.evaluations.rca.baselines import BASELINES, nsigma, traversal
from agent.evaluations.rca.judging import OURS, Judged
from agent.evaluations.rca.score import Mark, lies_right, mark
from agent.evaluations.rca.showing import keys, shown
from agent.evaluations.rca.table import calibration_error, headline
from agent.evaluations.rca.truths import ONLY_THE_JOB, Truth, kind_of
from core.faults import FaultClass
from core.target import Target, TargetKind
from core.topology import Topology
from core.types import (
    Anomaly,
    Cause,
    Diagnosis,
    Floats,
    Incident,
    IncidentState,
    Severity,
    Window,
)
from sim.catalogue import CLASSES
from sim.engine.words import Scope
from sim.library import scenario
from sim.scenario import FaultSpec
from sim.telemetry import METRICS, readings
from sim.world import World

TOPOLOGY: Topology = World.build(scenario("demo"), seed=1).topology()
NODES = TOPOLOGY.nodes
GPU = Target(node=NODES[0], gpu=TOPOLOGY.gpus_of_node(NODES[0])[0])
OTHER_GPU = Target(node=NODES[0], gpu=TOPOLOGY.gpus_of_node(NODES[0])[1])
JOB = Target(job=TOPOLOGY.jobs_on(GPU)[0])
RACK = Target(rack=TOPOLOGY.rack_of(NODES[0]))


def broken(sim: str, target: Target) -> Truth:
    jobs = frozenset({target.job} - {""}) or frozenset(TOPOLOGY.jobs_on(target))
    nodes = frozenset(() if target.job else TOPOLOGY.nodes_in(target))
    scope = CLASSES[sim].scope
    return Truth(sim, scope, target, nodes, jobs, 0.0, np.inf, persistent=True)


def said(
    *causes: tuple[Target, FaultClass, float], unknown: float = 0.0, none: float = 0.0
) -> Diagnosis:
    named = tuple(Cause(t, "", p, kind=kind, persistent=0.9) for t, kind, p in causes)
    return Diagnosis("i", 0.0, named, unknown, "test", no_fault=none)


K = FaultClass
MEMORY = broken("gpu_hbm", GPU)
LOADER = broken("loader_starved", JOB)


def test_another_gpu_of_the_node_is_the_right_node_and_not_the_right_gpu() -> None:
    near = mark(said((OTHER_GPU, K.GPU_MEMORY, 0.9)), [MEMORY], TOPOLOGY)
    exact = mark(said((GPU, K.GPU_MEMORY, 0.9)), [MEMORY], TOPOLOGY)

    assert (near.first, near.gpu) == (True, False)
    assert (exact.first, exact.gpu, exact.persistent) == (True, True, True)


@pytest.mark.parametrize(
    ("target", "kind"), [(GPU, K.THERMAL), (Target(node=NODES[-1]), K.GPU_MEMORY)]
)
def test_the_wrong_class_or_place_is_no_hit(target: Target, kind: FaultClass) -> None:
    marked = mark(said((target, kind, 0.9)), [MEMORY], TOPOLOGY)

    assert not marked.first
    assert marked.among_three == 0.0
    assert marked.hit is False


def test_of_two_faults_one_among_the_first_three_is_half() -> None:
    answer = said((RACK, K.POWER, 0.5), (JOB, K.DATA_LOADING, 0.3), (GPU, K.THERMAL, 0.1))

    marked = mark(answer, [MEMORY, LOADER], TOPOLOGY)

    assert (marked.first, marked.among_three) == (False, 0.5)
    assert marked.placed_three == 1.0


def test_unknown_is_right_where_the_truth_has_no_name_and_it_is_the_largest() -> None:
    silent = broken("silent_data_corruption", GPU)

    assert mark(said((GPU, K.THERMAL, 0.2), unknown=0.8), [silent], TOPOLOGY).first
    assert not mark(said((GPU, K.THERMAL, 0.6), unknown=0.4), [silent], TOPOLOGY).first
    assert not mark(said(unknown=1.0), [MEMORY], TOPOLOGY).first


@pytest.mark.parametrize(
    ("answer", "quiet"),
    [
        (said((GPU, K.THERMAL, 0.2), none=0.7, unknown=0.1), True),
        (said((GPU, K.THERMAL, 0.6), none=0.3, unknown=0.1), False),
        (said((GPU, K.THERMAL, 0.1), none=0.3, unknown=0.6), False),
    ],
)
def test_quiet_is_only_what_says_that_nothing_is_broken(answer: Diagnosis, quiet: bool) -> None:
    assert mark(answer, [], TOPOLOGY).quiet is quiet


def test_a_racks_fault_lies_on_its_rack_and_not_on_one_of_its_nodes() -> None:
    planned = broken("planned_maintenance", RACK)

    assert lies_right(RACK, planned, TOPOLOGY)
    assert lies_right(Target(switch=TOPOLOGY.switch_of(NODES[0])), planned, TOPOLOGY)
    assert not lies_right(Target(node=NODES[0]), planned, TOPOLOGY)
    assert not lies_right(Target(), planned, TOPOLOGY)


def test_a_jobs_fault_lies_on_the_job_and_not_on_a_node_of_it() -> None:
    assert lies_right(JOB, LOADER, TOPOLOGY)
    assert not lies_right(Target(node=NODES[0], job=JOB.job, rank="0"), LOADER, TOPOLOGY)


def test_shared_storage_lies_on_a_volume_that_no_node_owns() -> None:
    slow = broken("storage_slow", Target())

    assert lies_right(Target(volume="/shared"), slow, TOPOLOGY)
    assert not lies_right(Target(node=NODES[0], volume="/scratch"), slow, TOPOLOGY)


@pytest.mark.parametrize("sim", ONLY_THE_JOB)
def test_a_fault_that_shows_as_one_of_its_job_may_be_called_that(sim: str) -> None:
    hidden = broken(sim, GPU if CLASSES[sim].scope is Scope.GPU else Target(node=NODES[0]))
    as_job = mark(said((JOB, kind_of(ONLY_THE_JOB[sim]), 0.8)), [hidden], TOPOLOGY)
    itself = mark(said((hidden.target, hidden.kind, 0.8)), [hidden], TOPOLOGY)

    assert (as_job.first, as_job.strict) == (True, False)
    assert (itself.first, itself.strict) == (True, True)


def test_any_other_fault_of_a_node_is_not_called_its_jobs() -> None:
    silent = broken("host_board", Target(node=NODES[0]))

    assert not mark(said((JOB, K.HOST_HARDWARE, 0.8)), [silent], TOPOLOGY).first


def after(sim: str, target: Target) -> tuple[World, dict[str, Window]]:
    """Return a world ten minutes into a fault, and its readings of the first five."""
    onset_s = 900.0
    script = replace(scenario("demo"), faults=(FaultSpec(sim, target, onset_s),))
    world = World.build(script, seed=1)
    world.advance(script.start_s + onset_s + 700.0)
    time_s = script.start_s + onset_s + np.arange(-60.0, 300.0, 15.0)
    return world, {window.metric: window for window in readings(world, METRICS, time_s)}


def test_hangs_show_the_same_wherever_they_began() -> None:
    _, program = after("silent_hang", JOB)

    for sim, target in (
        ("gpu_hang", Target(node=NODES[0], gpu="3")),
        ("driver_fault", Target(node=NODES[0])),
        ("nccl_watchdog", JOB),
    ):
        _, own = after(sim, target)
        for metric, window in program.items():
            assert np.array_equal(own[metric].value, window.value, equal_nan=True), (sim, metric)


@pytest.mark.parametrize("sim", ONLY_THE_JOB)
def test_what_only_the_job_tells_of_names_no_node(sim: str) -> None:
    world, _ = after(sim, Target(node=NODES[0], gpu="3" if sim == "gpu_hang" else ""))
    onset_s = world.truth[0].onset_s

    told = [event for event in world.events if event.time_s >= onset_s]

    assert {event.target.kind for event in told} == {TargetKind.JOB}


def symptoms(name: str, *targets: Target) -> Incident:
    anomalies = tuple(
        Anomaly(t, "m", 10.0, 20.0, 1.0, 0.0, 0.5, 1.0, "peer", Severity.WARNING, "")
        for t in targets
    )
    state, severity = IncidentState.OPEN, Severity.WARNING
    return Incident(
        name, state, severity, 10.0, 20.0, None, name, targets, (JOB.job,), anomalies=anomalies
    )


def test_of_two_faults_only_those_are_shown_that_the_incident_would_miss() -> None:
    other = broken("host_board", Target(node=NODES[-1]))
    here, there = GPU, other.target
    alone = {MEMORY.sim: keys([symptoms("b", there)]), other.sim: keys([symptoms("a", here)])}

    assert shown(symptoms("i", here), [MEMORY, other], alone) == (MEMORY,)
    assert shown(symptoms("i", there), [MEMORY, other], alone) == (other,)
    assert shown(symptoms("i", here, there), [MEMORY, other], alone) == (MEMORY, other)


def test_probabilities_that_hold_have_no_calibration_error() -> None:
    true = np.array([[0.75, 1.0]] * 3 + [[0.75, 0.0]])

    assert calibration_error(true) == 0.0
    assert calibration_error(np.array([[0.95, 0.0]])) == pytest.approx(0.95)


def test_errors_of_two_bins_do_not_cancel() -> None:
    pairs = np.array([[0.25, 1.0], [0.75, 0.0]])

    assert calibration_error(pairs) == pytest.approx(0.75)


def of(marked: Mark, *kinds: str) -> Judged:
    return Judged("gpu_hbm", "family", 0, kinds, {OURS: marked, "nsigma": marked}, 0.01, 10)


def test_the_headline_counts_faults_and_quiet_windows_apart() -> None:
    right = mark(said((GPU, K.GPU_MEMORY, 0.9)), [MEMORY], TOPOLOGY)
    wrong = mark(said((GPU, K.THERMAL, 0.9)), [MEMORY], TOPOLOGY)
    still = mark(said(none=1.0), [], TOPOLOGY)

    rows = {row.metric: row for row in headline([of(right, "x"), of(wrong, "x"), of(still)], 3)}

    assert (rows["top1"].value, rows["top1"].n, rows["top1"].ok) == (0.5, 2, False)
    assert (rows["quiet"].value, rows["quiet"].n, rows["quiet"].ok) == (1.0, 1, True)
    assert rows["calibration_error"].value == pytest.approx(0.4)
    assert rows['top1{method="nsigma"}'].value == 0.5
    assert rows['calibration_error{method="nsigma"}'].value is None


CHAIN = np.array([[0, 1], [1, 2]])


def chain(seed: int) -> tuple[Floats, Floats]:
    """0 -> 1 -> 2 beside a variable of its own; variable 0 is broken in the abnormal span."""
    random = np.random.default_rng(seed)
    value = random.normal(0.0, 1.0, (4, 220))
    value[0, 200:] += 12.0
    value[1] += value[0]
    value[2] += value[1]
    return 10.0 + value[:, :200], 10.0 + value[:, 200:]


@pytest.mark.parametrize("name", ["nsigma", "robust", "regression", "traversal"])
def test_a_baseline_finds_a_planted_shift(name: str) -> None:
    found = [int(np.argmax(BASELINES[name](*chain(seed), CHAIN, 2))) for seed in range(20)]

    assert found.count(0) >= 18


def test_the_walk_goes_up_to_the_causes_and_not_to_what_is_apart() -> None:
    for seed in range(20):
        score = BASELINES["random_walk"](*chain(seed), CHAIN, 2)

        assert score[0] > score[3]
        assert score.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", list(BASELINES))
def test_a_baseline_bears_gaps_constants_and_no_links(name: str) -> None:
    normal, abnormal = np.ones((3, 40)), np.ones((3, 4))
    normal[1], abnormal[2] = np.nan, np.nan

    score = BASELINES[name](normal, abnormal, np.empty((0, 2), dtype=np.int64), 0)

    assert score.shape == (3,)
    assert np.isfinite(score).all()


def test_traversal_names_nothing_but_the_target_where_nothing_above_it_is_odd() -> None:
    normal, abnormal = chain(1)
    abnormal[:2] = normal[:2, :20]

    score = traversal(normal, abnormal, CHAIN, 2)

    assert np.flatnonzero(score).tolist() == [2]
    assert score[2] == nsigma(normal, abnormal, CHAIN, 2)[2]
