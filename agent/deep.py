"""DoWhy's opinion of an incident, beside ours: three questions, each to a worker process."""

import asyncio
from typing import Any

from agent.forecast_table import Workers
from core.errors import GpumedicError, WorkerFailed
from rca.attribute import attribute
from rca.reference.questions import Answers, Questions

ATTRIBUTE = "rca.reference.gcm:attribute"
WHAT_IF = "rca.reference.what_if:what_if"
CHANGE = "rca.reference.change:distribution_change"


async def ask(pool: Workers, asked: Questions) -> Answers:
    """Ask all three at once, as far as the pool has workers; one that fails leaves the others."""
    found = await asyncio.gather(
        _run(pool, ATTRIBUTE, asked.attribution),
        _run(pool, WHAT_IF, asked.what_if),
        _run(pool, CHANGE, asked.change),
    )
    problems = tuple(str(each) for each in found if isinstance(each, GpumedicError))
    first, second, third = (None if isinstance(each, GpumedicError) else each for each in found)
    return Answers(first, second, third, problems, own=attribute(asked.attribution))


async def _run(pool: Workers, function: str, task: object) -> Any:
    """Return what the worker made of the task, or its failure; None for nothing to ask."""
    if task is None:
        return None
    try:
        return await pool.run(function, task)
    except WorkerFailed as error:
        return error
