"""A job's energy is its GPUs' power over time, shared by GPUs, with what was not read left out."""

import numpy as np
import pytest

from agent.energy.used import EnergyUsed, Rates
from core.cluster import ClusterState, JobPhase, JobState
from core.target import Target
from core.topology import flat_topology
from core.types import Window

STEP_S = 15.0


def cluster(*jobs: JobState) -> ClusterState:
    return ClusterState(0.0, flat_topology({}), (), jobs)


def job(name: str, gpus: int, *nodes: str, phase: JobPhase = JobPhase.RUNNING) -> JobState:
    return JobState(name, phase, nodes, gpus, 0.0)


def power(now_s: float, columns: int, watts: float = 500.0) -> Window:
    """Two nodes of eight GPUs, each drawing so many watts until now."""
    targets = [Target(node=f"n{node}", gpu=f"g{gpu}") for node in range(2) for gpu in range(8)]
    time_s = np.array([now_s - STEP_S * back for back in range(columns - 1, -1, -1)])
    return Window("gpu_power_watts", tuple(targets), time_s, np.full((16, columns), watts))


def test_joules_are_watts_times_seconds_and_money_follows() -> None:
    account = EnergyUsed(until_s=0.0)
    rates = Rates(0.25, "EUR", 400.0, host_watts=100.0, overhead=1.5)
    whole = job("a", 16, "n0", "n1")
    for now_s in (60.0, 120.0):
        account.note(cluster(whole), power(now_s, 4), now_s=now_s)

    (bill,) = account.bills(rates)
    kwh = 16 * (500.0 + 100.0) * 120.0 * 1.5 / 3.6e6
    assert (bill.job, bill.watts, bill.measured_ratio) == ("a", 8000.0, 1.0)
    assert (bill.kwh, bill.cost, bill.co2_g) == pytest.approx((kwh, kwh * 0.25, kwh * 400))


def test_jobs_that_share_a_node_share_its_energy_by_gpus() -> None:
    account = EnergyUsed(until_s=0.0)
    account.note(cluster(job("a", 2, "n0"), job("b", 6, "n0")), power(60.0, 4), now_s=60.0)

    joules = {name: used.joules for name, used in account.jobs.items()}
    assert joules == pytest.approx({"a": 1000.0 * 60, "b": 3000.0 * 60})


def test_what_nobody_read_is_in_no_sum_and_said() -> None:
    account = EnergyUsed(until_s=0.0)
    half = power(60.0, 4)
    half.value[:4] = np.nan
    account.note(cluster(job("a", 8, "n0")), half, now_s=60.0)
    account.note(cluster(job("a", 8, "n0")), power(300.0, 0), now_s=300.0)
    waits = job("b", 8, "n1", phase=JobPhase.PENDING)
    account.note(cluster(job("a", 8, "n0"), waits), power(5000.0, 4), now_s=5000.0)

    (bill,) = account.bills(Rates())
    assert (bill.cost, bill.co2_g) == (None, None)
    # Of 300 s half the GPUs were read in the first 60; the long gap after it is nobody's.
    assert bill.measured_ratio == pytest.approx(30 / 300)
    assert account.jobs["a"].joules == pytest.approx(4 * 500.0 * 60)


def test_the_account_outlives_a_restart() -> None:
    account = EnergyUsed(until_s=0.0)
    account.note(cluster(job("a", 8, "n0")), power(60.0, 4), now_s=60.0)
    again = EnergyUsed.remembering(account.state())

    assert again == account
    assert EnergyUsed.remembering({}) == EnergyUsed.remembering({"job": np.array(["x"])})
    again.note(cluster(), power(120.0, 4), now_s=120.0)
    assert [bill.watts for bill in again.bills(Rates())] == [0.0]
