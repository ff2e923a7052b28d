"""Simulated jobs to find hangs and false alarms in, shown to a detector as time goes by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.target import Target
from core.types import Anomaly, Floats, Window
from detectors.detector import Detector
from sim.scenario import FaultSpec, JobSpec, Scenario, Site
from sim.telemetry import readings
from sim.world import World

METRICS = (
    "job_steps_total",
    "job_step_time_s",
    "job_checkpoint_age_s",
    "job_goodput_ratio",
    "rank_step_time_s",
    "rank_data_wait_s",
    "rank_collective_time_s",
)
# A controller's window: ten minutes of readings at 15 s.
COLUMNS = 41
GPUS = 8
# Three of an ordinary kind, one with long and one without checkpoint pauses, one of minute steps.
JOBS = (
    JobSpec(id="llm-70b", nodes=8, priority=10),
    JobSpec(id="llm-8b", nodes=4, compute_s=2.4, data_wait_s=0.1, collective_s=0.3),
    JobSpec(id="vision", nodes=2, compute_s=0.9, data_wait_s=0.2, collective_s=0.05),
    JobSpec(id="slow-save", nodes=4, compute_s=1.5, checkpoint_stall_s=60.0),
    JobSpec(id="no-pause", nodes=2, compute_s=3.0, checkpoint_stall_s=0.0),
    JobSpec(id="long-step", nodes=4, compute_s=40.0, collective_s=6.0),
)


@dataclass(frozen=True, slots=True)
class Hang:
    """One hang that was made: on ``job`` at ``onset_s``, to be found within ``bound_s``.

    in_pause: a checkpoint would have had the job stand within that time anyway
    """

    job: str
    onset_s: float
    bound_s: float
    in_pause: bool = False


def training_cluster(name: str, faults: Sequence[FaultSpec], jobs: Sequence[JobSpec]) -> Scenario:
    """Return a cluster that holds the jobs, and spares."""
    nodes = sum(job.nodes for job in jobs) + 2
    return Scenario(
        name=name,
        nodes=nodes,
        racks=max(nodes // 8, 1),
        spares=2,
        jobs=tuple(jobs),
        faults=tuple(faults),
        telemetry="full",
    )


def hangs(*, seed: int) -> tuple[World, tuple[Hang, ...]]:
    """Return a world in which every job hangs once, at a random time within ten minutes."""
    random = np.random.default_rng([seed, 1])
    nodes = np.cumsum([0, *(job.nodes for job in JOBS)])
    faults, made = [], []
    for place, job in enumerate(JOBS):
        onset_s = float(random.uniform(60.0, 660.0))
        kind = ("silent_hang", "nccl_watchdog", "gpu_hang")[int(random.integers(3))]
        where = Target(job=job.id)
        if kind == "gpu_hang":
            node = int(nodes[place] + random.integers(job.nodes))
            where = Target(node=f"node-{node:02d}", gpu=str(int(random.integers(GPUS))))
        faults.append(FaultSpec(kind, where, onset_s))
        made.append(Hang(job.id, onset_s, 0.0))
    scenario = training_cluster("hangs", faults, JOBS)
    well = World.build(replace(scenario, faults=()), seed=seed)
    world = World.build(scenario, seed=seed)
    for one in (well, world):
        one.advance(scenario.start_s + 1000.0)
    began_s = scenario.start_s
    hung = (replace(one, onset_s=one.onset_s + began_s) for one in made)
    (told,) = readings(well, ["job_step_time_s"], began_s + np.arange(0, 1000.0, 10.0))
    step_s = dict(zip([t.job for t in told.targets], np.nanmedian(told.value, axis=1), strict=True))
    bound = (replace(one, bound_s=max(3 * float(step_s[one.job]), 10.0)) for one in hung)
    return world, tuple(replace(one, in_pause=_pauses(well, one)) for one in bound)


def _pauses(well: World, hang: Hang) -> bool:
    """Say whether the job stands for more than a step around then, where nothing hangs."""
    span_s = hang.bound_s + 60.0
    time_s = np.arange(hang.onset_s - span_s, hang.onset_s + span_s)
    (steps,) = readings(well, ["job_steps_total"], time_s)
    job = next(job for job in JOBS if job.id == hang.job)
    count = steps.value[[target.job for target in steps.targets].index(hang.job)]
    moves = np.flatnonzero(np.diff(count) > 0) + 1
    begin_s, end_s = time_s[moves[:-1]], time_s[moves[1:]]
    stands = end_s - begin_s > job.ideal_step_s + 3.0
    around = (end_s > hang.onset_s) & (begin_s < hang.onset_s + hang.bound_s)
    return bool((stands & around).any())


def busy(*, hours: float, seed: int, nodes: int = 256) -> World:
    """Return a world of ``busy_cluster`` after those hours."""
    cluster = busy_cluster(hours=hours, seed=seed, nodes=nodes)
    world = World.build(cluster, seed=seed)
    world.advance(cluster.start_s + hours * 3600.0)
    return world


def busy_cluster(*, hours: float, seed: int, nodes: int) -> Scenario:
    """Return a cluster where jobs start, save, stop for their own bugs, start again and end."""
    random = np.random.default_rng([seed, 2])
    jobs: list[JobSpec] = []
    left = nodes - 4
    while left >= 2:
        size = int(min(random.choice([2, 4, 8, 16, 32]), left))
        left -= size
        begins = None if random.random() < 0.5 else float(random.uniform(0, hours * 1800.0))
        step_s = float(random.choice([0.8, 2.4, 4.0, 12.0]))
        steps = float("inf") if random.random() < 0.5 else hours * 1800.0 / step_s
        jobs.append(
            JobSpec(
                id=f"job-{len(jobs)}",
                nodes=size,
                compute_s=step_s,
                checkpoint_stall_s=float(random.choice([0.0, 7.0, 20.0, 45.0])),
                checkpoint_interval_s=float(random.choice([300.0, 600.0, 1800.0])),
                submit_s=begins,
                work_steps=steps,
            )
        )
    struck = [job.id for job in jobs if random.random() < 0.3]
    faults = [
        FaultSpec("software_bug", Target(job=job), float(random.uniform(0, hours * 3600.0)))
        for job in struck
    ]
    cluster = training_cluster("busy", faults, jobs)
    return replace(cluster, nodes=nodes, site=Site(requeue=True))


def shown(
    detector: Detector,
    windows: Mapping[str, Window],
    columns: Sequence[int],
    *,
    width: int = COLUMNS,
) -> Iterator[tuple[float, Anomaly]]:
    """Yield what the detector finds, and when, as it looks after each of the columns in turn."""
    for column in columns:
        part = slice(max(0, column + 1 - width), column + 1)
        cut = {
            name: Window(name, w.targets, w.time_s[part], w.value[:, part])
            for name, w in windows.items()
        }
        now_s = float(next(iter(windows.values())).time_s[column])
        for anomaly in detector.look(cut, topology=None, now_s=now_s).anomalies:
            yield now_s, anomaly


def read(world: World, time_s: Floats) -> dict[str, Window]:
    """Return the readings of the world's jobs and ranks."""
    return {window.metric: window for window in readings(world, METRICS, time_s)}
