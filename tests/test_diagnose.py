"""A diagnosis names the thing that broke, says what speaks for it, and knows when it does not."""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.codec import from_json, to_json
from core.target import Target
from core.types import Breach, Diagnosis, Event, Floats, Incident, Severity, Window
from rca.diagnose import DiagnoseSettings, diagnose
from rca.explain import explain
from rca.words import say_value
from tests.rca_scenes import (
    NOW_S,
    READINGS,
    STEP_S,
    Scene,
    anomaly,
    cluster,
    gpu_cooling,
    hot_room,
    incident_of,
    node_cooling,
    nothing,
    quiet,
    scene,
    slow_gpu,
    target_of_gpu,
    target_of_node,
    windows_of,
)

XID_GPU = target_of_gpu(3, 2)


def asked(case: Scene) -> Diagnosis:
    return diagnose(
        case.incident, case.windows, case.state, now_s=NOW_S, settings=DiagnoseSettings()
    )


def event(kind: str, code: str, target: Target, *, after_s: float = 0.0) -> Event:
    at_s = NOW_S - 300 + after_s
    return Event(target, at_s, kind, code, f"{kind} {code}", Severity.CRITICAL)


def with_events(*events: Event) -> Scene:
    return replace(scene(nothing, 5), incident=incident_of(events=events))


def growing(metric: str, *, minutes: float = 60.0) -> Scene:
    """A scene in which one node's memory or volume fills, and a forecast has seen it."""
    rng = np.random.default_rng(4)
    state = cluster(6)
    raw = quiet(rng, state)
    rise = 0.3 * np.arange(READINGS) / READINGS
    part = raw.memory if metric.startswith("node") else raw.used
    part[2] += rise
    windows = windows_of(rng, state, raw)
    row = 2
    target = windows[metric].targets[row]
    value = float(windows[metric].value[row, -1])
    due_s = NOW_S + 60 * minutes
    breach = Breach(
        target, metric, 0.95, NOW_S, 7200.0, 0.9, due_s, due_s - 600, due_s + 600, value, "p", 0.4
    )
    incident = replace(incident_of(), targets=(target,), breaches=(breach,))
    return Scene(incident, windows, state, target, "")


def test_a_hot_gpu_is_blamed_for_its_slow_job() -> None:
    case = scene(gpu_cooling, 3)
    best = asked(case).causes[0]

    assert (best.target, best.fault) == (case.truth, "cooling_degraded")
    assert best.probability > 0.7


def test_a_hot_node_is_blamed_rather_than_its_gpus() -> None:
    case = scene(node_cooling, 3)

    assert asked(case).causes[0].target == case.truth
    assert asked(case).causes[0].target.gpu == ""


def test_a_hot_room_is_no_single_nodes_fault() -> None:
    found = asked(scene(hot_room, 3))

    assert found.causes[0].target == Target()
    assert all(cause.probability < 0.1 for cause in found.causes[1:])


def test_waiting_ranks_are_not_taken_for_a_slow_network() -> None:
    case = scene(slow_gpu, 3)
    found = asked(case)

    assert (found.causes[0].target, found.causes[0].fault) == (case.truth, "gpu_slow")
    assert all(cause.fault != "network_slow" for cause in found.causes[:3])


def test_xid_79_names_the_gpu_and_not_the_failed_job() -> None:
    failed = event("job_failed", "cuda_error", Target(job="j1"), after_s=40)
    best = asked(with_events(event("xid", "79", XID_GPU), failed)).causes[0]

    assert (best.target, best.fault) == (XID_GPU, "gpu_fallen_off_bus")
    assert best.probability > 0.9


def test_an_xid_of_the_program_is_the_jobs_fault() -> None:
    best = asked(with_events(event("xid", "31", XID_GPU))).causes[0]

    assert (best.target, best.fault) == (Target(job="j1"), "software_error")


@pytest.mark.parametrize(
    ("target", "fault"),
    [(target_of_node(1), "node_silent"), (target_of_gpu(1, 0), "gpu_fallen_off_bus")],
)
def test_what_falls_silent_tells_by_what_it_is(target: Target, fault: str) -> None:
    case = with_events(event("silent", "no_readings", target))
    best = asked(case.without("rank_step_time_s", "rank_collective_time_s")).causes[0]

    assert (best.target, best.fault) == (target, fault)
    assert best.probability > 0.6


