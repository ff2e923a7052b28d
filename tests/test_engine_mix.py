"""Jobs drawn from mixes: published marginals in, the same marginals out; times by day and week."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import InputError
from sim import workload
from sim.engine.jit import compiled
from sim.engine.mix import draw, from_trace, next_s, rhythm
from sim.engine.rows_jobs import MIX
from sim.engine.tables import SCHEMA, Table, Tables
from sim.engine.words import Ending, JobKind
from tests.flat_cluster import flat_cluster

DAY_S = 86400.0
MONDAY_S = 4 * DAY_S  # 5 January 1970
LARGEST = 16384
TRACES = {
    "acme-kalos": "Kalos",
    "acme-seren": "Seren",
    "philly": "Philly",
    "helios": "Helios",
}
SAMPLES = 200_000

Sample = NDArray[np.float64]


@compiled
def _draw_all(w: Tables, out: Sample) -> None:
    for index in range(len(out)):
        draw(w, 0, index)
        row = w.jobs[0]
        out[index, 0] = row["gpus"]
        out[index, 1] = row["work"] * row["ideal_s"]
        out[index, 2] = row["ending"]


@compiled
def _arrive(w: Tables, out: NDArray[np.float64]) -> None:
    for index in range(len(out)):
        w.core[0]["now_s"] = next_s(w, index)
        out[index] = w.core[0]["now_s"]


def sampled(name: str, count: int = SAMPLES) -> tuple[Sample, Sample, Sample]:
    """Return GPUs, run times and endings of generated jobs."""
    w = flat_cluster(1, mix=workload.mix_table(name, LARGEST))
    out = np.zeros((count, 3))
    _draw_all(w, out)
    return out[:, 0], out[:, 1], out[:, 2]


def arrivals(count: int, **site: float) -> NDArray[np.float64]:
    w = flat_cluster(1, mix=workload.mix_table("rsc1", LARGEST))
    w.core[0]["now_s"] = MONDAY_S
    for name, value in site.items():
        w.site[0][name] = value
    out = np.zeros(count)
    _arrive(w, out)
    return out


def mean_times(table: Table) -> NDArray[np.float64]:
    """Return each row's mean of a lognormal time that is cut."""
    means = np.empty(len(table))
    for at, row in enumerate(table):
        sigma, cut = float(row["sigma"]), math.log(row["longest_s"] / row["median_s"])
        below, beyond = _normal_cdf(cut / sigma - sigma), 1 - _normal_cdf(cut / sigma)
        mean = row["median_s"] * math.exp(sigma**2 / 2) * below
        means[at] = mean + row["longest_s"] * beyond
    return means


def _normal_cdf(value: float) -> float:
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def shares(values: Sample, weights: Sample | None = None) -> tuple[float, float, float]:
    """Return how large a part completed, was cancelled and failed."""
    own = np.ones(len(values)) if weights is None else weights
    total = own.sum()
    kinds = (Ending.COMPLETED, Ending.CANCELLED, Ending.FAILED)
    one, two, three = (float(own[values == kind].sum() / total) for kind in kinds)
    return one, two, three


@pytest.mark.parametrize("name", TRACES)
def test_a_mix_has_the_published_marginals(name: str, shared_data: Path) -> None:
    with (shared_data / "traces" / "cluster_marginals.csv").open() as file:
        published = {row["id"]: row for row in csv.DictReader(file)}[TRACES[name]]
    gpus, run_s, ending = sampled(name)
    table = workload.mix_table(name, LARGEST)
    gpu_s = table["weight"] * table["gpus"] * mean_times(table)

    assert gpus.mean() == pytest.approx(float(published["avg_gpu_num"]), rel=0.05)
    assert np.median(gpus) == float(published["med_gpu_num"])
    assert gpus.max() <= float(published["max_gpu"])
    assert np.median(run_s) == pytest.approx(float(published["med_run_time_gpu"]), rel=0.03)
    assert run_s.mean() == pytest.approx(float(published["avg_run_time_gpu"]), rel=0.08)
    assert run_s.max() <= float(published["max_run_time_gpu"])
    names = ("complete", "cancel", "fail")
    counted = [float(published[f"{part}_rate_gpu"]) for part in names]
    assert shares(ending) == pytest.approx(counted, abs=0.006)
    timed = [float(published[f"{part}_rate_gpu_time"]) for part in names]
    completes, cancelled = (
        gpu_s @ table[part] / gpu_s.sum() for part in ("completes", "cancelled")
    )
    assert (completes, cancelled, 1 - completes - cancelled) == pytest.approx(timed, abs=0.006)
    parts = sum(float(published[f"{part}_gpu_time"]) for part in names)
    assert gpu_s.sum() == pytest.approx(parts / float(published["gpu_job_num"]), rel=0.02)


