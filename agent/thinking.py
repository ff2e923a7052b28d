"""A process that thinks about decisions which take long: looking ahead never holds up the loop.

It is started with the controller and compiles there what it needs. A question has a time limit;
one that is not answered in time, or a process that ends, is told to the asker, who decides by the
policy within, and a new process is made ready meanwhile.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agent.workers import WorkerPool
from core.errors import WorkerFailed
from core.ports import Problem
from remediation.deciding.chooser import Moment, Seen, Thought

log = structlog.get_logger()

SOURCE = "policy"

WARM, THINK = "agent.thinking_child:warm", "agent.thinking_child:think"
# Compiling the engine takes one to two minutes of a core that the node's training may need.
WARM_LIMIT_S = 900.0
# After a process could not be made ready, the next is tried so much later.
AGAIN_S = 60.0
MEMORY_BYTES = 4 << 30  # compiling takes some 1.5 GiB, thinking a tenth of it


class Thinker:
    """One process for the policies that are named; ``ask`` never waits longer than the limit.

    limit_s: longest an answer may take, seconds; 0: nobody is ever asked, and no process runs
    """

    def __init__(
        self,
        policies: tuple[str, ...],
        *,
        limit_s: float,
        failed: Callable[[str], None] = lambda reason: None,
        warm: str = WARM,
        think: str = THINK,
    ) -> None:
        self.policies, self.limit_s = policies, limit_s
        self._failed, self._functions = failed, (warm, think)
        self._pool = WorkerPool(
            1,
            time_limit_s=WARM_LIMIT_S,
            memory_bytes=MEMORY_BYTES,
            calls_per_worker=sys.maxsize,
        )
        self._why_not = "its process is being made ready"
        self._warming: asyncio.Task[None] | None = None
        self._tried_s, self._closed = 0.0, False

    @property
    def ready(self) -> bool:
        """Say whether the next question will be put."""
        return self.limit_s > 0 and not self._why_not

    def start(self) -> None:
        """Begin to make the process ready, beside whatever else goes on."""
        if self.limit_s > 0 and (self._warming is None or self._warming.done()):
            self._tried_s = asyncio.get_running_loop().time()
            self._warming = asyncio.create_task(self._warm())

    async def made_ready(self) -> bool:
        """Wait until the process is ready or could not be made so; say which."""
        if self._warming is not None:
            await asyncio.wait({self._warming})
        return self.ready

    async def ask(self, policy: str, moment: Moment, *, explore: float = 0.0) -> Thought | str:
        """Return what the policy chooses, or why it did not, as a sentence's end."""
        if self.limit_s <= 0:
            return f"{policy} is not asked: policy.time_limit is 0"
        if self._why_not:
            if asyncio.get_running_loop().time() - self._tried_s >= AGAIN_S:
                self.start()
            return f"{policy} could not be asked: {self._why_not}"
        asked = (policy, explore, Seen.of(moment))
        try:
            thought: Thought = await self._pool.run(self._functions[1], asked, limit_s=self.limit_s)
        except WorkerFailed as error:
            return self._given_up(policy, error)
        return thought

    async def close(self) -> None:
        """End the process, whatever it does."""
        self._closed = True
        await self._pool.close()
        if self._warming is not None:
            await asyncio.wait({self._warming})

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return that nobody thinks, where that is so, for the page."""
        if self.ready:
            return ()
        names = ", ".join(self.policies)
        why = self._why_not if self.limit_s > 0 else "policy.time_limit is 0"
        return (Problem(SOURCE, "not_ready", f"policy {names}: {why}; the one within decides."),)

    async def _warm(self) -> None:
        try:
            await self._pool.run(self._functions[0], self.policies)
        except WorkerFailed as error:
            self._why_not = f"its process could not be made ready: {error}"
            if not self._closed:
                log.error("no process thinks", problem=str(error))
            return
        self._why_not = ""
        log.info("a process thinks", policies=self.policies)

    def _given_up(self, policy: str, error: WorkerFailed) -> str:
        if self._closed:
            return f"{policy} could not be asked: the controller is ending"
        self._failed(error.reason)
        why = self._what_failed(policy, error)
        log.warning("a decision was not thought through", why=why)
        if error.reason != "raised":  # after that the process is as sound as it was
            self._why_not = "its process is being made ready"
            self.start()
        return why

    def _what_failed(self, policy: str, error: WorkerFailed) -> str:
        if error.reason == "raised":
            return f"{policy} failed: {error}"
        if error.reason == "timeout":
            return f"{policy} took longer than {self.limit_s:g} s (policy.time_limit)"
        return f"the process of {policy} ended: {error}"


@dataclass(frozen=True, slots=True)
class Apart:
    """Who decides and who looks on in a process of their own; "" for nobody.

    explore: share of the decisions that is left to chance
    """

    thinker: Thinker
    policy: str = ""
    shadow: str = ""
    explore: float = 0.0