def test_a_silent_rank_is_no_silent_node() -> None:
    rank = replace(target_of_gpu(1, 0), job="j1", rank="8")

    assert asked(with_events(event("silent", "no_readings", rank))).unknown > 0.9


def test_follow_up_xids_alone_prove_nothing() -> None:
    found = asked(with_events(event("xid", "45", XID_GPU)))

    assert all(cause.probability < 0.7 for cause in found.causes)


def test_readings_that_stop_betray_the_node() -> None:
    case = with_events(event("job_failed", "", Target(job="j1")))
    for window in case.windows.values():
        rows = [row for row, target in enumerate(window.targets) if target.node == "node-4"]
        window.value[rows, -25:] = np.nan

    best = asked(case).causes[0]
    assert (best.target, best.fault) == (target_of_node(4), "node_silent")


def test_a_dead_source_is_no_nodes_fault() -> None:
    case = with_events(event("job_failed", "", Target(job="j1")))
    for window in case.windows.values():
        window.value[:, -25:] = np.nan

    found = asked(case)
    assert all(cause.fault != "node_silent" for cause in found.causes)
    assert "source" in found.missing[0]


def test_nothing_out_of_order_is_no_fault() -> None:
    assert all(asked(scene(nothing, seed)).no_fault > 0.9 for seed in range(5))


def test_missing_causes_are_named_and_cost_certainty() -> None:
    case = scene(slow_gpu, 6)
    whole = asked(case)
    poor = asked(case.without("gpu_sm_clock_hz", "gpu_throttle_ratio", "gpu_temperature_celsius"))

    assert poor.unknown > whole.unknown
    assert any("gpu_sm_clock_hz" in text for text in poor.missing)


def test_an_anomaly_without_its_series_still_counts() -> None:
    symptom = anomaly("gpu_temperature_celsius", target_of_gpu(1, 1))
    found = diagnose(
        incident_of(anomalies=(symptom,)), {}, None, now_s=NOW_S, settings=DiagnoseSettings()
    )

    assert found.causes[0].fault == "cooling_degraded"
    assert found.unknown > 0.2


@pytest.mark.parametrize(
    ("metric", "fault"),
    [("node_memory_used_ratio", "memory_leak"), ("volume_used_ratio", "volume_filling")],
)
def test_an_expected_breach_is_its_own_targets(metric: str, fault: str) -> None:
    case = growing(metric)
    best = asked(case).causes[0]

    assert (best.target, best.fault) == (case.truth, fault)
    assert best.probability > 0.8
    assert any("an hour" in item.text for item in best.evidence)


def test_an_unlikely_breach_is_left_unknown() -> None:
    case = growing("volume_used_ratio")
    doubt = replace(case.incident.breaches[0], probability=0.2)
    windows = {"volume_used_ratio": case.windows["volume_used_ratio"]}
    windows["volume_used_ratio"].value[:] = 0.6

    found = asked(
        replace(case, incident=replace(case.incident, breaches=(doubt,)), windows=windows)
    )
    assert found.likeliest is None


def test_evidence_is_the_whole_of_the_score() -> None:
    failed = event("job_failed", "cuda_error", Target(job="j1"), after_s=40)
    first, second = asked(with_events(event("xid", "79", XID_GPU), failed)).causes[:2]

    weight = [sum(item.weight for item in cause.evidence) for cause in (first, second)]
    assert np.log(first.probability / second.probability) == pytest.approx(weight[0] - weight[1])


def _lost(value: Floats, rng: np.random.Generator, kind: str) -> None:
    match kind:
        case "nan":
            value[:] = np.nan
        case "inf":
            value[rng.random(value.shape) < 0.2] = np.inf
        case "huge":
            value[rng.random(value.shape) < 0.1] = 1e300
        case "constant":
            value[:] = 1.0
        case "holes":
            value[rng.random(value.shape) < 0.6] = np.nan


KINDS = st.sampled_from(["nan", "inf", "huge", "constant", "holes", "as it is", "gone"])


