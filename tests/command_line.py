"""Run the command line as a person does: a process of its own, its exit code and what it said."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def plain(self) -> bool:
        """Whether it ended with words and not with a traceback."""
        return "Traceback" not in self.err + self.out


async def gpumedic(*words: str, folder: Path = ROOT, **environ: str) -> Said:
    """Run ``gpumedic words ...`` with its state in ``folder`` and wait for its end."""
    return await python("-m", "agent.cli", *words, folder=folder, **environ)


async def python(*words: str, folder: Path = ROOT, **environ: str) -> Said:
    """Run Python on our source, 80 columns wide."""
    known = {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "GPUMEDIC__STATE_DIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        cwd=folder,
        env={**os.environ, **known, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return Said(process.returncode or 0, out.decode(), err.decode())