@pytest.mark.parametrize(
    ("name", "gpus", "jobs_a_day", "used", "large"),
    [("rsc1", 16384, 7200, 0.83, 0.66), ("rsc2", 8192, 4400, 0.85, 0.52)],
)
def test_rsc_is_used_as_published(
    name: str, gpus: int, jobs_a_day: float, used: float, large: float
) -> None:
    """Kokolis et al., HPCA'25: most jobs are small, and most GPU time is large jobs'."""
    table = workload.mix_table(name, gpus)
    gpu_s = table["weight"] * table["gpus"] * mean_times(table)
    small = table["gpus"] <= 8

    assert gpu_s.sum() * jobs_a_day / DAY_S / gpus == pytest.approx(used, rel=0.01)
    assert gpu_s[table["gpus"] >= 256].sum() / gpu_s.sum() == pytest.approx(large, abs=0.01)
    assert table["weight"][small].sum() > 0.9
    assert gpu_s[small].sum() / gpu_s.sum() < 0.1
    assert table["weight"][table["gpus"] == 1].sum() > 0.4
    assert table["longest_s"].max() == 7 * DAY_S


def test_what_is_drawn_agrees_with_the_rows() -> None:
    gpus, run_s, ending = sampled("rsc1")
    table = workload.mix_table("rsc1", LARGEST)
    found = [(gpus == size).mean() for size in table["gpus"][:5]]

    assert found == pytest.approx(table["weight"][:5], abs=0.005)
    assert np.median(run_s[gpus == 8]) == pytest.approx(677, rel=0.03)
    assert shares(ending)[0] == pytest.approx(0.688, abs=0.005)


def test_a_job_is_the_same_whatever_was_drawn_before_it() -> None:
    w = flat_cluster(1, mix=workload.mix_table("rsc1", LARGEST))
    draw(w, 0, 7)
    for index in range(7):
        draw(w, 1, index)
    draw(w, 1, 7)

    assert w.jobs[0] == w.jobs[1]


def test_llama3_is_one_job_of_54_days() -> None:
    gpus, run_s, ending = sampled("llama3", 3)

    assert gpus.tolist() == [16384] * 3
    assert run_s == pytest.approx(54 * DAY_S)
    assert ending.tolist() == [Ending.COMPLETED] * 3


def test_jobs_larger_than_the_cluster_are_left_out() -> None:
    table = workload.mix_table("rsc1", 100)

    assert table.dtype == MIX
    assert table["gpus"].max() == 64
    assert table["weight"].sum() == pytest.approx(1)


def test_a_mix_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(InputError, match="needs 16384 GPUs and the cluster has 128"):
        workload.mix_table("llama3", 128)


def test_an_unknown_mix_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="no job mix 'rsc-1'; did you mean 'rsc1'"):
        workload.mix_table("rsc-1", 128)


def test_arrivals_are_poisson_at_the_rate_asked_for() -> None:
    times = arrivals(20_000, mix_per_day=1000.0)
    gaps = np.diff(times)

    assert gaps.mean() == pytest.approx(86.4, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)


def test_arrivals_follow_the_day_and_the_week() -> None:
    times = arrivals(50_000, mix_per_day=1000.0, mix_daily=0.5, mix_weekly=0.4)
    hour = times % DAY_S / 3600
    weekend = (times // DAY_S + 3) % 7 >= 5
    by_day = np.bincount(((times - MONDAY_S) // DAY_S).astype(int))[:49].reshape(7, 7)

    assert ((hour > 11) & (hour < 17)).mean() / ((hour < 5) | (hour > 23)).mean() > 2.5
    assert by_day[:, 5:].mean() / by_day[:, :5].mean() == pytest.approx(0.6, abs=0.03)
    assert len(times) / (times[-1] - MONDAY_S) * DAY_S == pytest.approx(1000, rel=0.03)
    assert 0.15 < weekend.mean() < 0.24


def test_a_rhythm_means_one() -> None:
    week = MONDAY_S + np.arange(0, 7 * DAY_S, 600.0)

    assert np.mean([rhythm(time_s, 0.7, 0.5) for time_s in week]) == pytest.approx(1)


def test_without_a_mix_nothing_is_submitted() -> None:
    w = flat_cluster(1, mix=workload.mix_table("rsc1", LARGEST))

    assert next_s(w, 0) == math.inf


def test_a_replayed_job_is_that_of_its_row() -> None:
    trace = np.zeros(2, dtype=SCHEMA["trace"])
    trace[1] = (60.0, 16, 1234.0, 3, Ending.FAILED, JobKind.TRAINING)
    w = flat_cluster(1, trace=trace)

    from_trace(w, 0, 1)

    row = w.jobs[0]
    assert (row["gpus"], row["priority"], row["ending"]) == (16, 3, Ending.FAILED)
    assert row["work"] * row["ideal_s"] == 1234
    assert row["compute_s"] + row["data_s"] + row["collective_s"] == pytest.approx(row["ideal_s"])