@given(st.integers(0, 2**32 - 1), st.lists(KINDS, min_size=17, max_size=17))
@settings(max_examples=25, deadline=None)
def test_any_data_give_probabilities_that_sum_to_one(seed: int, kinds: list[str]) -> None:
    rng = np.random.default_rng(seed)
    case = scene(node_cooling, seed % 7, nodes=3)
    for (name, window), kind in zip(list(case.windows.items()), kinds, strict=True):
        _lost(window.value, rng, kind)
        if kind == "gone":
            del case.windows[name]

    found = asked(case)
    total = sum(cause.probability for cause in found.causes) + found.unknown + found.no_fault
    assert total == pytest.approx(1.0)
    assert all(0 <= cause.probability <= 1 for cause in found.causes)
    assert from_json(Diagnosis, to_json(found)) == found


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_series_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = scene(gpu_cooling, seed)
    shuffled = {}
    for name in rng.permutation(list(case.windows)):
        window = case.windows[name]
        by = rng.permutation(len(window.targets))
        targets = tuple(window.targets[row] for row in by)
        shuffled[str(name)] = Window(window.metric, targets, window.time_s, window.value[by])

    found, again = asked(case), asked(replace(case, windows=shuffled))
    assert [(c.target, c.fault) for c in found.causes[:3]] == [
        (c.target, c.fault) for c in again.causes[:3]
    ]
    assert again.causes[0].probability == pytest.approx(found.causes[0].probability, abs=0.02)


def test_names_of_nodes_mean_nothing() -> None:
    case = scene(node_cooling, 2)

    def renamed(target: Target) -> Target:
        return replace(target, node=f"z{999 - int(target.node[5:])}") if target.node else target

    windows = {
        name: replace(window, targets=tuple(renamed(target) for target in window.targets))
        for name, window in case.windows.items()
    }
    topology = case.state.topology
    nodes = tuple(renamed(Target(node=name)).node for name in topology.nodes)
    state = replace(case.state, topology=replace(topology, nodes=nodes))

    found, again = asked(case), asked(replace(case, windows=windows, state=state))
    assert again.causes[0].target == renamed(found.causes[0].target)
    assert again.causes[0].probability == pytest.approx(found.causes[0].probability)


def test_an_explanation_says_all_that_a_person_needs() -> None:
    case = scene(gpu_cooling, 3)
    text = "\n".join(explain(case.incident, asked(case), case.state).lines())

    assert "GPU-" in text
    assert "cooling is degraded (p = 0.8" in text
    assert "64 GPUs" in text
    assert "°C, normally" in text
    for heading in ("Root cause", "Critical failure", "Impact", "For", "Against", "Missing"):
        assert f"\n{heading}" in f"\n{text}"


def test_an_explanation_says_that_nothing_is_broken() -> None:
    case = scene(nothing, 1)

    assert explain(case.incident, asked(case)).root_cause.startswith("nothing is broken")


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("gpu_temperature_celsius", 91.24, "91.2 °C"),
        ("gpu_sm_clock_hz", 1.98e9, "1980 MHz"),
        ("volume_used_ratio", 0.953, "95.3 %"),
        ("gpu_memory_used_bytes", 3 * 2**30, "3 GiB"),
        ("port_errors_total", 0.5, "30 a minute"),
        ("node_up", float("nan"), "no reading"),
    ],
)
def test_a_number_never_goes_without_its_unit(metric: str, value: float, text: str) -> None:
    assert say_value(metric, value) == text


def big(nodes: int) -> tuple[Incident, dict[str, Window], Scene]:
    case = scene(nothing, 0, nodes=2)
    state = cluster(nodes)
    rng = np.random.default_rng(0)
    time_s = NOW_S + STEP_S * np.arange(-239, 1, dtype=np.float64)
    gpus = tuple(target_of_gpu(n, g) for n, g in itertools.product(range(nodes), range(8)))
    ranks = tuple(replace(gpu, job="j1", rank=str(i)) for i, gpu in enumerate(gpus))
    windows = {}
    for name, part in case.windows.items():
        kinds = {len(case.state.topology.gpus): gpus, 2: tuple(map(target_of_node, range(nodes)))}
        targets = kinds.get(len(part.targets), part.targets)
        targets = ranks if part.targets[0].rank else targets
        base = np.nanmean(part.value)
        value = base + rng.normal(0, 0.01 * abs(base) + 1e-3, (len(targets), 240))
        windows[name] = Window(name, targets, time_s, value)
    return case.incident, windows, replace(case, state=state, windows=windows)


@pytest.mark.parametrize(("nodes", "most_s"), [(200, 1.0), (1000, 5.0)])
def test_a_large_cluster_is_diagnosed_within_its_cycle(nodes: int, most_s: float) -> None:
    incident, windows, case = big(nodes)
    start = time.process_time()

    diagnose(incident, windows, case.state, now_s=NOW_S, settings=DiagnoseSettings())
    assert time.process_time() - start < most_s
