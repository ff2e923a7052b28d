"""Programs of the site for what a scheduler cannot do: checks, resets, clocks, power, pages."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from core.errors import ActionFailed, SourceUnavailable
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
class _Run:
    """A program that was begun; until_s: its deadline, by the event loop's clock."""

    ending: asyncio.Future[Ending]
    until_s: float


@dataclass(frozen=True, slots=True)
class Programs:
    """What to run for an action's kind; a word such as ``{node}`` stands for the action's own.

    Each word becomes one argument and is never read by a shell. What runs ends with the event loop,
    and so with the process that began it.

    setting:    where the site names them
    patience_s: that one is waited for as it begins. An hour of checks must hold up no other order,
                and a reset of seconds need not be asked after
    """

    argv_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    setting: str = "slurm.programs"
    patience_s: float = 5.0
    _begun: dict[str, "_Run"] = field(default_factory=dict, init=False, compare=False)

    def __contains__(self, kind: object) -> bool:
        return kind in self.argv_of

    def has_begun(self, action: Action) -> bool:
        """Say whether the order's program runs, or has ended and nobody was told how."""
        return action.key in self._begun

    async def run(self, action: Action) -> Ending:
        """Return how the program of the action's kind ended, which is begun once for each key.

        SourceUnavailable while it runs: it goes on, and the same key is told how it ended.
        ActionFailed where it has not ended by the action's deadline; then all that it started is
        ended. Else what it leaves running on purpose, such as a job, goes on.
        """
        run, wait_s = self._begun.get(action.key), 0.0
        if run is None:
            run, wait_s = self._begin(action), self.patience_s
        await asyncio.wait({run.ending}, timeout=wait_s)
        if not run.ending.done():
            raise SourceUnavailable(
                f"{action.kind} {action.target}: {self.argv_of[action.kind][0]} still runs; its "
                f"end is waited for, at most {action.deadline_s:g} s."
            )
        self._begun.pop(action.key, None)
        return run.ending.result()

    def _begin(self, action: Action) -> _Run:
        """Begin an order's program, and forget how those ended whose orders' time is over."""
        now_s = asyncio.get_running_loop().time()
        for key, run in [*self._begun.items()]:
            if run.ending.done() and run.until_s < now_s:
                self._begun.pop(key).ending.exception()
        ending = asyncio.ensure_future(self._ended(action))
        self._begun[action.key] = _Run(ending, now_s + action.deadline_s)
        return self._begun[action.key]

    async def _ended(self, action: Action) -> Ending:
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
