"""Several nodes: nodes and coordinators die, freeze and come back, and the training goes on."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.launching import HANDED_OVER, STEPS, Job, Undisturbed, launched
from tests.real import free_port

pytestmark = pytest.mark.timeout(480)

Join = Callable[..., Awaitable[Job]]


@asynccontextmanager
async def meeting(wanted: str, **environ: str) -> AsyncIterator[Join]:
    """Give a function that starts a supervisor, the first of which coordinates; h gets no ranks."""
    where = ("--nnodes", wanted, "--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    calls = ("--rdzv-conf", "last_call_timeout=200")
    async with AsyncExitStack() as stack:
        coordinates: list[Job] = []
        names: list[str] = []

        async def join(name: str, *, to: Job | None = None) -> Job:
            role = ("--coordinate",) if name == "h" else ("--", HANDED_OVER)
            words = (*where, *calls, "--name", name, "--standbys", "0", "--hang", "120", *role)
            job = await stack.enter_async_context(launched(*words, **environ))
            coordinates.append(job)
            names.append(name)
            said = f"node {name} coordinates" if name == "h" else f"node {name} joined"
            who = to or coordinates[0]
            await who.until(lambda job: job.texts().count(said) == names.count(name))
            return job

        yield join


def leads(name: str) -> Callable[[Job], bool]:
    """Say whether a node coordinates now, and whether a majority knows."""
    said = f"a majority of these nodes decides: {name}"
    return lambda job: any(text.startswith(said) for text in job.texts())


async def test_nodes_and_coordinators_are_lost_one_after_another_and_no_bit_is(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """A node freezes in its update and is given up, thaws, and comes back as a spare. Then the
    coordinator dies between steps; what is begun in its place follows who has taken over. The next
    dies in a hand-over, together with its rank."""
    hold = tmp_path / "hold"
    os.mkfifo(hold)
    faults = [[0, 5, "after", signal.SIGSTOP, True], [1, 20, "forward", signal.SIGKILL]]
    environ = {"STEPS": str(STEPS), "FAULTS": json.dumps(faults), "ONCE": str(tmp_path)}
    async with meeting("2", HOLD=str(hold), **environ) as join:
        h, a, b, c = [await join(name) for name in "habc"]
        await b.until(lambda job: job.step(1) == 9)  # at 10 rank 0, which is on c now, holds it
        assert "node a is lost" in h.texts()
        for pid in (a.process.pid, a.pid(0)):
            os.kill(pid, signal.SIGCONT)
        assert await a.code() == 1
        again = await join("a")

        h.process.kill()
        await b.until(leads("b"))
        d = await join("d", to=b)
        await asyncio.to_thread(hold.write_text, "")
        await b.until(lambda job: "rank 1 ended: SIGKILL" in job.texts())
        b.process.kill()
        codes = [await each.code() for each in (b, c, again, d)]

    assert codes == [-signal.SIGKILL, 0, 0, 0]
    assert c.digests() | again.digests() | d.digests() == {await undisturbed.digest(2)}
    assert d.texts()[0] == "node d coordinates"  # where all met, until it heard of the other
    # The frozen node's rank had what only it knew from the node that kept it for it.
    goes_on = [each for each in h.journal if each.get("what") == "goes_on"]
    assert [(each["step"], each["takings"]) for each in goes_on][1:] == [
        (5, ["receive/receive", "copy/slot"])
    ]
    # Nobody was told anything when the first coordinator died: the same process, step after step.
    told = [text for text in b.texts() if not text.startswith("a majority of these nodes")]
    taken_over = "node b coordinates now, in place of h"
    assert told[:3] == [taken_over, "node d joined", "rank 1 ended: SIGKILL"]
    assert len({each["pid"] for each in c.said if each.get("rank") == 0}) == 1


async def test_a_world_shrinks_without_spares_and_a_node_left_alone_ends_its_ranks(
    tmp_path: Path,
) -> None:
    """Of two nodes the one without the coordinator cannot know whether the other goes on."""
    environ = {"STEPS": "1000000", "ONCE": str(tmp_path)}
    async with meeting("1:3", **environ) as join:
        a, b, c = [await join(name) for name in "abc"]
        await b.until(lambda job: job.step(1) > 5)
        b.process.kill()
        await a.until(lambda job: "2 ranks are left" in job.texts())
        await c.until(lambda job: job.step(1) > 10)  # it was told its new rank, in its old process
        a.process.kill()
        assert await c.code() == 1
        assert c.left() == []

    assert "too few nodes are left to go on without their coordinator" in c.texts()
    assert [each["world"] for each in c.said if "joined" in each] == [3]
