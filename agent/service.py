"""The process: one event loop, the periodic work, signals, systemd, an orderly end within 10 s."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agent.systemd import Systemd

log = structlog.get_logger()

Serve = Callable[[asyncio.Event], Awaitable[None]]

# systemd waits for TimeoutStopSec (90 s by default) and then kills; an orderly end takes far less.
DRAIN_S = 10.0
WATCHDOG_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Periodic:
    """Work to do at the start and every ``every_s`` real seconds; missed runs are done once.

    interruptible: a run is cut off at the end of the process and not waited for
    """

    name: str
    every_s: float
    work: Callable[[], Awaitable[object]]
    interruptible: bool = False


@dataclass(slots=True)
class Service:
    """Runs periodic work and servers until a signal, ``stop`` or the end of ``duration_s``.

    status:  the sentence for ``systemctl status``
    healthy: whether the watchdog may be fed
    close:   what to do last, after the work has come to rest
    ended_by: signals that begin the orderly end; none where whoever runs it hears them
    """

    systemd: Systemd
    periodic: Sequence[Periodic]
    servers: Sequence[Serve]
    status: Callable[[], str]
    healthy: Callable[[], bool]
    reload: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    duration_s: float = 0.0
    ended_by: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Serve, then drain: what runs is given 10 s to end, and what is queued stays queued."""
        self._listen_to_signals()
        serving = [asyncio.create_task(self._serve(serve)) for serve in self.servers]
        await asyncio.sleep(0)  # a server takes its port in its first step, or ends with the reason
        scheduler = self._scheduler()
        scheduler.start()
        try:
            if not self._stop.is_set():
                self._begin()
            await self._until_stopped()
        finally:
            self._stop.set()
            self.systemd.stopping()
            scheduler.shutdown(wait=False)
            await self._drain(serving)
        for task in serving:
            task.result()

    def stop(self) -> None:
        """Begin the orderly end."""
        self._stop.set()

    def _begin(self) -> None:
        for job in self.periodic:
            self._start(job.work, job.name)
        self.systemd.ready()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self.ended_by:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._start(self._reload, "reload"))

    def _scheduler(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(timezone="UTC")
        for job in (*self.periodic, Periodic("watchdog", WATCHDOG_EVERY_S, self._feed_watchdog)):
            scheduler.add_job(
                self._fire,
                "interval",
                args=(job,),
                seconds=job.every_s,
                id=job.name,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
        return scheduler

    async def _fire(self, job: Periodic) -> None:
        """Start a run, unless the one before has not ended: that one then does for both.

        The run is a task of ours and not the scheduler's, which would cancel it at the end.
        """
        if not any(task.get_name() == job.name for task in self._running):
            self._start(job.work, job.name)

    def _start(self, work: Callable[[], Awaitable[object]], name: str) -> None:
        async def run() -> None:
            try:
                await work()
            except Exception as error:
                log.exception("periodic work failed", work=name, error=repr(error))

        task = asyncio.create_task(run(), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, serve: Serve) -> None:
        try:
            await serve(self._stop)
        finally:
            self._stop.set()

    async def _until_stopped(self) -> None:
        try:
            async with asyncio.timeout(self.duration_s or None):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _feed_watchdog(self) -> None:
        self.systemd.status(self.status())
        if self.healthy():
            self.systemd.watchdog()

    async def _reload(self) -> None:
        self.systemd.reloading()
        await self.reload()
        self.systemd.ready()

    async def _drain(self, serving: Sequence[asyncio.Task[None]]) -> None:
        idle = {job.name for job in self.periodic if job.interruptible}
        for task in self._running:
            if task.get_name() in idle:
                task.cancel()
        waiting = {*self._running, *serving}
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=DRAIN_S - 1.0)
            for task in late:
                log.warning("cut short at the end", task=task.get_name())
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await self.close()
