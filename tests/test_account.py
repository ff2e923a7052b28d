"""A diagnosis leads from its cause to the job that hurts, and names what would decide it."""

from dataclasses import replace

import numpy as np
import pytest

from core.target import Target
from core.types import Cause
from rca.account import calm, checks, paths, ruled_out
from rca.diagnose import DiagnoseSettings, case_of
from rca.faults.catalogue import FAULTS, NO_FAULTS
from rca.graph.links import TEMPLATES
from rca.graph.templates import LEARNED_STRENGTH, Join, Provenance, Template
from rca.knowledge import Knowledge
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.rank import Ranking, rank
from rca.posterior.weights import fitted
from tests.rca_scenes import NOW_S, ONSET, gpu_cooling, nothing, scene


def ranking(*items: tuple[Hypothesis, float], calm: tuple[Hypothesis, ...] = ()) -> Ranking:
    share = np.array([share for _, share in items])
    return Ranking(tuple(item for item, _ in items), share, 0.0, 0.0, calm, ())


def fault(name: str, *, node: str = "n1") -> Hypothesis:
    return Hypothesis(Target(node=node), name)


def test_a_path_leads_from_the_hot_gpu_to_the_jobs_step_time() -> None:
    shown = scene(gpu_cooling, 3)
    case = case_of(
        shown.incident, shown.windows, shown.state, now_s=NOW_S, settings=DiagnoseSettings()
    )
    found = rank(case, fitted())

    first = paths(case, found)[0]

    assert [hop.metric for hop in first] == [
        "gpu_temperature_celsius",
        "gpu_throttle_ratio",
        "gpu_sm_clock_hz",
        "rank_step_time_s",
        "job_step_time_s",
    ]
    assert {hop.target.gpu for hop in first[:3]} == {found.kept[0].target.gpu}
    assert all(hop.level is not None and hop.usual is not None for hop in first)


def learned_link(cause: str) -> Template:
    return Template(
        cause,
        "job_step_time_s",
        Join.NODE_JOB,
        strength=LEARNED_STRENGTH,
        provenance=Provenance.LEARNED,
    )


def memory_case(*, shown: bool) -> tuple[Case, Hypothesis]:
    """A node with its memory full, which only a learned link ties to a slow job.

    shown: whether the incident itself points at the node
    """
    made = scene(gpu_cooling, 3)
    window = made.windows["node_memory_used_ratio"]
    odd = window.value.copy()
    odd[1, ONSET:] += 0.4
    windows = {**made.windows, "node_memory_used_ratio": replace(window, value=odd)}
    targets = (Target(job="j1"), *window.targets[1:2]) if shown else (Target(job="j1"),)
    known = [link for link in TEMPLATES if link.cause != "node_memory_used_ratio"]
    case = case_of(
        replace(made.incident, targets=targets, anomalies=made.incident.anomalies[:1]),
        windows,
        made.state,
        now_s=NOW_S,
        settings=DiagnoseSettings(),
        knowledge=Knowledge(links=(*known, learned_link("node_memory_used_ratio"))),
    )
    variable = case.graph.span("node_memory_used_ratio").start + 1
    return case, Hypothesis(window.targets[1], "memory_leak", np.array([variable]))


def test_only_a_cause_that_nothing_else_ties_to_the_symptom_takes_a_learned_link() -> None:
    case, item = memory_case(shown=False)

    (path,) = paths(case, ranking((item, 0.9)))

    assert [hop.metric for hop in path] == ["node_memory_used_ratio", "job_step_time_s"]
    assert [hop.learned for hop in path] == [False, True]
    assert Cause(item.target, item.fault, 0.9, path=path).conjectured


def test_what_is_itself_a_symptom_needs_no_learned_link() -> None:
    case, item = memory_case(shown=True)

    (path,) = paths(case, ranking((item, 0.9)))

    assert [hop.metric for hop in path] == ["node_memory_used_ratio"]


def test_without_a_symptom_no_path_is_told() -> None:
    shown = scene(nothing, 1)
    calm_one = replace(shown.incident, anomalies=(), targets=(), jobs=())
    case = case_of(calm_one, shown.windows, shown.state, now_s=NOW_S, settings=DiagnoseSettings())

    assert paths(case, ranking((fault("memory_leak"), 0.9))) == ((),)


def test_the_most_even_fault_is_checked_first_and_the_same_check_once() -> None:
    leaks = [(fault("memory_leak", node=f"n{k}"), 0.2) for k in range(2)]
    sure, likely = fault("storage_slow"), fault("gpu_slow")

    found = checks(ranking((likely, 0.55), *leaks, (sure, 0.001)))

    assert [check.text for check in found] == [
        FAULTS["gpu_slow"].check,
        FAULTS["memory_leak"].check,
    ]
    assert found[1].target == Target(node="n0")
    assert found[0].gain == pytest.approx(0.688, abs=0.001)
    assert found[1].gain == pytest.approx(0.673, abs=0.001)


def test_what_was_suspected_and_is_not_it_says_why() -> None:
    leak, slow = fault("memory_leak"), fault("storage_slow")
    leak.add(Kind.RESIDUAL, "memory is a little high", 1.0)
    leak.add(Kind.AFTERMATH, "it began after the job had stopped", -3.0)
    slow.add(Kind.PRIOR, "how usual this fault is", -4.0)

    (found,) = ruled_out(ranking((leak, 0.01), (slow, 0.01)), fitted())

    assert (found.fault, found.why) == ("memory_leak", "it began after the job had stopped")


def test_no_fault_says_which() -> None:
    work = fault("planned_work")
    work.add(Kind.CALM, "the scheduler says maintenance", 3.0)

    text, evidence = calm(ranking(calm=(work,)), fitted())

    assert text == NO_FAULTS["planned_work"]
    assert [item.text for item in evidence] == ["the scheduler says maintenance"]
    assert calm(ranking(), fitted()) == ("", ())
