"""What a job's step takes: slowest rank, network, data, size, and measured scaling."""

import csv
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from sim import workload
from sim.engine import machines
from sim.engine.scaling import goodput, iteration_s, joins, leaves, pace, storage_share
from sim.engine.words import JobKind
from tests.flat_cluster import flat_cluster, put

# Our names for what the measurements call a model on a cluster.
MEASURED = {
    "bert-a100": ("bert", "dgx-ext"),
    "bert-t4": ("bert", "aws"),
    "bert-v100": ("bert", "azure"),
    "resnet50-t4": ("imagenet", "aws"),
    "resnet50-a100": ("imagenet", "dgx-ext"),
    "resnet18-a100": ("cifar10", "dgx-ext"),
    "deepspeech2-t4": ("deepspeech2", "aws"),
    "yolov3-t4": ("yolov3", "aws"),
}
ALONE = pytest.mark.parametrize("kind", [JobKind.PARAMETER_SERVER, JobKind.PIPELINE])


def test_a_job_of_whole_healthy_nodes_takes_exactly_its_ideal_step() -> None:
    w = flat_cluster(4)
    put(w, 0, [0, 1, 2, 3])

    assert pace(w, 0) == w.jobs[0]["ideal_s"] == 4.0 + 0.15 + 0.6
    assert w.jobs[0]["ratio"] == 1


def test_the_slowest_rank_rules() -> None:
    w = flat_cluster(4)
    put(w, 0, [0, 1, 2, 3])
    w.nodes[1]["slow"][3] = 1.5
    w.nodes[2]["slowness"][0] = 1.2

    assert pace(w, 0) == 4.0 * 1.5 + 0.15 + 0.6
    assert w.jobs[0]["ideal_s"] == 4.75


def test_a_gpu_of_another_job_on_the_node_slows_nothing() -> None:
    w = flat_cluster(1)
    put(w, 0, [0], each=2)
    w.nodes[0]["slow"][5] = 3.0

    assert pace(w, 0) == w.jobs[0]["ideal_s"]


def test_a_held_clock_slows_the_share_of_computing_that_follows_it() -> None:
    w = flat_cluster(2)
    put(w, 0, [0, 1])
    w.nodes[0]["clock"][0] = 0.5

    assert pace(w, 0) == pytest.approx(4.0 * (0.3 + 0.7 / 0.5) + 0.15 + 0.6)


@ALONE
def test_workers_at_their_own_pace_lose_only_what_the_slow_one_does_not_do(kind: int) -> None:
    w = flat_cluster(2)
    put(w, 0, [0, 1], kind=kind)
    w.nodes[1]["slow"][:] = 2.0

    pace(w, 0)

    assert w.jobs[0]["pace_s"] == pytest.approx(4.0 * 2 / (1 + 1 / 2))


def test_a_job_of_slower_gpus_is_measured_by_their_best() -> None:
    w = flat_cluster(2, types=workload.gpu_types(["h100", "a100"]))
    w.nodes["type"] = 1
    put(w, 0, [0, 1])

    assert pace(w, 0) == pytest.approx(w.jobs[0]["ideal_s"])
    assert w.jobs[0]["pace_s"] == pytest.approx(4.0 * 989.4 / 312)

    w.nodes[0]["type"] = 0
    assert pace(w, 0) > 2 * w.jobs[0]["ideal_s"]


def test_the_worst_link_slows_the_collective_of_all() -> None:
    w = flat_cluster(4)
    put(w, 0, [0, 1, 2, 3])
    w.nodes[2]["network"] = 0.25

    assert pace(w, 0) == pytest.approx(4.15 + 0.6 * 4)

    w.domains[0]["factor"] = 0.125
    assert pace(w, 0) == pytest.approx(4.15 + 0.6 * 8)


