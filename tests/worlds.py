"""Worlds for tests: let time pass, give orders, compare to the last bit, and audit the books."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.target import Target
from core.types import Action, Scalar
from sim.engine.tables import USED, Tables
from sim.engine.words import NONE, Hold, Phase, Use
from sim.library import scenario
from sim.observe import known_jobs, nodes_of
from sim.scenario import Scenario, Site, Workload
from sim.sums import sums
from sim.world import World

ROOT = Path(__file__).parent.parent
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
JOBS = ("llm-70b", "llm-8b", "vision")

BUSY_SITE = Site(requeue=True, drain=True, check_s=300.0, preempt_after_s=1800.0, order_failure=0.1)
# A small cluster in which everything happens: every class of fault, jobs that come and wait.
BUSY = Scenario(
    "busy",
    nodes=12,
    racks=3,
    spares=1,
    jobs=scenario("quiet").jobs[1:],
    site=BUSY_SITE,
    workload=Workload(jobs_per_day=300.0),
    history_s=HOUR_S,
    profile="everything",
    rate_scale=8.0,
)


def built(name: str, *, seed: int = 1) -> World:
    """Return a world of the library."""
    return World.build(scenario(name), seed=seed)


def busy(*, seed: int = 1, **changes: object) -> World:
    """Return a world of the busy scenario, with some of its fields changed."""
    return World.build(replace(BUSY, **changes), seed=seed)  # type: ignore[arg-type]


def after(world: World, seconds: float) -> World:
    """Return the world so long after its scenario's start."""
    world.advance(world.scenario.start_s + seconds)
    return world


def action(kind: str, *, node: str = "", job: str = "", key: str = "", **params: Scalar) -> Action:
    """Build an order on a node or, with no node named, on a job."""
    target = Target(node=node) if node else Target(job=job)
    named = {"job": job, **params} if node and job else params
    key = key or f"{kind} {node} {job} {sorted(params.items())}"
    return Action(key, kind, target, tuple(named.items()), deadline_s=900.0, inverse="")


def digest(world: World) -> str:
    """Everything a world is, in 64 letters: equal only where every bit of every field is."""
    total, core = hashlib.sha256(), world.inner.core[0]
    for name, table in world.inner._asdict().items():
        rows = table[: int(core[USED[name]])] if name in USED else table
        if name == "job_last":
            rows = table[: int(core["jobs_n"])]
        for field in rows.dtype.names or ("",):
            total.update((rows[field] if field else rows).tobytes())
    total.update(repr((world.events, world.truth, world.people)).encode())
    return total.hexdigest()


def in_another_process(expression: str, **environment: str) -> str:
    """Return what an expression over this module's names is in another process."""
    code = f"from tests.worlds import *\nimport sys; sys.stdout.write({expression})"
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ | environment
    )
    return run.stdout


def outline(world: World) -> dict[str, list[object]]:
    """What happened in a world, in words and in numbers, as JSON takes it."""
    core = world.inner.core[0]
    return {
        "words": [
            [[event.kind, str(event.target)] for event in world.events],
            [[record.fault, str(record.target)] for record in world.truth],
            [int(core[name]) for name in ("handled", "submitted", "completed", "interruptions")],
        ],
        "numbers": [
            *[float(number) for use in (world.uses(), world.losses()) for number in use.values()],
            *[event.time_s for event in world.events],
        ],
    }


def audit(w: Tables) -> None:
    """Assert what holds of a cluster at any moment: GPUs and their time, to the last bit."""
    core, nodes = w.core[0], w.nodes
    there = np.arange(nodes["job"].shape[1]) < nodes["gpus"][:, None]
    given = there & (nodes["job"] != NONE)
    assert (nodes["job"][~there] == NONE).all()
    np.testing.assert_array_equal(nodes["free"], (there & ~given).sum(axis=1))
    _audit_jobs(w, given)
    _audit_uses(w)
    found = sums(w)
    assert found.use.sum() == there.sum() * (core["now_s"] - core["began_s"])
    assert found.use[Use.HELD] == found.held
    assert found.good + found.lost.sum() == found.held
    assert found.good >= 0
    assert (found.lost >= 0).all()


def _audit_jobs(w: Tables, given: np.ndarray) -> None:
    """No GPU is two jobs', each job has as many as it thinks, and only jobs that may have any."""
    jobs = w.jobs[: int(w.core[0]["jobs_n"])]
    counts = np.bincount(w.nodes["job"][given], minlength=len(jobs))
    np.testing.assert_array_equal(counts, jobs["given"] * (jobs["number"] != NONE))
    assert not counts[np.isin(jobs["phase"], (Phase.PENDING, Phase.COMPLETED))].any()
    for job in known_jobs(w):
        mine = nodes_of(w, job)
        assert sorted(mine) == np.flatnonzero((w.nodes["job"] == job).any(axis=1)).tolist()
        assert len(mine) == jobs[job]["nodes"]


def _audit_uses(w: Tables) -> None:
    """Every GPU is in the use that its node's service and its job make it."""
    nodes, free = w.nodes, w.nodes["free"]
    ready = nodes["up"] & (nodes["hold"] == Hold.NOBODY)
    use = np.where(nodes["repair"], Use.REPAIR, np.where(ready, Use.IDLE, Use.DOWN))
    counts = [int(free[use == kind].sum()) for kind in Use]
    counts[Use.HELD] = int((nodes["gpus"] - free).sum())
    assert counts == w.core[0]["use_gpus"].tolist()
