"""Honest books: where every GPU-second of a cluster went, as of any moment."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from sim.engine.accounts import count_job, settle
from sim.engine.jit import compiled
from sim.engine.rows_jobs import DONE
from sim.engine.tables import Table, Tables
from sim.engine.words import NONE, Ending, Loss, Phase, Use


@dataclass(frozen=True, slots=True)
class Sums:
    """GPU-seconds since the world began.

    use:   (4,) by ``Use``; they add up to capacity times time, exactly
    good:  of steps done for the first time, at the time they take where nothing is slow
    lost:  (6,) by ``Loss``; good and lost add up to what jobs held, exactly
    asked: from each job's first start to its end: held, and waited for after a failure
    """

    use: Floats
    good: float
    lost: Floats
    held: float
    asked: float


def sums(tables: Tables) -> Sums:
    """Return the sums as of now; the tables are not changed."""
    twin = _until_now(tables)
    core, live = twin.core[0], twin.jobs
    live = live[live["number"] != NONE]
    begun = live[~np.isnan(live["begun_s"])]
    until = np.where(np.isnan(begun["ended_s"]), core["now_s"], begun["ended_s"])
    wanted = np.where(begun["ordered"] > 0, begun["ordered"], begun["gpus"])
    since = np.maximum(begun["begun_s"], begun["sized_s"])
    asked = float((begun["asked_gpu_s"] + wanted * (until - since)).sum())
    return Sums(
        use=core["use_s"].copy(),
        good=float(core["good_gpu_s"]) + float(live["good_gpu_s"].sum()),
        lost=core["lost_gpu_s"] + live["lost_gpu_s"].sum(axis=0),
        held=float(core["held_gpu_s"]) + float(live["held_gpu_s"].sum()),
        asked=float(core["asked_gpu_s"]) + asked,
    )


def energy_j(tables: Tables) -> float:
    """Return the energy that all GPUs drew since the world began, joules."""
    core, nodes = tables.core[0], tables.nodes
    since = float((nodes["watts"] * (core["now_s"] - nodes["moved_s"])).sum())
    return float(core["energy_j"]) + since


def less(now: Sums, before: Sums) -> Sums:
    """Return what was added between two moments."""
    return Sums(
        now.use - before.use,
        now.good - before.good,
        now.lost - before.lost,
        now.held - before.held,
        now.asked - before.asked,
    )


def by_use(found: Sums) -> dict[str, float]:
    """Return GPU-seconds by use: idle, held, down, repair."""
    return {use.name.lower(): float(found.use[use]) for use in Use}


def by_loss(found: Sums) -> dict[str, float]:
    """Return lost GPU-seconds by cause; ``waiting`` is time asked for after a failure, not held."""
    lost = {loss.name.lower(): float(found.lost[loss]) for loss in Loss}
    return {**lost, "waiting": max(found.asked - found.held, 0.0)}


def job_rows(tables: Tables) -> Table:
    """Return a row of ``DONE`` for each job, ended or not, by number; the tables stay as they are.

    A job that has not ended has NaN for its end; its GPU time is that of now.
    """
    twin = _until_now(tables)
    jobs = twin.jobs
    jobs = jobs[jobs["number"] != NONE]
    live = np.zeros(len(jobs), dtype=DONE)
    for name in DONE.names or ():
        live[name] = jobs[name]
    live["ending"] = np.where(np.isnan(jobs["ended_s"]), Ending.NOT_YET, jobs["ending"])
    rows = np.concatenate([twin.done[: int(twin.core[0]["done_n"])], live])
    found: Table = rows[np.argsort(rows["number"], kind="stable")]
    return found


def _until_now(tables: Tables) -> Tables:
    """Return the tables with all counted until now, in copies of what that changes: rows in use."""
    jobs = tables.jobs[: int(tables.core[0]["jobs_n"])]
    twin = tables._replace(core=tables.core.copy(), jobs=jobs.copy())
    _bring_to_now(twin)
    return twin


@compiled
def _bring_to_now(w: Tables) -> None:
    settle(w)
    for job in range(w.core[0]["jobs_n"]):
        if w.jobs[job]["number"] != NONE and w.jobs[job]["phase"] != Phase.COMPLETED:
            count_job(w, job)
