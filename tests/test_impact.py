"""A cause accounts for what it adds to the symptom: arithmetic at barriers, gains elsewhere."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cluster import ClusterState
from core.target import Target
from core.types import Diagnosis, Event, Floats, Incident, Severity
from rca.diagnose import DiagnoseSettings, diagnose
from rca.explain import explain
from rca.graph.causal_graph import CausalGraph, build_graph
from rca.graph.mechanisms import Mechanisms
from rca.knowledge import DEFAULT
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.impact import explained_share, impacts
from rca.posterior.standing import Spans, Standing
from rca.verdict import Verdict, together, verdict_of
from tests.rca_scenes import (
    NOW_S,
    Readings,
    Scene,
    anomaly,
    incident_of,
    node_cooling,
    port_errors,
    scene,
    slow_gpu,
)

JOB = Target(job="j1")
RANKS = tuple(Target(node="n", gpu=f"g{at}", job="j1", rank=str(at)) for at in range(3))
PARTS = ("rank_step_time_s", "rank_data_wait_s", "rank_collective_time_s")
NO_GAINS = Mechanisms(gain={}, explained={})


def case_of(
    moved: Mapping[str, tuple[float, ...]],
    *,
    mechanisms: Mechanisms = NO_GAINS,
    incident: Incident | None = None,
) -> Case:
    """Return a case in which readings moved by so much, each with a scale of 0.01."""
    targets = {name: RANKS if name.startswith("rank") else (JOB,) for name in moved}
    graph = build_graph(targets, None)
    change: Floats = np.concatenate([moved[name] for name in graph.metrics])
    blank = np.zeros(graph.size)
    return Case(
        incident=incident or incident_of(anomalies=(anomaly("job_step_time_s", JOB),)),
        told=(),
        windows={},
        state=None,
        knowledge=DEFAULT,
        graph=graph,
        spans=Spans(NOW_S - 3600, NOW_S - 600, NOW_S),
        standing=Standing(
            centre=blank,
            scale=blank + 0.01,
            level=change,
            own=change / 0.01,
            peer=blank,
            odd=change / 0.01,
            onset_s=blank + NOW_S - 600,
            silent=blank > 0,
        ),
        mechanisms=mechanisms,
        left=blank,
        reach=blank,
        symptoms=np.arange(graph.span(_goal(graph)).start, graph.span(_goal(graph)).stop),
        near=np.ones(len(graph.nodes), dtype=bool),
    )


def _goal(graph: CausalGraph) -> str:
    return next(name for name in ("job_step_time_s", "job_latency_p99_s") if name in graph.metrics)


def accusing(case: Case, metric: str, row: int = 0, *, beside: bool = False) -> Hypothesis:
    variable = case.graph.span(metric).start + row
    found = Hypothesis(case.graph.target(variable), "gpu_slow", np.array([variable]))
    if beside:
        found.add(Kind.SECOND, "stands by itself", 0.0)
    return found


def slow_ranks(*own: float, job: float) -> Case:
    """Return a job whose ranks' own times grew: the others wait in their collectives."""
    waits = tuple(max(own) - each for each in own)
    return case_of({PARTS[0]: own, PARTS[2]: waits, "job_step_time_s": (job,)})


def test_a_job_waits_for_its_slowest_rank_alone() -> None:
    case = slow_ranks(2.0, 0.5, 0.0, job=2.0)

    found = impacts(case, [accusing(case, PARTS[0], row) for row in range(3)])

    assert found == pytest.approx((1.0, 0.25, 0.0))


def test_a_rank_that_adds_half_accounts_for_half() -> None:
    case = slow_ranks(1.0, 0.0, 0.0, job=2.0)

    item = accusing(case, PARTS[0])

    assert impacts(case, [item]) == pytest.approx((0.5,))
    assert explained_share(case, [item]) == pytest.approx(0.5)


def test_the_parts_of_one_rank_add_up() -> None:
    case = case_of({PARTS[0]: (1.0, 0, 0), PARTS[1]: (0.5, 0, 0), "job_step_time_s": (1.5,)})
    own, data = accusing(case, PARTS[0]), accusing(case, PARTS[1])

    assert impacts(case, [own, data]) == pytest.approx((2 / 3, 1 / 3))
    assert explained_share(case, [own, data]) == pytest.approx(1.0)


def test_who_waits_for_a_slow_rank_adds_nothing() -> None:
    case = slow_ranks(2.0, 0.0, 0.0, job=2.0)

    assert impacts(case, [accusing(case, PARTS[2], row=1)]) == pytest.approx((0.0,))


def test_two_causes_at_once_share_the_symptom_and_rivals_do_not() -> None:
    """By Shapley: of 2 s the first brings 1 s alone, and they share the other second."""
    case = slow_ranks(2.0, 1.0, 0.0, job=2.0)
    first, rival = (accusing(case, PARTS[0], row) for row in range(2))
    second = accusing(case, PARTS[0], 1, beside=True)

    assert impacts(case, [first, rival]) == pytest.approx((1.0, 0.5))
    assert impacts(case, [first, second]) == pytest.approx((0.75, 0.25))


