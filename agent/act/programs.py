"""Programs of the site for what a scheduler cannot do: checks, resets, clocks, power, pages."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from core.errors import ActionFailed
from core.types import Action

EXCERPT = 300
_TAIL_BYTES = 16 * EXCERPT  # characters of several bytes, and white space that is left out
# Action kind -> what of the action its program may be given, in braces; {key} besides.
MAY_BE: Mapping[str, tuple[str, ...]] = {
    "validate_node": ("node",),
    "reset_gpu": ("node", "gpu"),
    "limit_clocks": ("node", "share"),
    "limit_power": ("node", "watts"),
    "page_person": ("node", "job"),
    "reboot_node": ("node",),
    "restart_job": ("job",),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended: 0 is good; what it wrote last."""

    code: int
    said: str


@dataclass(frozen=True, slots=True)
class Programs:
    """What to run for an action's kind; a word such as ``{node}`` stands for the action's own.

    Each word becomes one argument and is never read by a shell.
    setting: where the site names them
    """

    argv_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    setting: str = "slurm.programs"

    def __contains__(self, kind: object) -> bool:
        return kind in self.argv_of

    async def run(self, action: Action) -> Ending:
        """Run the program of the action's kind to its end, within the action's deadline.

        What it leaves running on purpose, such as a job, goes on; where it is late, all of it ends.
        """
        argv = [filled(word, action) for word in self.argv_of[action.kind]]
        # A file and not a pipe, whose end would only come with that of all that was left running.
        with tempfile.TemporaryFile() as out:
            code = await self._code(argv, action, out)
            out.seek(max(0, out.seek(0, os.SEEK_END) - _TAIL_BYTES))
            said = " ".join(out.read().decode("utf-8", "replace").split())[-EXCERPT:]
        return Ending(code, said)

    async def _code(self, argv: Sequence[str], action: Action, out: IO[bytes]) -> int:
        """Return the exit code; ActionFailed where it cannot be run, or does not end in time."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ActionFailed(
                f"{action.kind} {action.target}: {argv[0]} cannot be run ({error.strerror}). "
                f"Correct {self.setting}.{action.kind}."
            ) from error
        try:
            async with asyncio.timeout(action.deadline_s):
                return await process.wait()
        except TimeoutError:
            raise ActionFailed(
                f"{action.kind} {action.target}: {argv[0]} has not ended in "
                f"{action.deadline_s:g} s and was stopped."
            ) from None
        finally:
            # Not waited for: one that hangs in a driver ends when the driver lets it.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def filled(word: str, action: Action) -> str:
    """Return a word of a program's with the action's own values for those in braces."""
    named = {"node": action.target.node, "gpu": action.target.gpu, "job": action.target.job}
    named |= {name: str(value) for name, value in action.params} | {"key": action.key}
    for name in (*MAY_BE[action.kind], "key"):
        word = word.replace(f"{{{name}}}", named.get(name, ""))
    return word
