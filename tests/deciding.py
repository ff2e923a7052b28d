"""A small cluster with faults at known places, for tests of what decisions come to."""

from dataclasses import replace
from typing import Any

import numpy as np

from core.choice import Choice
from core.target import Target
from sim.engine.words import Phase
from sim.lanes import Lane
from sim.observe import nodes_of
from sim.scenario import XID_79, FaultSpec, JobSpec, Scenario, Site
from sim.terms import Shield, Terms, even_remedies

HOUR_S, DAY_S = 3600.0, 86400.0
FREE = Shield(max_nodes_out=8, max_ratio_out=1.0, min_probability=0.0, cooldown_s=0.0)
SURE = Site(blame=1.0, exact_restart=True)
JOBS = (JobSpec("big", nodes=4, priority=10, least_nodes=2), JobSpec("low", nodes=2, least_nodes=2))
SCRIPT = Scenario(
    name="small",
    nodes=8,
    racks=2,
    spares=2,
    jobs=JOBS,
    history_s=0.0,
    telemetry="surrogate",
    site=SURE,
)


def on(node: int, fault: str, *, lasts_s: float = np.inf, onset_s: float = 7200.0) -> FaultSpec:
    return FaultSpec(fault, Target(node=f"node-0{node}"), onset_s=onset_s, lasts_s=lasts_s)


def lane_with(
    *faults: FaultSpec, shield: Shield = FREE, script: Scenario = SCRIPT, **site: Any
) -> Lane:
    """Return a lane of a small cluster with these faults and changes of its site."""
    changed = replace(script, faults=faults, site=replace(script.site, **site))
    return Lane(changed, Terms(even_remedies(), shield=shield))


def begun(lane: Lane, *, seed: int = 1, hours: float = 48.0) -> Lane:
    """Begin a life and return the lane at its first decision."""
    assert lane.reset(seed, duration_s=hours * HOUR_S)
    return lane


def choose(lane: Lane, choice: Choice) -> bool:
    """Choose what must be open."""
    assert lane.open[choice], f"{choice.name} is not open"
    return lane.step(choice)


def wait_until(lane: Lane, time_s: float) -> None:
    """Wait at every decision until a time after the start."""
    due = lane.go(-1, lane.scenario.start_s + time_s)
    while due:
        due = lane.go(Choice.WAIT, lane.scenario.start_s + time_s)


def passed_s(lane: Lane) -> float:
    return float(lane.tables.core[0]["now_s"]) - lane.scenario.start_s


def has(lane: Lane, job: int = 0) -> list[int]:
    """Return the nodes of a job in rank order."""
    return nodes_of(lane.tables, job)


def runs(lane: Lane, job: int = 0) -> bool:
    return bool(lane.tables.jobs[job]["phase"] == Phase.RUNNING)


def wrongly_blamed(node: int, **site: Any) -> Lane:
    """Return a lane of which the first decision is due, a node's fault being blamed on another.

    The node itself is the second to be blamed.
    """
    for seed in range(100):
        lane = begun(lane_with(on(node, XID_79), blame=0.3, **site), seed=seed)
        row = lane.tables.troubles[0]
        if row["node"] != node and row["other_node"] == node:
            return lane
    raise AssertionError("no seed of 100 blames another node first and the right one second")