def test_a_job_does_not_step_while_a_link_or_a_leaf_is_down() -> None:
    w = flat_cluster(4)
    put(w, 0, [0, 1, 2, 3])
    w.nodes[2]["network"] = 0

    assert pace(w, 0) == math.inf
    assert w.jobs[0]["ideal_s"] == 4.75

    w.nodes[2]["network"] = 1
    w.domains[1]["up"] = False
    assert pace(w, 0) == math.inf


def test_a_job_on_one_node_needs_no_network() -> None:
    w = flat_cluster(1)
    put(w, 0, [0])
    w.nodes[0]["network"] = 0

    assert pace(w, 0) == 4.75


def test_ranks_scattered_over_leaves_communicate_longer() -> None:
    w = flat_cluster(4, leaf=2)
    put(w, 0, [0, 2, 1, 3])

    step_s = pace(w, 0)

    assert 4.75 < step_s <= 4.15 + 0.6 / 0.85
    assert w.jobs[0]["ideal_s"] == 4.75


@pytest.mark.parametrize(
    ("changes", "wait_s"),
    [({}, 0.15), ({"loaders": 0.5}, 0.3), ({"cache": 0.0, "cache_asked": 1.0}, 0.6)],
)
def test_loading_follows_threads_and_cache(changes: dict[str, Any], wait_s: float) -> None:
    w = flat_cluster(1)
    put(w, 0, [0], **changes)

    pace(w, 0)

    assert w.jobs[0]["wait_s"] == pytest.approx(wait_s)


def test_a_busy_host_delays_the_data_that_computing_does_not_hide() -> None:
    w = flat_cluster(1)
    put(w, 0, [0], data_s=3.8, overlap=0.95)
    assert pace(w, 0) == pytest.approx(4.6)

    w.nodes[0]["host"] = 1.5
    assert pace(w, 0) == pytest.approx(4.6 + 1.9)


def test_a_job_tuned_beyond_what_was_submitted_is_not_more_than_fully_used() -> None:
    w = flat_cluster(1)
    put(w, 0, [0], loaders=3.0)

    step_s = pace(w, 0)

    assert step_s == w.jobs[0]["ideal_s"] < 4.75


def test_saturated_storage_slows_all_readers_and_no_others() -> None:
    w = flat_cluster(3)
    for job in range(3):
        put(w, job, [job], bytes_per_step=4.75e8 if job < 2 else 0.0)
        pace(w, job)
    assert not joins(w, 0)
    assert not joins(w, 1)
    assert w.core[0]["storage_demand"] == 2e8

    w.core[0]["storage_factor"] = 0.1

    assert [pace(w, job) for job in range(3)] == pytest.approx([9.5, 9.5, 4.75])
    assert leaves(w, 1)
    assert pace(w, 0) == pytest.approx(4.75)
    assert storage_share(w) == 1


def test_joining_twice_counts_once() -> None:
    w = flat_cluster(1)
    put(w, 0, [0], bytes_per_step=4.75e8)
    pace(w, 0)
    joins(w, 0)
    w.jobs[0]["cache"] = 0.5
    joins(w, 0)

    assert w.core[0]["storage_demand"] == 5e7
    leaves(w, 0)
    assert w.core[0]["storage_demand"] == 0


def test_a_pipeline_stands_in_its_bubble_whatever_is_slow() -> None:
    w = flat_cluster(4)
    put(w, 0, [0, 1, 2, 3], pipeline=8, micro=32.0)
    assert pace(w, 0) == 4.75

    w.nodes[0]["slow"][0] = 2.0
    machines.changed(w, 0)
    assert pace(w, 0) == pytest.approx(4.0 * (7 + 2 * 32) / (7 + 32) + 0.75)


def test_half_of_the_gpus_take_about_twice_as_long_for_a_step_of_the_size_asked_for() -> None:
    w = flat_cluster(4)
    put(w, 0, [0, 1])
    w.jobs[0]["gpus"] = 32

    step_s = pace(w, 0)

    assert step_s == w.jobs[0]["ideal_s"]
    assert 8.3 < step_s < 8.9  # the all-reduce is a little shorter on fewer nodes
    assert w.jobs[0]["ratio"] == pytest.approx(4.75 / step_s)


