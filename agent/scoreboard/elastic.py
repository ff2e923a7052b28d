"""Unicron's traces: how much more work a cluster of elastic jobs does than one that waits."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from agent.scoreboard.assumed import values
from agent.scoreboard.entries import Entry, Goal
from agent.scoreboard.healed import Own, healed
from agent.scoreboard.played import Arm, live
from core.figures import Row
from core.types import Floats
from sim.library import scenario

SOURCE = (
    "Unicron, arXiv:2401.00134: 1.2 x Megatron's work on trace a, 1.9 x on b; traces from memory"
)
_DOWN_S = 68 * 60.0  # a transient error's down time before Unicron (reported by a survey)
_SEEN_S = 5.6  # until Unicron sees a lost node (from memory)
_ANEW_S = 120.0  # until its tasks have another plan and go on: assumed
GAIN: Mapping[str, float] = {"a": 1.2, "b": 1.9}


def rows(trace: str, *, quick: bool) -> Iterator[Row]:
    """Yield the work of a cluster under Unicron and ours over that under Megatron."""
    waits, goes_on = megatron(trace), unicron(trace)
    # Both start anew as fast: what differs is ours alone.
    ours = healed(goes_on, values(), Own(), standby=False)
    seeds = 6 if quick else 32
    base = _work(waits, seeds)
    yield from Entry(
        name=f"unicron_trace_{trace}",
        unit="x",
        published=GAIN[trace],
        source=SOURCE,
        tolerance=0.1 * GAIN[trace],
        reproduced=_work(goes_on, seeds) / base,
        why="the tasks, their weights and repairs are not known: assumed ones give less",
        ours=_work(ours, seeds) / base,
        goal=Goal(True, GAIN[trace], strictly=True),
        note="useful GPU time over Megatron's, seed by seed",
    ).rows()


def megatron(trace: str) -> Arm:
    """Return the arm whose jobs wait for the nodes they had, and for people."""
    base = _arm(trace)
    jobs = tuple(
        replace(job, kind="training", least_nodes=None, most_nodes=None) for job in base.script.jobs
    )
    site = replace(base.script.site, requeue_s=_DOWN_S - base.script.site.restart_s)
    return replace(base, script=replace(base.script, jobs=jobs, site=site))


def unicron(trace: str) -> Arm:
    """Return the arm whose jobs go on with the nodes that are left."""
    base = _arm(trace)
    site = replace(
        base.script.site,
        hang_timeout_s=3 * base.script.jobs[0].ideal_step_s,  # three times the average iteration
        requeue_s=_SEEN_S,
        check_s=15.0,
        check_recall=1.0,
        restart_s=_ANEW_S,
    )
    return replace(base, script=replace(base.script, site=site))


def _arm(trace: str) -> Arm:
    script = scenario(f"unicron-{trace}")
    return Arm(script, script.duration_s / 86400)


def _work(arm: Arm, seeds: int) -> Floats:
    return np.array([live(arm, seed).good for seed in range(seeds)])
