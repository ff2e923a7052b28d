"""A cluster of jobs of every kind, and orders to it, for the tests of orders."""

from dataclasses import replace

import numpy as np
import pytest

from core.cluster import JobState
from core.errors import ActionFailed
from core.target import Target
from core.types import Action, Scalar
from sim.scenario import FaultSpec, JobSpec, Scenario, ServiceSpec, Site
from sim.world import World

EXACT = Site(exact_restart=True)

ELASTIC = JobSpec("elastic", 4, kind="elastic", least_nodes=2, most_nodes=6, priority=5)
FIXED = JobSpec("fixed", 2)
LOADING = JobSpec("loading", 1, compute_s=1.0, data_wait_s=0.5, collective_s=0.2, cache=0.5)
CHAT = JobSpec("chat", 1, kind="service", service=ServiceSpec(100.0, 4, warm_s=100.0))
NOTEBOOK = JobSpec("notebook", 1, gpus=2, kind="interactive")
MIXED = Scenario(
    "mixed", 12, 3, 1, (ELASTIC, FIXED, LOADING, CHAT, NOTEBOOK), history_s=1800.0, site=EXACT
)  # nodes 0-3, 4-5, 6, 7, 8 (2 GPUs of it); 9 and 10 are free, 11 is the spare
ROLLOUT = FaultSpec("driver_rollout", Target(), 10.0)


def built(*faults: FaultSpec, site: Site = EXACT, jobs: tuple[JobSpec, ...] = MIXED.jobs) -> World:
    return World.build(replace(MIXED, faults=faults, site=site, jobs=jobs), seed=3)


def order(kind: str, target: str = "", *, key: str = "", **params: Scalar) -> Action:
    """Build an order on a node where the target is called so, else on a job."""
    is_node = target.startswith("node-")
    on = Target(node=target) if is_node else Target(job=target)
    return Action(key or f"{kind} {target} {params}", kind, on, tuple(params.items()), 900.0, "")


def refused(world: World, action: Action) -> str:
    with pytest.raises(ActionFailed) as caught:
        world.perform(action)
    return str(caught.value)


def job(world: World, name: str) -> JobState:
    found = world.state().job(name)
    assert found is not None
    return found


def row(world: World, name: str) -> np.void:
    found: np.void = world.inner.jobs[[spec.id for spec in world.scenario.jobs].index(name)]
    return found


def later(world: World, seconds: float) -> World:
    world.advance(world.now_s + seconds)
    return world


def step_s(world: World, name: str) -> float:
    return float(row(world, name)["step_s"])
