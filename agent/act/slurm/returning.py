"""Bring requeued jobs back into work at once: Slurm by itself lets them wait for two minutes.

A requeued job is held for ``cred_expire`` and a second (121 s) or, where one of its nodes is dead,
until Slurm takes that node for down. Slurm forgets a new size or start time that it is told before
the job is back in the queue, so each job is followed there, given its nodes and size, and let start
not less than ``SETTLED_S`` later: a node that was told to end the job refuses one begun in the same
second ("already killed, do not launch batch job"), and the job then fails for good. Meanwhile its
nodes are kept for it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from agent.act.slurm.calls import Calls
from agent.act.slurm.kept import JobNote, Kept, Return
from agent.act.slurm.picture import (
    HELD_BY_PEOPLE,
    HELD_BY_SLURM,
    Look,
    is_away,
    reason_of,
    takes_no_jobs,
)
from agent.act.slurm.places import FIRST, Places
from agent.act.slurm.records import word_of
from agent.act.slurm.spares import Spares
from core.clock import Clock
from core.errors import ActionFailed, GpumedicError, SourceUnavailable

log = structlog.get_logger()

SETTLED_S = 2.0  # two of four restarts within the same second failed on 22.05.8; none after 0.5 s
LOOK_S = 0.5
SLOW_LOOK_S = 3.0  # once a job has kept us waiting for a while
TELL_AGAIN_S = 4.0  # longer than the second or two that Slurm needs to start what it can
PATIENCE_S = 60.0  # so long a job may wait for the nodes named; then any will do
AT_ONCE_S = 3.0
GIVE_UP_S = 3600.0
_BEGUN = {"RUNNING", "CONFIGURING"}
_OVER = {"FAILED", "COMPLETED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY"}
_HELD = {"BeginTime"}


@dataclass(slots=True)
class Returning:
    """Follows each job that is on its way back; what is under way outlives this process."""

    calls: Calls
    kept: Kept
    clock: Clock
    spares: Spares
    places: Places
    silent_s: float
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    def begin(self, back: Return) -> None:
        """Follow a job from now on; one that is followed already is followed anew."""
        self.kept.returns[str(back.job)] = back
        note = self.kept.jobs.get(str(back.job), JobNote())
        self.kept.jobs[str(back.job)] = replace(note, placed=back.nodes, queued=False)
        self.kept.write(now_s=self.clock.now_s())
        if (before := self._tasks.pop(back.job, None)) is not None:
            before.cancel()
        self._follow(back)

    def resume(self) -> None:
        """Follow again what was under way when an earlier process ended."""
        for back in list(self.kept.returns.values()):
            if back.job not in self._tasks:
                self._follow(back)

    async def keep_places(self, back: Return, look: Look) -> None:
        """Keep a job's nodes from the queue until it is back; those that are out are left out.

        Where Slurm will not, as in a reservation of somebody else's, the job takes its chance.
        """
        if back.job in self._tasks or str(back.job) in self.kept.returns:
            await self.places.give(back.job)  # an earlier order's
        fit = _fit(look) - set(look.reserved(self.spares.name)) - look.silent
        if nodes := [name for name in back.nodes if name in fit]:
            try:
                await self.places.keep(back, nodes)
            except ActionFailed as error:
                log.warning("a job's nodes are not kept", job=back.job, problem=str(error))

    def tidy(self, look: Look) -> None:
        """Take back a place that we asked for in a job's name and that cannot be had any more.

        Slurm keeps it with the job: after a requeue of its own the job would wait for a node that
        is out of service. Places that are kept for nobody on the way are given as well.
        """
        fit = _fit(look)
        for number in self.places.left_over(look.reservations, self.kept.returns):
            if number not in self._tasks:
                self._tasks[number] = asyncio.create_task(self._give(number))
        for job in look.jobs:
            note = self.kept.jobs.get(str(job.id))
            waits = "PENDING" in job.state and job.id not in self._tasks
            if waits and note and note.placed and not fit.issuperset(job.required):
                self.kept.jobs[str(job.id)] = replace(note, placed=())
                back = Return(job.id, "", look.at_s, task=job.called)
                self._tasks[job.id] = asyncio.create_task(self._unplace(back))

    async def _unplace(self, back: Return) -> None:
        try:
            await self._update(back, "ReqNodeList=")
        except GpumedicError as error:
            log.error("a job keeps nodes that are out", job=back.job, problem=str(error))
        self._tasks.pop(back.job, None)

    async def _give(self, job: int) -> None:
        try:
            await self.places.give(job)
        except GpumedicError as error:
            log.error("nodes are kept for nobody", job=job, problem=str(error))
        self._tasks.pop(job, None)

    async def close(self) -> None:
        """Stop following; a later process resumes."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, back: Return) -> None:
        self._tasks[back.job] = asyncio.create_task(self._followed(back))

    async def _followed(self, back: Return) -> None:
        """Follow a job to its end; while slurmctld is away, begin again: each step can be."""
        try:
            while not await self._brought(back):
                await self.clock.sleep(SLOW_LOOK_S)
        except GpumedicError as error:
            log.error("a job is left to Slurm", job=back.job, problem=str(error))
        if self._tasks.get(back.job) is asyncio.current_task():
            del self._tasks[back.job]
            self.kept.returns.pop(str(back.job), None)
            self.kept.write(now_s=self.clock.now_s())

    async def _brought(self, back: Return) -> bool:
        try:
            await self._bring(back)
        except SourceUnavailable as error:
            log.warning("a job waits for slurmctld", job=back.job, problem=str(error))
            return self.clock.now_s() > back.since_s + GIVE_UP_S
        return True

    async def _bring(self, back: Return) -> None:
        if await self._in_queue(back):
            await self._prepare(back)
            await self.clock.sleep(SETTLED_S)
            await self._start(back)
            if await self._failed_at_once(back):
                await self._once_more(back)
        await self.places.give(back.job)
        if back.priority:
            await self._in_turn(back)

    async def _start(self, back: Return) -> None:
        """Let a job start on the nodes that are named, or, if it does not get them, on any."""
        for name in back.spares:
            await self.spares.release(name)
        await self._let_start(back)
        await self.places.give(back.job)
        await self._update(back, "StartTime=now")  # the queue is gone through once more
        if await self._begun(back, within_s=PATIENCE_S):
            return
        waits = {"job": back.job, "nodes": ",".join(back.nodes), "why": (await self._look(back))[1]}
        log.warning("a job does not get its nodes", **waits)
        await self._update(back, "ReqNodeList=")
        await self._begun(replace(back, nodes=()), within_s=GIVE_UP_S)

    async def _failed_at_once(self, back: Return) -> bool:
        """Say whether a job has failed before its script can have done anything.

        22.05 now and then starts one whose node died without its GPUs ("node offset invalid"), so
        that its first srun is refused.
        """
        began_s = self.clock.monotonic_s()
        while self.clock.monotonic_s() - began_s < AT_ONCE_S:
            if (await self._look(back))[0] == "FAILED":
                return True
            await self.clock.sleep(LOOK_S)
        return False

    async def _once_more(self, back: Return) -> None:
        log.warning("a job failed as it began and is started once more", job=back.job)
        await self.calls.order("scontrol", "requeue", back.called, why=f"job {back.job}")
        if await self._in_queue(back):
            await self.clock.sleep(SETTLED_S)
            await self._start(back)

    async def _in_turn(self, back: Return) -> None:
        if await self._is_held(back):
            return  # whoever holds it has its priority
        try:
            await self.places.in_turn(back)
        except ActionFailed as error:  # it has ended
            log.info("a job keeps its priority", job=back.job, problem=str(error))

    async def _in_queue(self, back: Return) -> bool:
        """Wait until the job is back in the queue; False where it runs, or has ended for good.

        A node that does not answer keeps it from there until Slurm knows that the node is down.
        """
        began_s = self.clock.monotonic_s()
        silent_since = dict.fromkeys(back.silent, began_s - self.silent_s)
        while (waited_s := self.clock.monotonic_s() - began_s) < GIVE_UP_S:
            state, _ = await self._look(back)
            if state == "PENDING":
                return True
            if not state or state in _OVER or state in _BEGUN:
                return False
            now_s = self.clock.monotonic_s()
            silent = await self._silent(back)
            silent_since = {name: silent_since.get(name, now_s) for name in silent}
            dead = [n for n, since_s in silent_since.items() if now_s - since_s >= self.silent_s]
            await self._free(back, dead)
            await self.clock.sleep(LOOK_S if waited_s < PATIENCE_S else SLOW_LOOK_S)
        return False

    async def _silent(self, back: Return) -> frozenset[str]:
        """Return which of the nodes that the job had do not answer, and Slurm does not mind yet."""
        if not back.had:
            return frozenset()
        asked = ("sinfo", "-h", "-N", f"--nodes={','.join(back.had)}", "--format=%N|%T")
        rows = [line.partition("|") for line in (await self.calls.run(*asked)).out.split()]
        return frozenset(
            name for name, _, state in rows if state.endswith("*") and not state.startswith("down")
        )

    async def _free(self, back: Return, dead: Sequence[str]) -> None:
        """Tell Slurm that nodes are down; drained as well: down alone lasts until they answer.

        The job may start the moment that Slurm knows, so its nodes are named before.
        """
        if not dead:
            return
        if back.nodes:
            await self._update(back, f"ReqNodeList={','.join(back.nodes)}")
        for name in dead:
            reason = f"Reason={reason_of('does not answer', back.key)}"
            for state in ("State=DRAIN", "State=DOWN"):
                change = (f"NodeName={name}", state, reason)
                await self.calls.order("scontrol", "update", *change, why=f"fencing {name}")

    async def _is_held(self, back: Return) -> bool:
        """Say whether a person holds the job: a priority would release it."""
        return (await self._look(back))[1] in HELD_BY_PEOPLE

    async def _prepare(self, back: Return) -> None:
        """Tell a job its size and nodes and let it be the first; not one that somebody holds."""
        if await self._is_held(back):
            return
        if back.size:
            nodes, tasks, cpus = back.size
            sizes = (f"NumNodes={nodes}-{nodes}", f"NumTasks={tasks}", f"NumCPUs={cpus}")
            await self._update(back, *sizes)
        if back.nodes:
            await self._update(back, f"ReqNodeList={','.join(back.nodes)}")
        if back.priority:
            await self._update(back, f"Priority={FIRST}")

    async def _let_start(self, back: Return) -> None:
        _, why = await self._look(back)
        if why in HELD_BY_SLURM:
            await self.calls.order("scontrol", "release", back.called, why=f"job {back.job}")
        if why in HELD_BY_SLURM | _HELD:
            await self._update(back, "StartTime=now")

    async def _begun(self, back: Return, *, within_s: float) -> bool:
        """Wait until a job has begun.

        One that still waits is told all again: it may be held anew, as it could not be launched,
        or have lost what it was told when Slurm itself put it back into the queue.
        """
        began_s = told_s = self.clock.monotonic_s()
        while (now_s := self.clock.monotonic_s()) - began_s < within_s:
            if (await self._look(back))[0] != "PENDING":
                return True
            lately = now_s - began_s < PATIENCE_S
            if now_s - told_s >= (TELL_AGAIN_S if lately else PATIENCE_S):
                told_s = now_s
                await self._prepare(back)
                await self._let_start(back)
            await self.clock.sleep(LOOK_S if lately else SLOW_LOOK_S)
        return False

    async def _look(self, back: Return) -> tuple[str, str]:
        """Return the job's state and why; empty where Slurm has forgotten it."""
        asked = ("squeue", "--noheader", "--states=all", f"--jobs={back.called}", "--format=%T|%r")
        answer = await self.calls.run(*asked)
        if answer.code and "invalid job id" not in answer.err.lower():
            raise SourceUnavailable(f"asking Slurm for job {back.job}: {answer.err.strip()}")
        state, _, why = answer.out.strip().partition("|")
        return state, word_of(why)

    async def _update(self, back: Return, *changes: str) -> None:
        why = f"changing job {back.job}"
        try:
            await self.calls.order("scontrol", "update", f"JobId={back.called}", *changes, why=why)
        except ActionFailed as error:
            # It has begun meanwhile, or has ended: seen with the next look.
            log.info("a job was not changed", job=back.job, problem=str(error))


def _fit(look: Look) -> frozenset[str]:
    """Return the nodes that Slurm would put a job on."""
    return frozenset(n.name for n in look.nodes if not (takes_no_jobs(n) or is_away(n)))
