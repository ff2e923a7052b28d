"""What a scheduler's knowledge adds to the forecast of GPUs wanted, on a simulated cluster.

Univariate: only how many GPUs were wanted, running and queued. With the scheduler: also which
running jobs will have done their steps, or reached their time limit, by then. How other jobs end
(cancelled, failed by a bug) and which ones will come stays unknown to both.
"""

from collections.abc import Iterator

import numpy as np

from core.figures import Row, at_most
from core.types import Floats
from detectors.forecast.demand import LEVELS, Wanted, demand
from sim.engine.words import Ending, JobKind, Phase
from sim.scenario import Scenario, Site, Workload
from sim.world import World

LEADS_S = (1200.0, 1800.0, 3600.0)
STEP_S = 600.0
DAY_S = 86400.0
LEVEL = 0.9
# Days before the first origin, and days scored.
LEARN_DAYS, SCORE_DAYS = 3, 7
SEEDS = (1, 2, 3)
EVERY = 3
# About half of the GPUs are wanted, at times all: with more jobs the queue only grows, and then any
# forecast of a rise is right.
NODES, JOBS_PER_DAY = 128, 200.0


def demand_rows_sim() -> Iterator[Row]:
    """Yield the losses of both over the last value's, and of one over the other's."""
    loss = np.mean([_losses(seed) for seed in SEEDS], axis=0)
    for (last, univariate, scheduler), lead_s in zip(loss, LEADS_S, strict=True):
        label = f'set="sim",lead="{lead_s / 60:.0f}min"'
        for name, own in (("univariate", univariate), ("scheduler", scheduler)):
            metric = f'demand_loss_ratio_vs_last{{method="{name}",{label}}}'
            yield Row(metric, float(own / last), "ratio", n=len(SEEDS), note="n: clusters")
        yield at_most(
            f"demand_loss_ratio_vs_univariate{{{label}}}",
            float(scheduler / univariate),
            1.0,
            unit="ratio",
            n=len(SEEDS),
            note="n: clusters; what known ends of jobs add, loss at the 90 % quantile",
        )


def _losses(seed: int) -> Floats:
    """Return (L, 3) mean losses of the last value, the univariate forecast and the informed one."""
    time_s, wanted, ending = watched(LEARN_DAYS + SCORE_DAYS, seed=seed)
    begin = round(LEARN_DAYS * DAY_S / STEP_S)
    at = np.arange(begin, len(time_s) - round(LEADS_S[-1] / STEP_S), EVERY)
    alone, informed = (
        np.array([_told(time_s, wanted, planned, int(one)) for one in at])
        for planned in (None, -ending)
    )
    out = np.empty((len(LEADS_S), 3))
    for index, lead_s in enumerate(LEADS_S):
        truth = wanted[0, at + round(lead_s / STEP_S)]
        guesses = wanted[0, at], alone[:, index], informed[:, index]
        out[index] = [_loss(truth, guess).mean() for guess in guesses]
    return out


def watched(days: int, *, seed: int) -> tuple[Floats, Floats, Floats]:
    """Return (T,) seconds, (1, T) GPUs wanted, and (1, T, L) of those known to be let go."""
    scenario = Scenario(
        name="demand",
        nodes=NODES,
        racks=4,
        spares=0,
        jobs=(),
        site=Site(requeue=True),
        workload=Workload(jobs_per_day=JOBS_PER_DAY, daily=0.6),
        telemetry="none",
    )
    world = World.build(scenario, seed=seed)
    steps = round(days * DAY_S / STEP_S)
    time_s = world.now_s + STEP_S * np.arange(float(steps))
    wanted, ending = np.empty((1, steps)), np.empty((1, steps, len(LEADS_S)))
    for step, now_s in enumerate(time_s):
        world.advance(float(now_s))
        wanted[0, step], ending[0, step] = _queue(world)
    return time_s, wanted, ending


def _queue(world: World) -> tuple[float, Floats]:
    """Return the GPUs wanted now and how many of them are known to be let go within each lead."""
    jobs = world.inner.jobs[: int(world.inner.core[0]["jobs_n"])]
    training = (jobs["kind"] != JobKind.SERVICE) & np.isin(
        jobs["phase"], (Phase.PENDING, Phase.STARTING, Phase.RUNNING)
    )
    gpus = np.where(jobs["given"] > 0, jobs["given"], jobs["gpus"])
    foreseen = (
        training
        & (jobs["phase"] == Phase.RUNNING)
        & np.isin(jobs["ending"], (Ending.COMPLETED, Ending.TIMEOUT))
    )
    by_s = world.now_s + np.array(LEADS_S)
    gone = foreseen[:, None] & (jobs["due_s"][:, None] <= by_s)
    return float(gpus[training].sum()), (gone * gpus[:, None]).sum(axis=0).astype(np.float64)


def _told(time_s: Floats, wanted: Floats, planned: Floats | None, at: int) -> Floats:
    """Return (L,) what is foretold at one origin."""
    part = slice(0, at + 1)
    known = None if planned is None else planned[:, part]
    seen = demand(Wanted(time_s[part], wanted[:, part], known), lead_s=LEADS_S)
    return np.asarray(seen.gpus[0, :, LEVELS.index(LEVEL)])


def _loss(truth: Floats, guess: Floats) -> Floats:
    short = truth - guess
    return np.maximum(LEVEL * short, (LEVEL - 1) * short)
