"""Clusters to diagnose faults in: some to tune on, and others, of other shapes, to be judged on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sim.scenario import JobSpec, Machines, Scenario, ServiceSpec

HISTORY_S = 6 * 3600.0
_START_S, _WEEK_S = 1_700_000_000.0, 7 * 86400.0
# A replica answers 32 requests in 0.4 s + 31 times 0.02 s: at most so many a second.
_MOST_A_REPLICA = 31.4


@dataclass(frozen=True, slots=True)
class Family:
    """Clusters of one kind.

    make:     from random numbers to a cluster without faults
    severity: least and most of its faults
    """

    name: str
    make: Callable[[np.random.Generator], Scenario]
    severity: tuple[float, float]


def _cluster(
    name: str,
    random: np.random.Generator,
    jobs: tuple[JobSpec, ...],
    *,
    nodes: int,
    racks: int,
    machines: Machines,
) -> Scenario:
    return Scenario(
        name=name,
        nodes=nodes,
        racks=racks,
        spares=1,
        jobs=jobs,
        machines=machines,
        start_s=_START_S + float(random.uniform(0.0, _WEEK_S)),
        history_s=HISTORY_S,
    )


def _training(name: str, random: np.random.Generator, nodes: int, **rest: float) -> JobSpec:
    """Return a training with a step of 1.5 to 9 s and a pause to save every 10 to 30 minutes.

    One with a cache reads more than the storage gives, were it without.
    """
    compute_s = float(random.uniform(1.2, 6.5))
    return JobSpec(
        id=name,
        nodes=nodes,
        compute_s=compute_s,
        data_wait_s=compute_s * float(random.uniform(0.04, 0.15)),
        collective_s=compute_s * float(random.uniform(0.08, 0.25)),
        checkpoint_interval_s=float(random.choice([600.0, 1200.0, 1800.0])),
        checkpoint_stall_s=float(random.uniform(3.0, 15.0)),
        bytes_per_step=rest.get("bytes_per_s", 1.2e9) * compute_s,
        cache=rest.get("cache", 0.0),
    )


def _service(name: str, random: np.random.Generator, nodes: int, replicas: int) -> JobSpec:
    """Return a service at 50 to 65 % of what it can answer, a tenth of it by a new version."""
    load = float(random.uniform(0.5, 0.65))
    spec = ServiceSpec(
        rate=load * replicas * _MOST_A_REPLICA,
        replicas=replicas,
        daily=float(random.uniform(0.05, 0.15)),
        burst=float(random.uniform(0.03, 0.1)),
        canary=0.1,
    )
    return JobSpec(id=name, nodes=nodes, kind="service", priority=20, service=spec)


def _two_and_a_service(random: np.random.Generator) -> Scenario:
    large, small = int(random.integers(6, 9)), int(random.integers(3, 5))
    jobs = (
        _training("pretrain", random, large),
        _training("images", random, small, cache=0.95, bytes_per_s=38e9),
        _service("chat", random, 2, 14),
    )
    nodes = large + small + 2 + int(random.integers(2, 5))
    machines = Machines(storage_bytes_per_s=nodes * 1.5e9)
    return _cluster("two-and-a-service", random, jobs, nodes=nodes, racks=4, machines=machines)


def _wide_rack(random: np.random.Generator) -> Scenario:
    large = int(random.integers(7, 10))
    jobs = (
        _training("language", random, large, bytes_per_s=2e9),
        _training("speech", random, 2, cache=0.95, bytes_per_s=32e9),
    )
    machines = Machines(leaves=3, power_nodes=4, nics=4, rails=4, storage_bytes_per_s=20e9)
    return _cluster("wide-rack", random, jobs, nodes=large + 4, racks=2, machines=machines)


def _four_gpus(random: np.random.Generator) -> Scenario:
    jobs = (
        _training("tune-a", random, 4),
        _training("tune-b", random, 4, cache=0.95, bytes_per_s=29e9),
        _service("search", random, 3, 10),
    )
    machines = Machines(gpu="a100", gpus_per_node=4, nics=2, rails=2, storage_bytes_per_s=18e9)
    return _cluster("four-gpus", random, jobs, nodes=14, racks=3, machines=machines)


def _four_racks(random: np.random.Generator) -> Scenario:
    elastic = JobSpec(
        id="sweep", nodes=4, kind="elastic", least_nodes=2, most_nodes=4, bytes_per_step=2e9
    )
    tokens = JobSpec(
        id="tokens",
        nodes=2,
        kind="pipeline",
        compute_s=1.0,
        data_wait_s=0.5,
        collective_s=0.0,
        bytes_per_step=1e9,
    )
    jobs = (
        _training("foundation", random, int(random.integers(7, 10)), bytes_per_s=3e9),
        elastic,
        _training("vision", random, 2, cache=0.95, bytes_per_s=58e9),
        tokens,
        _service("assistant", random, 3, 20),
    )
    machines = Machines(leaves=2, zones=2, storage_bytes_per_s=36e9)
    return _cluster("four-racks", random, jobs, nodes=24, racks=4, machines=machines)


def _one_job(random: np.random.Generator) -> Scenario:
    jobs = (_training("only", random, 7, cache=0.9, bytes_per_s=13e9),)
    machines = Machines(storage_bytes_per_s=8e9)
    return _cluster("one-job", random, jobs, nodes=8, racks=2, machines=machines)


def _mixed_gpus(random: np.random.Generator) -> Scenario:
    jobs = (
        _training("old", random, 6),
        _training("new", random, 5, bytes_per_s=3e9),
        _service("rank", random, 2, 12),
        _training("small", random, 2, cache=0.95, bytes_per_s=40e9),
    )
    machines = Machines(gpu="h200", mixed=(("a100", 6),), power_nodes=3, storage_bytes_per_s=25e9)
    return _cluster("mixed-gpus", random, jobs, nodes=17, racks=4, machines=machines)


def _small_nodes(random: np.random.Generator) -> Scenario:
    jobs = (
        _training("north", random, 5),
        _training("south", random, 5, bytes_per_s=2e9),
        _training("east", random, 4, cache=0.95, bytes_per_s=35e9),
        _service("embed", random, 3, 6),
    )
    machines = Machines(
        gpus_per_node=4, nics=4, rails=4, leaves=3, cooling_nodes=3, storage_bytes_per_s=22e9
    )
    return _cluster("small-nodes", random, jobs, nodes=20, racks=5, machines=machines)


FAMILIES: Mapping[str, tuple[Family, ...]] = {
    "tuning": (
        Family("two-and-a-service", _two_and_a_service, (0.8, 1.5)),
        Family("wide-rack", _wide_rack, (0.8, 1.5)),
        Family("four-gpus", _four_gpus, (0.8, 1.5)),
    ),
    "held-out": (
        Family("four-racks", _four_racks, (0.7, 2.0)),
        Family("one-job", _one_job, (0.7, 2.0)),
        Family("mixed-gpus", _mixed_gpus, (0.7, 2.0)),
        Family("small-nodes", _small_nodes, (0.7, 2.0)),
    ),
}
