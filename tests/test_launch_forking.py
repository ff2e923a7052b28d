"""A worker that a fork server does not bring forth has ended, like one that cannot be started."""

import asyncio
import os
import sys
from collections.abc import Callable

from agent.launch.forking import Forked, ForkServer

NOT_STARTED = 127


async def ending(server: str, then: Callable[[Forked], None]) -> int:
    """Ask a fork server, a piece of Python, for a worker, and return how that ended."""
    ended = asyncio.get_running_loop().create_future()
    forks = ForkServer([sys.executable, "-c", server], os.environ)
    worker = forks.fork("a-1", "script", {}, ended.set_result)
    then(worker)
    async with asyncio.timeout(60):
        code: int = await ended
    assert not forks.alive
    return code


async def test_a_fork_server_that_ends_fails_who_was_asked_of_it() -> None:
    assert await ending("", lambda worker: None) == NOT_STARTED


async def test_a_worker_that_is_not_there_can_be_killed_though_its_fork_server_hangs() -> None:
    assert await ending("import time; time.sleep(1000)", Forked.kill) == NOT_STARTED
