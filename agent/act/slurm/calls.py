"""Run Slurm's programs: lists of arguments, never a shell; bounded in time and size."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import ActionFailed, SourceUnavailable

EXCERPT = 300
# What Slurm's programs say when nobody answers, rather than when the answer is no.
_NOBODY = (
    "unable to contact slurm controller",
    "socket timed out",
    "connection refused",
    "connection timed out",
    "zero bytes were transmitted",
    "standby mode",
    "unable to establish controller machine",
    "could not establish a configuration source",
)


@dataclass(frozen=True, slots=True)
class SlurmAccess:
    """How to reach a Slurm cluster.

    conf: its slurm.conf; None: where its programs look for it by themselves
    programs: folder of scontrol and the others; None: on PATH
    timeout_s: deadline of one call
    rest: slurmrestd for reading, ``unix:/PATH`` or ``http://HOST:PORT``; "": the programs
    rest_token_file: holds the token (JWT) that slurmrestd wants; read for each call
    max_bytes: the longest answer that is read; 10,000 jobs are about 100 MB
    """

    conf: Path | None = None
    programs: Path | None = None
    timeout_s: float = 10.0
    rest: str = ""
    rest_token_file: Path | None = None
    max_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """How a program ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def refused(self) -> bool:
        """Say whether it did not do it; ``scontrol`` ends with 0 after some errors."""
        return self.code != 0 or "error" in self.err.lower()


@dataclass(frozen=True, slots=True)
class Calls:
    """Slurm's programs on this machine."""

    access: SlurmAccess
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    async def json(self, *argv: str) -> Any:
        """Return what a program writes as JSON; SourceUnavailable where it does not."""
        out = await self.text(*argv)
        try:
            return await asyncio.to_thread(json.loads, out)
        except (ValueError, RecursionError) as error:
            raise self._silent(argv, f"it wrote no JSON ({error}): {out[:EXCERPT]!r}") from None

    async def text(self, *argv: str) -> str:
        """Return what a program writes; SourceUnavailable where it cannot."""
        answer = await self.run(*argv)
        if answer.code != 0:
            raise self._silent(argv, answer.err.strip()[:EXCERPT] or f"it ended with {answer.code}")
        return answer.out

    async def order(self, *argv: str, why: str) -> None:
        """Run what changes something: ActionFailed where Slurm says no.

        SourceUnavailable where nobody answered: then it may or may not have been done.
        why: what was attempted, for the message
        """
        answer = await self.run(*argv)
        if not answer.refused:
            return
        said = " ".join((answer.err or answer.out).split())[:EXCERPT]
        if any(sign in said.lower() for sign in _NOBODY):
            raise self._silent(argv, said)
        raise ActionFailed(f"{why}: Slurm refused `{' '.join(argv)}`: {said or answer.code}.")

    async def run(self, *argv: str) -> Answer:
        """Run a program to its end; SourceUnavailable where there is none or it takes too long."""
        program = self._program(argv[0])
        process = await asyncio.create_subprocess_exec(
            program,
            *argv[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
        )
        try:
            async with asyncio.timeout(self.access.timeout_s):
                out, err = await asyncio.gather(
                    self._read(process.stdout, argv), self._read(process.stderr, argv)
                )
                code = await process.wait()
        except TimeoutError:
            found = f"no answer within {self.access.timeout_s:g} s. See whether slurmctld is well"
            raise self._silent(argv, found) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return Answer(code, out, err)

    def _program(self, name: str) -> str:
        folder = self.access.programs
        found = shutil.which(name, path=str(folder) if folder else self.environ.get("PATH"))
        if found is None:
            where = folder or "PATH"
            raise SourceUnavailable(
                f"asking Slurm: {name} is not in {where}. Install Slurm's client programs here, or "
                "name their folder as slurm.programs."
            )
        return found

    def _environment(self) -> dict[str, str]:
        """Return an environment in which times and words are of one form, whoever starts this."""
        kept = {k: v for k, v in self.environ.items() if not k.startswith(("SLURM_", "SQUEUE_"))}
        kept |= {"LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "standard"}
        conf = str(self.access.conf) if self.access.conf else self.environ.get("SLURM_CONF")
        return kept | ({"SLURM_CONF": conf} if conf else {})

    async def _read(self, stream: asyncio.StreamReader | None, argv: tuple[str, ...]) -> str:
        if stream is None:
            return ""
        body = bytearray()
        while piece := await stream.read(1 << 16):
            body += piece
            if len(body) > self.access.max_bytes:
                most = self.access.max_bytes >> 20
                raise self._silent(argv, f"its answer is longer than {most} MiB")
        return body.decode("utf-8", "replace")

    def _silent(self, argv: tuple[str, ...], found: str) -> SourceUnavailable:
        return SourceUnavailable(f"asking Slurm with `{' '.join(argv)[:EXCERPT]}`: {found}.")
