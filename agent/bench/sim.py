"""The simulator's speed: cluster-days, readings, decisions and forks a second of processor time.

The cluster is kept busy by trainings of 1,024 GPUs on five eighths of its nodes and, beside them,
by the job mix of Kalos (AcmeTrace), with RSC-1's failures, a queue, backfill, repairs and spares. A
first run of each kind warms up: what is compiled is compiled then, and does not count.
"""

import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from core.figures import Row, at_least, at_most
from sim.dense import dense
from sim.engine.gpu_readings import Gauge
from sim.scenario import JobSpec, Scenario, Site, Workload
from sim.telemetry import GPU_METRICS, readings
from sim.world import World

DAY_S = 86400.0
GPUS_A_NODE = 8
MIX, PROFILE = "acme-kalos", "rsc1"
METRICS = 12
_LARGE = (12_500, 6000.0)  # nodes, jobs a day: 100,000 GPUs
_USUAL = (2048, 1000.0)
_RL_NODES = 64
_MIB = 1024.0  # KiB, as getrusage counts
_PEER_DAYS = 100.0
_PEER_RATE = 6.5e-3  # failures a day and node: RSC-1's


def busy(nodes: int, jobs_a_day: float, *, telemetry: str = "none", each: int = 128) -> Scenario:
    """Return the scenario that is measured: trainings, a mix of jobs, failures, repairs.

    each: nodes of a training
    """
    count = nodes * 5 // 8 // each
    return Scenario(
        name=f"busy-{nodes}",
        nodes=nodes,
        racks=max(nodes // 16, 1),
        spares=nodes // 64,
        jobs=tuple(
            JobSpec(id=f"training-{index}", nodes=each, priority=10) for index in range(count)
        ),
        history_s=0.0,
        site=Site(requeue=True, drain=True, check_s=300.0),
        workload=Workload(jobs_per_day=jobs_a_day, mix=MIX, daily=0.5),
        telemetry=telemetry,
        profile=PROFILE,
    )


def sim_rows(*, quick: bool) -> tuple[Row, ...]:
    """Measure everything; ``quick`` is shorter runs of the same."""
    runs = 3 if quick else 5
    return (
        *days_rows(quick=quick, runs=runs),
        *telemetry_rows(2048 if not quick else 512, runs=runs),
        decisions_row(0.5 if quick else 2.0, runs=runs),
        *fork_rows(2048, days=3.0, runs=4 * runs),
        rss_row(1.0 if quick else 10.0),
        peer_row(10.0 if quick else _PEER_DAYS),
        *cost_rows((256, 2048, 12_500), (2.0, 8.0) if quick else (10.0, 40.0)),
    )


def days_rows(*, quick: bool, runs: int) -> tuple[Row, ...]:
    """Measure the two clusters, each also with one training alone on five eighths of it."""
    days, large_days = (20.0, 4.0) if quick else (60.0, 20.0)
    usual, large = (nodes * 5 // 8 for nodes, _ in (_USUAL, _LARGE))
    name = "cluster_days_per_cpu_s_"
    return (
        _days_row(f"{name}16k_gpus", busy(*_USUAL), days, runs, 150.0),
        _days_row(f"{name}100k_gpus", busy(*_LARGE), large_days, runs, 15.0),
        _days_row(f"{name}16k_gpus_one_training", busy(*_USUAL, each=usual), days, 3, None),
        _days_row(f"{name}100k_gpus_one_training", busy(*_LARGE, each=large), large_days, 3, None),
    )


def days_run(scenario: Scenario, *, days: float, seed: int) -> tuple[float, World]:
    """Return the processor seconds that so many days took, the building left out, and the world."""
    world = World.build(scenario, seed=seed)
    seconds = _cpu_s(lambda: world.advance(scenario.start_s + days * DAY_S))
    return seconds, world


def telemetry_rows(nodes: int, *, runs: int, hours: float = 4.0) -> tuple[Row, ...]:
    """Measure every reading of a busy cluster, and one node's window as a controller asks for it.

    A cluster of other than 2,048 nodes counts as that share of the 16,384 GPUs' day.
    """
    scenario = busy(nodes, _USUAL[1] * nodes / _USUAL[0], telemetry="full")
    _, world = days_run(scenario, days=1.0, seed=0)
    gauges = tuple(Gauge)[:METRICS]

    def all_readings() -> None:
        blocks = dense(
            world.inner, start_s=world.now_s - hours * 3600.0, end_s=world.now_s, gauges=gauges
        )
        for _ in blocks:
            pass

    share = nodes / _USUAL[0] * hours / 24.0
    rates = [share / seconds for seconds in _warm(all_readings, runs)]
    note = f"{nodes * GPUS_A_NODE} GPUs x {METRICS} metrics at 60 s for {hours:g} h of a busy world"
    return (
        _spread(
            at_least, "telemetry_cluster_days_per_cpu_s", rates, goal=1.0, unit="days/s", note=note
        ),
        _window_row(world, runs=runs),
    )


def _window_row(world: World, *, runs: int) -> Row:
    minute_s = world.now_s - world.now_s % 60.0
    time_s = minute_s - 60.0 * np.arange(60, dtype=np.float64)[::-1]
    metrics, node, many = tuple(GPU_METRICS)[:METRICS], world.names.nodes[1], 100

    def windows() -> None:
        for _ in range(many):
            readings(world, metrics, time_s, nodes=(node,))

    spent_us = [1e6 * seconds / many for seconds in _warm(windows, runs)]
    note = f"a node-hour: {GPUS_A_NODE} GPUs x {METRICS} metrics x 60, as windows"
    return _spread(at_most, "telemetry_window_us", spent_us, goal=100.0, unit="us", note=note)


def decisions_row(seconds: float, *, runs: int) -> Row:
    """Measure decisions by a policy of chance, the beginnings of new lives included."""
    from agent.bench.decisions import decisions_per_cpu_s

    rates = [decisions_per_cpu_s(_RL_NODES, seconds=seconds) for _ in range(runs)]
    note = f"{_RL_NODES} nodes, the observation and the beginning of each life included"
    return _spread(at_least, "rl_decisions_per_cpu_s", rates, goal=40_000.0, unit="1/s", note=note)


def fork_rows(nodes: int, *, days: float, runs: int) -> tuple[Row, ...]:
    """Measure a fork of a busy cluster, its first hour, and the same world saved and loaded."""
    _, world = days_run(busy(nodes, _USUAL[1] * nodes / _USUAL[0]), days=days, seed=0)
    world.fork().advance(world.now_s + 3600.0)
    forks, first = [], []
    for _ in range(runs):
        twins: list[World] = []
        forks.append(1e3 * _cpu_s(lambda: twins.append(world.fork())))  # noqa: B023 - called here
        first.append(1e3 * _cpu_s(lambda: twins[0].advance(world.now_s + 1.0)))  # noqa: B023
    note = f"{nodes} nodes after {days:g} days, {int(world.inner.core[0]['queue_n'])} jobs waiting"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "world"
        saved = [1e3 * s for s in _warm(lambda: world.save(path), 3)]
        loaded = [1e3 * s for s in _warm(lambda: World.load(path), 3)]
        size = path.stat().st_size / 2**20
    return (
        _spread(at_most, "fork_ms", forks, goal=5.0, unit="ms", note=note),
        _spread(None, "fork_first_second_ms", first, unit="ms", note="the twin's first second"),
        _spread(None, "save_ms", saved, unit="ms", note=f"{note}; a file of {size:.1f} MiB"),
        _spread(None, "load_ms", loaded, unit="ms", note="the same file"),
    )


def rss_row(days: float) -> Row:
    """Measure the memory of a process that runs the large cluster and nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        mib = pool.apply(_peak_mib, (days,))
    note = f"100,000 GPUs for {days:g} days in a process of its own, Python and numba included"
    return at_most("rss_mib", mib, 1024.0, unit="MiB", note=note)


def peer_row(days: float) -> Row:
    """Measure our days for a second of processor time over AIReSim's, of about the same cluster.

    One job on 2,048 nodes, its failures, warm standbys and spares, repairs; no telemetry.
    """
    metric = "ratio_vs_airesim"
    if find_spec("airesim") is None:
        note = (
            "not measured: no airesim; put github.com/karthikp-ubc/airesim on PYTHONPATH, "
            "`pip install simpy`, and run again"
        )
        return Row(metric, None, "ratio", note=note)
    parts: Any = import_module("airesim.params")
    simulator: Any = import_module("airesim.simulator")
    asked = parts.Params(
        job_size=2048,
        warm_standbys=16,
        working_pool_size=2080,
        spare_pool_size=32,
        job_length=days * 1440.0,
        random_failure_rate=_PEER_RATE / 1440.0,
        systematic_failure_fraction=0.0,
    )
    theirs = min(_warm(lambda: simulator.Simulator(asked, seed=1).run(), 3))
    job = (JobSpec(id="training", nodes=2048),)
    site = Site(requeue=True, drain=True, check_s=300.0)
    own = Scenario(
        "peer", 2112, 132, 64, job, history_s=0.0, site=site, telemetry="none", profile=PROFILE
    )
    days_run(own, days=days, seed=0)
    ours = statistics.median(days_run(own, days=days, seed=seed)[0] for seed in range(3))
    note = f"ours {days / ours:.0f}, theirs {days / theirs:.0f} days/s; one job on 2,048 nodes"
    return Row(metric, theirs / ours, "ratio", note=note)


def cost_rows(sizes: Sequence[int], lengths: Sequence[float]) -> tuple[Row, ...]:
    """Measure what an event costs and how many there are, by the cluster's size and the run's days.

    Jobs come in proportion to the nodes, so that all sizes are equally busy.
    """
    rows = []
    for nodes in sizes:
        scenario = busy(nodes, _USUAL[1] * nodes / _USUAL[0])
        days_run(scenario, days=0.5, seed=0)
        for days in lengths:
            runs = [days_run(scenario, days=days, seed=seed) for seed in range(3)]
            costs = [1e6 * seconds / world.handled for seconds, world in runs]
            events = statistics.median(world.handled for _, world in runs)
            rate = days / statistics.median(seconds for seconds, _ in runs)
            note = f"{events:.0f} events, {rate:.4g} days/s"
            name = f"us_per_event_{nodes}_nodes_{days:g}_days"
            rows.append(_spread(None, name, costs, unit="us", note=note))
    return tuple(rows)


def _days_row(metric: str, scenario: Scenario, days: float, runs: int, goal: float | None) -> Row:
    days_run(scenario, days=1.0, seed=0)
    done = [days_run(scenario, days=days, seed=seed) for seed in range(runs)]
    rates = [days / seconds for seconds, _ in done]
    world = done[0][1]
    uses, work = world.uses(), scenario.workload
    used = uses["held"] / sum(uses.values())
    per_day = work.jobs_per_day if work else 0.0
    note = (
        f"{per_day:g} jobs a day of {MIX} beside {len(scenario.jobs)} of "
        f"{scenario.jobs[0].nodes} nodes, {days:g} days; {used:.0%} of GPU time held, "
        f"{len(world.truth)} faults, {world.interruptions} interruptions, "
        f"{1e6 * done[0][0] / world.handled:.2g} us an event"
    )
    held = None if goal is None else at_least
    return _spread(held, metric, rates, goal=goal, unit="days/s", note=note)


def _peak_mib(days: float) -> float:
    days_run(busy(*_LARGE), days=days, seed=0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB


def _warm(work: Callable[[], object], runs: int) -> list[float]:
    """Return the processor seconds of each of ``runs`` calls, after one that does not count."""
    work()
    return [_cpu_s(work) for _ in range(runs)]


def _cpu_s(work: Callable[[], object]) -> float:
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


def _spread(
    held: Callable[..., Row] | None,
    metric: str,
    values: Sequence[float],
    *,
    goal: float | None = None,
    unit: str,
    note: str,
) -> Row:
    """Report the median with the smallest and largest, held to a goal where there is one."""
    middle = statistics.median(values)
    rest = {"low": min(values), "high": max(values), "n": len(values), "note": note}
    if held is None:
        return Row(metric, middle, unit, **rest)  # type: ignore[arg-type]
    return held(metric, middle, goal, unit=unit, **rest)
