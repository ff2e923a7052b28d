"""Cases of simulated faults are the same for the same seed, and held-out ones are new."""

from collections.abc import Sequence

import numpy as np
import pytest

from agent.evaluations.rca.cases import (
    FAULTS,
    LATE_S,
    MISSING_SHARE,
    NORMAL_S,
    Block,
    Case,
    Unnoticed,
    blocks,
    made,
)
from agent.evaluations.rca.families import FAMILIES
from agent.evaluations.rca.judging import OURS, Judged, judge
from agent.evaluations.rca.striking import JOB_ENDS, JOB_STARTS, QUIET
from agent.evaluations.rca.variables import arrays_of, named
from sim.catalogue import CLASSES
from sim.world import World

HBM, POINTED = "gpu_hbm", "pointed_0"
# The smallest cluster there is, with a seed of its own.
SMALL = next(i for i, family in enumerate(FAMILIES["held-out"]) if family.name == "one-job")
BLOCK = Block("held-out", SMALL, 900, (HBM, POINTED, JOB_STARTS, JOB_ENDS, "request_surge"))


@pytest.fixture(scope="module")
def found() -> Sequence[Case | Unnoticed]:
    return list(made(BLOCK))


@pytest.fixture(scope="module")
def case(found: Sequence[Case | Unnoticed]) -> Case:
    return next(each for each in found if isinstance(each, Case) and each.about == HBM)


def test_a_fault_is_noticed_where_it_is_and_a_quiet_window_has_no_truth(
    found: Sequence[Case | Unnoticed],
) -> None:
    cases = {each.about: each for each in found if isinstance(each, Case)}

    assert [truth.sim for truth in cases[HBM].truths][:1] == [HBM]
    assert cases[HBM].truths[0].target.gpu
    for about in (POINTED, JOB_STARTS, JOB_ENDS):
        assert cases[about].truths == ()
        assert cases[about].incident.anomalies


def test_what_the_cluster_has_no_place_for_is_left_out(found: Sequence[Case | Unnoticed]) -> None:
    assert "request_surge" not in {each.about for each in found}


def test_the_same_seed_makes_the_same_case(case: Case) -> None:
    again = next(iter(made(Block("held-out", SMALL, 900, (HBM,)))))

    assert isinstance(again, Case)
    assert (again.incident, again.truths, again.now_s) == (case.incident, case.truths, case.now_s)
    assert again.windows.keys() == case.windows.keys()
    for metric, window in case.windows.items():
        assert np.array_equal(again.windows[metric].value, window.value, equal_nan=True)


def test_a_case_is_diagnosed_a_minute_late_with_seventy_minutes_before_it(case: Case) -> None:
    time_s = next(iter(case.windows.values())).time_s
    onset_s = case.truths[0].onset_s

    assert case.now_s >= onset_s + LATE_S
    assert case.incident.opened_s <= case.now_s
    assert all(anomaly.start_s >= onset_s for anomaly in case.incident.anomalies)
    assert onset_s - time_s[0] >= NORMAL_S - LATE_S
    assert time_s[-1] <= case.now_s


def test_a_twentieth_of_the_series_is_missing(case: Case) -> None:
    nodes, gpus = len(case.state.topology.nodes), len(case.state.topology.gpus)
    expected = {"gpu_power_watts": gpus, "gpu_temperature_celsius": gpus, "node_power_watts": nodes}
    expected |= {"gpu_ecc_corrected_total": gpus, "gpu_utilization_ratio": gpus}
    there = sum(len(case.windows[metric].targets) for metric in expected)
    all_of_them = sum(expected.values())

    # 264 draws of 5 %: fewer than 2 or more than 27 missing come in one of 100,000.
    assert 2 <= all_of_them - there <= 27
    assert MISSING_SHARE == 0.05


def test_every_class_of_the_catalogue_is_a_fault_or_a_quiet_window() -> None:
    assert set(FAULTS) | set(QUIET) >= set(CLASSES)
    assert not set(FAULTS) & set(QUIET)


def test_held_out_clusters_are_of_other_families_and_shapes() -> None:
    shapes = {
        split: {
            (scenario.nodes, scenario.racks, scenario.machines, len(scenario.jobs))
            for family in families
            for scenario in (family.make(np.random.default_rng(seed)) for seed in range(20))
        }
        for split, families in FAMILIES.items()
    }
    names = {split: {family.name for family in families} for split, families in FAMILIES.items()}

    assert not shapes["tuning"] & shapes["held-out"]
    assert not names["tuning"] & names["held-out"]


@pytest.mark.parametrize("split", FAMILIES)
def test_the_jobs_of_a_family_all_find_room(split: str) -> None:
    for family in FAMILIES[split]:
        world = World.build(family.make(np.random.default_rng(7)), seed=7)

        assert [job.phase for job in world.state().jobs if job.phase != "running"] == []


def test_a_suite_makes_every_fault_in_every_family() -> None:
    todo = blocks("tuning", range(2))

    assert len(todo) == 2 * len(FAMILIES["tuning"])
    assert all(set(FAULTS) < set(block.about) for block in todo)


def test_other_methods_get_the_incidents_own_nodes_and_name_a_place(case: Case) -> None:
    arrays = arrays_of(case)

    assert arrays is not None
    assert arrays.normal.shape[1] > 250
    assert arrays.names[arrays.target][1].job
    gpu = case.truths[0].target
    odd = [metric == "gpu_ecc_uncorrected_total" and on == gpu for metric, on in arrays.names]
    first = named(arrays, np.array(odd, dtype=np.float64))[0]
    assert (first.target, first.kind) == (gpu, case.truths[0].kind)


def test_a_case_is_judged_with_every_method_beside_ours() -> None:
    (judged,) = judge(Block("held-out", SMALL, 900, (HBM,)))

    assert isinstance(judged, Judged)
    assert judged.kinds == ("gpu_memory",)
    assert {OURS, "nsigma", "robust", "regression", "traversal", "random_walk"} == set(judged.marks)
    assert judged.question is not None
    assert len(judged.question.arrays.names) <= 12
