"""Start a launch as a person does, wait for what it says, and see that it leaves nothing."""

import asyncio
import json
import os
import select
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.launch.node import sweep
from tests.command_line import ROOT

SCRIPTS = Path(__file__).parent / "launched"
HANDED_OVER = str(SCRIPTS / "handed_over.py")
STEPS = 40
DEADLINE_S = 150.0
_GONE_MS = 10_000

Event = dict[str, Any]


class Job:
    """A running ``gpumedic launch``; ``said`` is all that its ranks wrote, ``journal`` its own."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self.process, self.mark = process, mark
        self.said: list[Event] = []
        self.journal: list[Event] = []
        self._changed = asyncio.Event()

    async def read(self, stream: asyncio.StreamReader, into: list[Event]) -> None:
        """Take in lines until the stream ends."""
        async for line in stream:
            if line.startswith(b"{"):
                into.append(json.loads(line))
            self._changed.set()

    async def until(self, happened: "Callable[[Job], object]") -> None:
        """Wait for something said or journaled."""
        async with asyncio.timeout(DEADLINE_S):
            while not happened(self):
                self._changed.clear()
                await self._changed.wait()

    async def code(self) -> int:
        """Wait for the end and return the exit code; all output has been read by then."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()

    def pid(self, rank: int) -> int:
        """Return the process that had the rank last."""
        return int([each["pid"] for each in self.said if each.get("rank") == rank][-1])

    def step(self, rank: int = 0) -> int:
        """Return the last step that a rank has done, -1 before the first."""
        return max(
            (each["step"] for each in self.said if each.get("rank") == rank and "step" in each),
            default=-1,
        )

    def texts(self) -> list[str]:
        """Return the journal's sentences."""
        return [each["text"] for each in self.journal]

    def digests(self) -> set[str]:
        """Return what the ranks' parameters came to; one where all are alike."""
        return {each["digest"] for each in self.said if "digest" in each}

    def left(self) -> list[int]:
        """Return processes of this launch that live."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _marked(path, self.mark)]


@asynccontextmanager
async def launched(*words: str, **environ: str) -> AsyncIterator[Job]:
    """Run ``gpumedic launch words ...``; afterwards no process and no shared memory is left."""
    mark = uuid.uuid4().hex
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", "launch", "--journal", f"/dev/fd/{write}", *words),
        cwd=ROOT,
        env={**os.environ, "GPUMEDIC_TEST": mark, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=None,
        pass_fds=(write,),
    )
    os.close(write)
    job = Job(process, mark)
    journal = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(journal), os.fdopen(read, "rb")
    )
    assert process.stdout is not None
    reading = asyncio.gather(job.read(process.stdout, job.said), job.read(journal, job.journal))
    try:
        yield job
    finally:
        if process.returncode is None:
            process.terminate()
        await job.code()
        gone = all(_ends(pid) for pid in job.left())
        sweep()  # as the next launch would: a supervisor that was killed could not
        await reading
    assert gone, f"left behind: {job.left()}"


class Undisturbed:
    """What a training comes to when nobody disturbs it, by how many ranks there are."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    async def digest(self, world: int) -> str:
        """Return the digest of the parameters; the training runs once."""
        if world not in self._known:
            words = ("--nproc-per-node", str(world), "--standbys", "0", "--", HANDED_OVER)
            async with launched(*words, STEPS=str(STEPS)) as job:
                assert await job.code() == 0
            (self._known[world],) = job.digests()
        return self._known[world]


def _marked(process: Path, mark: str) -> bool:
    try:
        return f"GPUMEDIC_TEST={mark}".encode() in (process / "environ").read_bytes()
    except OSError:
        return False


def _ends(pid: int) -> bool:
    """Wait for the kernel to say that a process is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    ended = bool(waiting.poll(_GONE_MS))
    os.close(descriptor)
    return ended
