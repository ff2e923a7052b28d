"""The end of a launch on a node: what not even SIGKILL ends holds nobody up."""

import asyncio

from agent.launch.node import Command, NodeAgent
from agent.launch.plan import Message
from agent.launch.processes import Worker
from agent.launch.store import Stores


async def test_a_worker_that_nothing_ends_is_left_and_named() -> None:
    """No signal reaches it, as if it were in the kernel: here it leads no group of its own."""
    heard: list[Message] = []
    agent = NodeAgent("n1", Command(["true"], python=False), heard.append, Stores().ask)
    process = await asyncio.create_subprocess_exec("sleep", "600")
    agent.processes["n1-1"] = worker = Worker(lambda code: None)
    worker.pid = process.pid
    try:
        async with asyncio.timeout(5.0):
            said = await agent.stop(grace_s=0.05)
    finally:
        process.kill()
        await process.wait()

    assert f"process {process.pid} has not ended 0.05 s after SIGKILL" in said
    assert not agent.folder.exists()
