"""Warm standby machines after ByteRobust: how many there must be so that nobody waits.

A simulation of its own, of evictions and standbys alone: the engine does not tell a spare that has
its processes running from a free machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from agent.scoreboard.assumed import BY_KEY, STANDBY, values
from agent.scoreboard.entries import Entry, Goal
from core.figures import Row
from core.types import Floats

NAME = "byterobust_standby_vs_oracle"
SOURCE = "ByteRobust, SOSP'25, tables 5 and 7: within 5.19 % of an oracle; binomial failures"
# Machines of the job and its standbys: P99 of a binomial, p of a machine a day 1.17e-3 to 1.25e-3
# (table 5).
SIZES = ((128, 2), (256, 2), (512, 3), (1024, 4))
A_DAY = 1.2e-3
_SWITCH, _SWITCH_SHARE = 32, 0.01  # one event in a hundred is a switch with 32 machines (table 7)
_DAY_S = 86400.0
_DAYS = 50_000
_LATE_S = BY_KEY["standby_s"].high  # a machine that is rescheduled: derived from table 7
_SHRUNK_S = 600.0  # an elastic job stays at its size so long, as the simulator's do


@dataclass(frozen=True, slots=True)
class Kept:
    """How many standbys a job has, and what it does when they are too few.

    anew:  a standby that was used is made anew at once, in the time of a rescheduled machine;
           else those of a day are there again the next day
    lean:  a job that can shrink goes on without what is missing, and grows when it is there
    """

    standbys: int
    anew: bool
    lean: bool


def rows(*, quick: bool) -> Iterator[Row]:
    """Yield how much longer starts take than an oracle's, and how many standbys that needs."""
    seeds = range(4 if quick else 16)
    published = [Kept(count, anew=False, lean=False) for _, count in SIZES]
    ours = [least(size) for size, _ in SIZES]
    built = [Kept(kept.standbys, anew=True, lean=False) for kept in ours]
    totals = tuple(sum(kept.standbys for kept in arm) for arm in (published, ours))
    yield from Entry(
        name=NAME,
        unit="",
        published=0.0519,
        source=SOURCE,
        tolerance=0.02,
        reproduced=_over(published, seeds),
        ours=_over(ours, seeds),
        built=_over(built, seeds),
        goal=Goal(False, 0.03),
        needs=f"{STANDBY}, and a job that can shrink",
        note=f"{totals[1]} standbys instead of {totals[0]} for 128 + 256 + 512 + 1,024 machines; "
        "time from eviction to start, beyond an oracle with enough of them",
    ).rows()
    yield Row(
        f"{NAME}_spares", float(totals[1]), "", goal=f"< {totals[0]}", ok=totals[1] < totals[0]
    )


def least(size: int) -> Kept:
    """Return the fewest standbys, made anew at once, with which one in a hundred evictions waits.

    Those that fail while one is made anew: a Poisson count.
    """
    mean = size * A_DAY * _LATE_S / _DAY_S
    standbys, more = 1, 1.0 - math.exp(-mean)
    while more > 0.01:
        more -= math.exp(-mean) * mean**standbys / math.factorial(standbys)
        standbys += 1
    return Kept(standbys, anew=True, lean=True)


def _over(arms: list[Kept], seeds: range) -> Floats:
    """Return (seeds,) how much longer starts take than with enough standbys, over all sizes."""
    v = values()
    return np.array(
        [
            np.mean(
                [
                    excess(size, kept, seed=seed, warm_s=v["standby_s"])
                    for (size, _), kept in zip(SIZES, arms, strict=True)
                ]
            )
            for seed in seeds
        ]
    )


def excess(size: int, kept: Kept, *, seed: int, warm_s: float) -> float:
    """Return the mean time of a start over an oracle's, less 1, of many days of one job.

    A day without an eviction counts as one that did not wait, as in the published weights.
    """
    random = np.random.Generator(np.random.Philox(key=(seed, size)))
    counts = random.binomial(size, A_DAY, _DAYS)
    counts[random.random(_DAYS) < _SWITCH_SHARE] = _SWITCH
    late = 0.0
    for count in counts[counts > kept.standbys if not kept.anew else counts > 1]:
        late += _waited_s(int(count), size, kept, random, warm_s)
    return late / (_DAYS * warm_s)


def _waited_s(count: int, size: int, kept: Kept, random: Generator, warm_s: float) -> float:
    """Return how much longer than an oracle's the starts of a day with evictions took, on average.

    A switch takes its machines at once. Others come at any time of the day; where standbys are made
    anew, one is missing only until the one before has been made.
    """
    if count == _SWITCH or not kept.anew:
        return _start_s(count, size, kept, warm_s) - warm_s
    at_s = np.sort(random.uniform(0.0, _DAY_S, count))
    close = [int(np.sum((at_s <= at) & (at_s > at - _LATE_S))) for at in at_s]
    return float(np.mean([_start_s(wanted, size, kept, warm_s) for wanted in close])) - warm_s


def _start_s(wanted: int, size: int, kept: Kept, warm_s: float) -> float:
    """Return what it takes until a job steps again on all its machines, as time lost."""
    missing = wanted - kept.standbys
    if missing <= 0:
        return warm_s
    if not kept.lean:
        return _LATE_S
    # Without them at once, at less speed for a while, and one start more to take them in.
    return 2 * warm_s + _SHRUNK_S * missing / size
