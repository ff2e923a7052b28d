"""The same cases asked of dowhy.gcm, in a worker process with limits, on few variables each."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.evaluations.rca.baselines import nsigma
from agent.evaluations.rca.score import Mark, mark
from agent.evaluations.rca.truths import Truth
from agent.evaluations.rca.variables import Arrays, named
from agent.workers import WorkerPool
from core.errors import WorkerFailed
from core.topology import Topology
from core.types import Diagnosis, Floats, Ints
from rca.reference.gcm import MAX_VARIABLES, AttributionTask

NAME = "dowhy_gcm"
_TIME_LIMIT_S, _MEMORY_BYTES = 60.0, 4 << 30


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One attribution: its variables as arrays, and what is true."""

    arrays: Arrays
    truths: tuple[Truth, ...]
    topology: Topology


def question_of(arrays: Arrays, truths: tuple[Truth, ...], topology: Topology) -> Question | None:
    """Return the oddest variables above the one that was noticed; None with too few of them.

    Of each metric the oddest, then the second of each, as many as the reference takes.
    """
    score = nsigma(arrays.normal, arrays.abnormal, arrays.links, arrays.target)
    gaps = np.count_nonzero(np.isnan(arrays.normal), axis=1)
    read = (gaps == 0) & (np.count_nonzero(np.isfinite(arrays.abnormal), axis=1) > 0)
    worth = np.where(read & _above(arrays), score, 0.0)
    if not read[arrays.target]:
        return None
    worth[arrays.target] = np.inf
    chosen = _best_of_each([metric for metric, _ in arrays.names], worth)
    if len(chosen) < 2:
        return None
    where = {int(variable): place for place, variable in enumerate(chosen)}
    links = [
        (where[cause], where[effect])
        for cause, effect in arrays.links.tolist()
        if cause in where and effect in where
    ]
    few = Arrays(
        names=tuple(arrays.names[variable] for variable in chosen),
        normal=arrays.normal[chosen],
        abnormal=arrays.abnormal[chosen],
        links=np.array(links, dtype=np.int64).reshape(-1, 2),
        target=where[arrays.target],
    )
    return Question(few, truths, topology)


def answered(questions: Sequence[Question], done: Callable[[int], None]) -> list[Mark | None]:
    """Return the reference's marks; None where it did not finish within its limits.

    done: told how many are, after each
    """
    return asyncio.run(_answered(questions, done))


async def _answered(
    questions: Sequence[Question], done: Callable[[int], None]
) -> list[Mark | None]:
    marks: list[Mark | None] = []
    async with WorkerPool(1, time_limit_s=_TIME_LIMIT_S, memory_bytes=_MEMORY_BYTES) as pool:
        for question in questions:
            marks.append(await _mark(pool, question))
            done(len(marks))
    return marks


async def _mark(pool: WorkerPool, question: Question) -> Mark | None:
    try:
        found = await pool.run("rca.reference.gcm:attribute", _task(question.arrays))
    except WorkerFailed:
        return None
    score = np.maximum(np.array(found.contribution), 0.0)
    answer = Diagnosis("", 0.0, named(question.arrays, score), 0.0, NAME)
    return mark(answer, question.truths, question.topology)


def _task(arrays: Arrays) -> AttributionTask:
    return AttributionTask(
        names=tuple(f"{metric} of {target}" for metric, target in arrays.names),
        links=tuple((int(cause), int(effect)) for cause, effect in arrays.links),
        normal=arrays.normal,
        abnormal=np.nanmedian(arrays.abnormal, axis=1),
        target=arrays.target,
    )


def _above(arrays: Arrays) -> NDArray[np.bool_]:
    """Return which variables the noticed one depends on, itself among them."""
    above = np.zeros(len(arrays.names), dtype=np.bool_)
    above[arrays.target] = True
    while True:
        more = arrays.links[above[arrays.links[:, 1]], 0]
        if above[more].all():
            return above
        above[more] = True


def _best_of_each(metrics: Sequence[str], worth: Floats) -> Ints:
    by = np.argsort(-worth, kind="stable")
    rank: dict[str, int] = {}
    order = []
    for variable in by[worth[by] > 0].tolist():
        rank[metrics[variable]] = rank.get(metrics[variable], 0) + 1
        order.append((rank[metrics[variable]], -worth[variable], variable))
    return np.sort(np.array([v for *_, v in sorted(order)[:MAX_VARIABLES]], dtype=np.int64))
