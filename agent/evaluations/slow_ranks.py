"""Ranks and nodes made slow in simulated readings: how much, in which manner, under which noise.

The simulator draws how slow its faults make a GPU; here it is given, so that 5 and 10 % can be told
apart. What is slowed is a rank's own time; the others wait for it in their collectives.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from agent.evaluations.job_worlds import JOBS, read, training_cluster
from core.types import Floats, Ints, Window
from sim.world import World

OWN, COLLECTIVE = "rank_step_time_s", "rank_collective_time_s"
EVERY_S = 15.0
HISTORY = 240  # readings before anything is slow: an hour
STRETCH = 160  # readings after: forty minutes
MAGNITUDES = (0.05, 0.10, 0.20, 0.50)
MANNERS = ("sudden", "gradual", "intermittent")
# Of one step: the simulator's own noise is 0.6 %; ByteDance's timelines vary by 2 to 4 %.
NOISES = ("simulator", "heavy")
HEAVY = 0.03
_RAMP = 80
_BOUT, _EVERY = 4, 20


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is slow, or none: ``slowed`` (R,) ranks by ``magnitude`` in a ``manner``.

    role: instead of a machine, the last quarter of the ranks (a stage) has so much more to do from
          the start; lengths: each rank's step varies by so much with what it was given
    """

    seed: int
    job: str
    noise: str
    magnitude: float = 0.0
    manner: str = "sudden"
    whole_node: bool = False
    role: float = 0.0
    lengths: float = 0.0


def cases(seed: int) -> Iterator[Case]:
    """Yield cases of every magnitude, manner and noise, and those where nobody is at fault."""
    jobs = [job.id for job in JOBS if job.nodes >= 4][:2]
    for noise in NOISES:
        for place, magnitude in enumerate(MAGNITUDES):
            for turn, manner in enumerate(MANNERS):
                at = seed + place + turn
                job = jobs[at % len(jobs)]
                yield Case(seed, job, noise, magnitude, manner, whole_node=at % 4 == 0)
        yield Case(seed, jobs[0], noise, role=0.3)
        yield Case(seed, jobs[1], noise, lengths=0.2)
        yield Case(seed, jobs[1], noise)


def base(seed: int) -> dict[str, Window]:
    """Return undisturbed readings, history first."""
    scenario = training_cluster("healthy", (), JOBS)
    world = World.build(scenario, seed=seed)
    world.advance(scenario.start_s + EVERY_S * (HISTORY + STRETCH))
    return read(world, scenario.start_s + EVERY_S * np.arange(HISTORY + STRETCH, dtype=np.float64))


def ranks_of(window: Window, job: str) -> Ints:
    """Return the rows of a job's ranks."""
    return np.array([n for n, t in enumerate(window.targets) if t.job == job], dtype=np.int64)


def made(case: Case, healthy: Mapping[str, Window]) -> tuple[dict[str, Window], Ints]:
    """Return the job's readings in a case and which of its ranks are slow."""
    random = np.random.default_rng([case.seed, int(1000 * case.magnitude), len(case.manner)])
    mine = ranks_of(healthy[OWN], case.job)
    targets = tuple(healthy[OWN].targets[row] for row in mine)
    own = healthy[OWN].value[mine] * _noise(case, (len(mine), HISTORY + STRETCH), random)
    slow = np.empty(0, dtype=np.int64)
    if case.magnitude:
        first = int(random.integers(len(mine)))
        node = [n for n, t in enumerate(targets) if t.node == targets[first].node]
        slow = np.array(node if case.whole_node else [first], dtype=np.int64)
    if case.role:
        own[-(len(mine) // 4) :] *= 1 + case.role
    after = own.copy()
    after[slow] *= 1 + case.magnitude * course(case.manner)
    waits = np.nanmax(after, axis=0) - np.nanmax(own, axis=0)
    collective = healthy[COLLECTIVE].value[mine] + np.maximum(waits, 0.0)
    collective[slow] = healthy[COLLECTIVE].value[mine][slow]
    pairs = ((OWN, after), (COLLECTIVE, collective))
    out = {name: replace(healthy[name], targets=targets, value=value) for name, value in pairs}
    return out, slow


def course(manner: str) -> Floats:
    """Return (T,) how much of a slowdown is there at each reading."""
    after = np.arange(STRETCH)
    courses = {
        "sudden": np.ones(STRETCH),
        "gradual": np.minimum(after / _RAMP, 1.0),
        "intermittent": (after % _EVERY < _BOUT).astype(np.float64),
    }
    return np.concatenate([np.zeros(HISTORY), courses[manner]])


def onset(manner: str) -> int:
    """Return the reading from which on the whole slowdown counts."""
    return HISTORY + (_RAMP if manner == "gradual" else 0)


def _noise(case: Case, shape: tuple[int, int], random: np.random.Generator) -> Floats:
    spread = np.full(shape, 0.0)
    if case.noise == "heavy":
        spread += HEAVY / np.sqrt(2.0) * random.standard_t(4, shape)
    if case.lengths:
        spread += case.lengths * random.uniform(-1, 1, shape)
    return np.asarray(np.exp(np.clip(spread, -1.0, 1.0)))