def test_inside_the_range_of_its_fit_a_link_brings_its_gain() -> None:
    moved = {"job_queue_depth": (0.04,), "job_latency_p99_s": (0.16,)}
    plain = case_of(moved, incident=incident_of(anomalies=(anomaly("job_latency_p99_s", JOB),)))
    (link,) = (each for each in plain.graph.templates if each.cause == "job_queue_depth")
    fitted = Mechanisms(gain={link: np.array([3.0])}, explained={})
    case = replace(plain, mechanisms=fitted)

    assert impacts(case, [accusing(case, "job_queue_depth")]) == pytest.approx((0.75,))
    assert impacts(plain, [accusing(plain, "job_queue_depth")]) == (None,)


def test_where_nothing_is_measured_no_share_is_made_up() -> None:
    calm = slow_ranks(2.0, 0.0, 0.0, job=0.0)
    case = slow_ranks(2.0, 0.0, 0.0, job=2.0)
    unread = Hypothesis(RANKS[0], "gpu_slow")

    assert impacts(calm, [accusing(calm, PARTS[0])]) == (None,)
    assert impacts(case, [unread]) == (None,)
    assert explained_share(case, [unread]) is None
    assert explained_share(case, []) is None


def test_what_ended_a_job_accounts_for_all_of_it() -> None:
    failed = Event(JOB, NOW_S, "job_failed", "1", "exit code 1", Severity.CRITICAL)
    case = replace(slow_ranks(1.0, 0.0, 0.0, job=2.0), incident=incident_of(events=(failed,)))
    said = Hypothesis(RANKS[0], "gpu_fallen_off_bus")
    said.add(Kind.EVENT, "Xid 79", 4.0)

    slow = accusing(case, PARTS[0])
    heat = Hypothesis(Target(node="n"), "cooling_degraded")
    heat.add(Kind.EXPLAINED, "explains that the GPU fell off the bus", 2.0)
    around, other = (Hypothesis(Target(node="n"), f) for f in ("gpu_slow", "gpu_power_fault"))

    assert impacts(case, [heat, said, slow]) == (1.0, 1.0, None)
    assert impacts(case, [said, around, other]) == (1.0, 1.0, None)
    assert impacts(case, [around, other]) == (None, None)
    assert explained_share(case, [slow, said]) == 1.0
    assert explained_share(case, [slow]) is None


def test_that_one_job_failed_says_nothing_of_another_that_is_slow() -> None:
    other = Event(Target(job="j2"), NOW_S, "job_failed", "1", "exit code 1", Severity.CRITICAL)
    slow = anomaly("job_step_time_s", JOB)
    incident = incident_of(anomalies=(slow,), events=(other,))
    case = replace(slow_ranks(1.0, 0.0, 0.0, job=2.0), incident=incident)

    assert impacts(case, [accusing(case, PARTS[0])]) == pytest.approx((0.5,))


@given(
    parts=st.lists(st.floats(-5, 5), min_size=9, max_size=9),
    job=st.floats(0.1, 9),
    beside=st.booleans(),
)
def test_shares_are_shares_and_add_up_to_what_all_bring(
    parts: list[float], job: float, beside: bool
) -> None:
    rows = {name: tuple(parts[3 * at : 3 * at + 3]) for at, name in enumerate(PARTS)}
    case = case_of({**rows, "job_step_time_s": (job,)})
    rest = [accusing(case, PARTS[1], 1, beside=beside), accusing(case, PARTS[2], 2)]
    items = [accusing(case, PARTS[0]), *rest]

    found = [share for share in impacts(case, items) if share is not None]

    at_once = items[: 1 + beside]
    assert len(found) == len(items)
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in found)
    together = explained_share(case, at_once)
    assert sum(found[: len(at_once)]) == pytest.approx(together, abs=1e-9)


def asked(found: Scene) -> Diagnosis:
    return diagnose(
        found.incident, found.windows, found.state, now_s=NOW_S, settings=DiagnoseSettings()
    )


@pytest.mark.parametrize("seed", range(3))
def test_one_fault_accounts_for_the_whole_of_a_slow_job(seed: int) -> None:
    made = scene(slow_gpu, seed)

    found = asked(made)

    assert found.causes[0].target == made.truth
    assert found.causes[0].impact == pytest.approx(1.0, abs=0.1)
    said = explain(made.incident, replace(found, unknown=0.0), made.state).impact
    assert "the cause accounts for" in said


@pytest.mark.parametrize("seed", range(3))
def test_two_faults_at_once_are_told_with_their_parts(seed: int) -> None:
    def hot_node_and_bad_port(
        raw: Readings, rng: np.random.Generator, state: ClusterState
    ) -> tuple[Target, str]:
        node_cooling(raw, rng, state)
        return port_errors(raw, rng, state)

    made = scene(hot_node_and_bad_port, seed)
    down = Event(made.truth, NOW_S - 300, "link_down", "", "link_down", Severity.CRITICAL)

    found = asked(replace(made, incident=replace(made.incident, events=(down,))))

    assert verdict_of(found) is Verdict.SEVERAL
    both = together(found)
    assert {cause.fault for cause in both} == {"network_link_down", "cooling_degraded"}
    assert all(cause.impact is not None and cause.impact > 0.2 for cause in both)
    assert sum(cause.impact or 0.0 for cause in both) == pytest.approx(found.explained)
