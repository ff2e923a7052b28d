"""The process runs its periodic work, outlives what fails in it, and ends in order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from agent import service
from agent.service import Periodic, Serve, Service
from agent.systemd import Systemd
from core.clock import RealClock
from core.errors import ConfigError

SOON_S = 10.0


@dataclass
class Stage:
    """A service around scripted work; ``happened`` is what happened, in order."""

    happened: list[str] = field(default_factory=list)

    def service(
        self,
        *periodic: Periodic,
        servers: Sequence[Serve] = (),
        duration_s: float = 0.0,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> Service:
        return Service(
            systemd=Systemd({}, RealClock()),
            periodic=periodic,
            servers=servers,
            status=lambda: "all quiet.",
            healthy=lambda: True,
            reload=self.note("reload"),
            close=close or self.note("close"),
            duration_s=duration_s,
        )

    def note(self, what: str) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            self.happened.append(what)

        return work

    async def serve(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.happened.append("server ended")


async def test_work_runs_at_once_and_again() -> None:
    stage, three = Stage(), asyncio.Event()

    async def work() -> None:
        stage.happened.append("work")
        if len(stage.happened) == 3:
            three.set()

    running = stage.service(Periodic("work", 0.05, work), servers=[stage.serve])
    task = asyncio.create_task(running.run())
    await asyncio.wait_for(three.wait(), SOON_S)
    running.stop()
    await asyncio.wait_for(task, SOON_S)

    assert stage.happened[:3] == ["work"] * 3
    assert stage.happened[-2:] == ["server ended", "close"]


async def test_work_that_fails_is_done_again() -> None:
    stage, again = Stage(), asyncio.Event()

    async def work() -> None:
        stage.happened.append("work")
        if len(stage.happened) > 1:
            again.set()
        raise ZeroDivisionError

    running = stage.service(Periodic("work", 0.05, work))
    task = asyncio.create_task(running.run())
    await asyncio.wait_for(again.wait(), SOON_S)
    running.stop()
    await asyncio.wait_for(task, SOON_S)

    assert stage.happened[-1] == "close"


async def test_a_run_that_takes_long_does_for_those_after_it() -> None:
    """A slow cycle is never met by a second one, and other work goes on beside it."""
    stage, others, free = Stage(), asyncio.Event(), asyncio.Event()
    count = 0

    async def slow() -> None:
        stage.happened.append("slow")
        await free.wait()

    async def quick() -> None:
        nonlocal count
        count += 1
        if count == 6:
            others.set()

    running = stage.service(Periodic("slow", 0.05, slow), Periodic("quick", 0.05, quick))
    task = asyncio.create_task(running.run())
    await asyncio.wait_for(others.wait(), SOON_S)
    seen = list(stage.happened)
    free.set()
    running.stop()
    await asyncio.wait_for(task, SOON_S)

    assert seen == ["slow"]


async def test_what_runs_at_the_end_is_let_finish() -> None:
    stage, begun = Stage(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await running._stop.wait()
        await asyncio.sleep(0)
        stage.happened.append("work done")

    running = stage.service(Periodic("work", 60.0, work))
    task = asyncio.create_task(running.run())
    await asyncio.wait_for(begun.wait(), SOON_S)
    running.stop()
    await asyncio.wait_for(task, SOON_S)

    assert stage.happened == ["work done", "close"]


async def test_what_does_not_finish_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "DRAIN_S", 1.1)
    stage = Stage()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stage.happened.append("cut")

    running = stage.service(Periodic("hang", 60.0, hang), duration_s=0.1)
    await asyncio.wait_for(running.run(), SOON_S)

    assert stage.happened == ["cut", "close"]


async def test_a_duration_ends_by_itself() -> None:
    stage = Stage()

    await asyncio.wait_for(
        stage.service(servers=[stage.serve], duration_s=0.05).run(), timeout=SOON_S
    )

    assert stage.happened == ["server ended", "close"]


async def test_a_server_that_cannot_start_ends_the_process_with_its_reason() -> None:
    """In order all the same: no work begins, the others are told to stop, all is closed."""
    stage = Stage()

    async def taken(stop: asyncio.Event) -> None:
        raise ConfigError("Listening at 127.0.0.1:1: Address already in use.")

    work = Periodic("work", 60.0, stage.note("work"))
    running = stage.service(work, servers=[taken, stage.serve])
    with pytest.raises(ConfigError, match="Address already in use"):
        await asyncio.wait_for(running.run(), timeout=SOON_S)

    assert stage.happened == ["server ended", "close"]