def test_strong_scaling_of_a_large_pipeline_lies_near_megascale() -> None:
    """175B at a batch of 768: 65.3 % of the peak at 256 GPUs, 59.0 % at 1,024 (NSDI'24)."""
    w = flat_cluster(128, leaf=128)
    put(w, 0, list(range(128)), pipeline=8, micro=192.0, data_s=0.0, collective_s=0.0)
    w.jobs[0]["gpus"] = 256

    step_s = pace(w, 0)

    assert 4.0 / step_s / 4 == pytest.approx(59.0 / 65.3, abs=0.05)


@given(
    slow=st.floats(1, 50),
    network=st.floats(0, 1),
    host=st.floats(1, 20),
    size=st.integers(1, 4),
    loaders=st.floats(0.1, 4),
)
def test_no_step_is_shorter_than_its_ideal(
    slow: float, network: float, host: float, size: int, loaders: float
) -> None:
    w = flat_cluster(4)
    put(w, 0, list(range(size)), loaders=loaders, overlap=0.5)
    w.jobs[0]["gpus"] = 16
    w.nodes[0]["slow"][1] = slow
    w.nodes[0]["network"] = network
    w.nodes[0]["host"] = host

    step_s = pace(w, 0)

    row = w.jobs[0]
    assert step_s >= row["ideal_s"] > 0
    assert step_s == row["pace_s"] + row["wait_s"] + row["net_s"]


def test_an_elastic_job_follows_its_measured_goodput() -> None:
    w = flat_cluster(4, models=workload.models_table(["bert-a100"]))
    put(w, 0, [0, 1], model=0, kind=JobKind.ELASTIC)
    w.jobs[0]["gpus"] = 8

    step_s = pace(w, 0)

    ratio = goodput(w, 0, 2, 16) / goodput(w, 0, 1, 8)
    assert 1 < ratio < 2
    assert w.jobs[0]["ratio"] == pytest.approx(ratio)
    assert step_s == pytest.approx(4.75 / ratio)


@pytest.mark.parametrize("name", workload.models())
def test_goodput_grows_with_gpus_and_never_faster_than_they_do(name: str) -> None:
    w = flat_cluster(1, models=workload.models_table([name]))
    speeds = [goodput(w, 0, 1, gpus) / gpus for gpus in (1, 2, 4, 8)]

    assert all(a >= b * (1 - 1e-9) for a, b in pairwise(speeds))


@pytest.mark.parametrize("name", MEASURED)
def test_steps_and_weak_scaling_are_those_measured(name: str, shared_data: Path) -> None:
    """Within the fit's own error; an efficiency is a quotient of two times that have it."""
    w = flat_cluster(1, models=workload.models_table([name]))
    steps, scaling = [], []
    with (shared_data / "traces" / "scaling_measured.csv").open() as file:
        for row in csv.DictReader(file):
            if (row["model"], row["gpu"]) != MEASURED[name]:
                continue
            local, nodes, gpus = (int(row[key]) for key in ("local_bsz", "nodes", "replicas"))
            w.models[0]["local_batch"] = local
            step_s = iteration_s(w, 0, nodes, gpus, local * gpus)
            steps.append(step_s / float(row["step_time_s"]) - 1)
            efficiency = iteration_s(w, 0, 1, 1, local) / step_s
            scaling.append(efficiency / float(row["weak_scaling_eff"]) - 1)
    _, error = workload.models()[name]

    assert len(steps) > 10
    assert np.median(np.abs(steps)) <= error
    assert np.median(np.abs(scaling)) <= 2 * error


def test_an_unknown_model_or_gpu_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="no measured model 'bert-a10'; did you mean 'bert-a100'"):
        workload.models_table(["bert-a10"])
    with pytest.raises(InputError, match="no GPU type 'h10'; did you mean 'h100'"):
        workload.gpu_types(["h10"])
