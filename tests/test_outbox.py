"""A message reaches its receiver at least once and in order, whatever the receiver or disk does."""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.database import Database
from agent.notify.outbox import MAX_TRIES, MAX_WAIT_S, SCHEDULE_S, Outbox, Pumped, wait_s
from core.clock import ManualClock
from core.errors import InputError, StoreError
from core.ports import Announcement, Delivery, DeliveryStatus, Notification
from tests.page_views import gpu_incident

DELIVERED = Delivery(DeliveryStatus.DELIVERED, "200")
RETRY = Delivery(DeliveryStatus.RETRY, "503")
GONE = Delivery(DeliveryStatus.GONE, "410")
GIVE_UP = Delivery(DeliveryStatus.GIVE_UP, "400")


@dataclass
class Scripted:
    """A receiver that answers from a list, then with ``then``; keeps what arrived."""

    name: str = "ops"
    script: list[Delivery] = field(default_factory=list)
    then: Delivery = DELIVERED
    got: list[tuple[str, bytes]] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)

    def render(self, notification: Notification) -> bytes | None:
        return None if notification.summary == "unwanted" else notification.summary.encode()

    async def deliver(self, message_id: str, body: bytes) -> Delivery:
        self.tried.append(body.decode())
        delivery = self.script.pop(0) if self.script else self.then
        if delivery.status is DeliveryStatus.DELIVERED:
            self.got.append((message_id, body))
        return delivery

    def texts(self) -> list[str]:
        return [body.decode() for _, body in self.got]


def news(text: str, incident_id: str = "inc-1") -> Notification:
    return Notification(
        id=f"{incident_id}-{text}",
        announcement=Announcement.INCIDENT_UPDATED,
        time_s=0.0,
        summary=text,
        incident=replace(gpu_incident(), id=incident_id),
    )


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database.open(tmp_path, owner="test")
    yield opened
    opened.close()


async def later(outbox: Outbox, clock: ManualClock, seconds: float) -> Pumped:
    await clock.advance(seconds)
    return await outbox.pump()


async def test_a_message_arrives_as_it_was_rendered(database: Database, clock: ManualClock) -> None:
    receiver = Scripted()
    outbox = Outbox(database, [receiver], clock=clock)

    await outbox.enqueue(news("hello"))
    pumped = await outbox.pump()

    assert receiver.got == [("inc-1-hello", b"hello")]
    assert pumped == Pumped(delivered=1)
    assert await outbox.pending_count() == 0


async def test_the_same_news_twice_is_one_message(database: Database, clock: ManualClock) -> None:
    receiver = Scripted()
    outbox = Outbox(database, [receiver], clock=clock)

    for _ in range(3):
        await outbox.enqueue(news("once"))
        await outbox.pump()

    assert receiver.texts() == ["once"]


async def test_what_a_receiver_does_not_want_is_not_kept(
    database: Database, clock: ManualClock
) -> None:
    outbox = Outbox(database, [Scripted()], clock=clock)

    assert await outbox.enqueue(news("unwanted")) == 0
    assert await outbox.pending() == ()


async def test_the_waits_follow_the_schedule_for_a_day(
    database: Database, clock: ManualClock
) -> None:
    receiver = Scripted(then=RETRY)
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("a"))
    waits: list[float] = []
    last_s = clock.now_s()

    while await outbox.pending():
        step_s = 1.0 if len(waits) < 4 else 60.0
        if (await later(outbox, clock, step_s)).retried:
            waits.append(clock.now_s() - last_s)
            last_s = clock.now_s()

    for wait, step_s in zip(waits[1:], SCHEDULE_S, strict=False):
        assert step_s <= wait <= 1.2 * step_s + 60
    assert len(receiver.tried) == MAX_TRIES == 28
    assert 86400 - 3600 <= sum(waits) <= 1.21 * 86400


async def test_a_message_given_up_is_kept_with_its_answer(
    database: Database, clock: ManualClock
) -> None:
    receiver = Scripted(script=[GIVE_UP])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("bad"))
    await outbox.enqueue(news("good"))

    await outbox.pump()

    (failed,) = await outbox.failed()
    assert (failed.body, failed.last_text, failed.attempts) == (b"bad", "400", 1)
    assert receiver.texts() == ["good"]


async def test_an_incidents_messages_wait_for_the_one_before(
    database: Database, clock: ManualClock
) -> None:
    receiver = Scripted(script=[RETRY])
    outbox = Outbox(database, [receiver], clock=clock)
    for text in ("opened", "diagnosed", "resolved"):
        await outbox.enqueue(news(text))

    await outbox.pump()
    assert receiver.texts() == []
    await later(outbox, clock, 7.0)

    assert receiver.texts() == ["opened", "diagnosed", "resolved"]


async def test_another_incident_does_not_wait(database: Database, clock: ManualClock) -> None:
    receiver = Scripted(script=[RETRY])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("stuck", "inc-1"))
    await outbox.pump()
    await outbox.enqueue(news("free", "inc-2"))

    await outbox.pump()

    assert receiver.texts() == ["free"]


async def test_a_receiver_that_is_down_does_not_hold_up_others(
    database: Database, clock: ManualClock
) -> None:
    down, up = Scripted("down", then=RETRY), Scripted("up")
    outbox = Outbox(database, [down, up], clock=clock)
    for index in range(20):
        await outbox.enqueue(news("x", f"inc-{index}"))

    await outbox.pump()

    assert len(up.got) == 20
    assert len(down.tried) <= 4


async def test_a_pause_that_is_asked_for_is_kept(database: Database, clock: ManualClock) -> None:
    receiver = Scripted(script=[replace(RETRY, retry_after_s=300.0)])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("a"))
    await outbox.pump()

    await later(outbox, clock, 299.0)
    assert receiver.texts() == []
    await later(outbox, clock, 62.0)

    assert receiver.texts() == ["a"]


async def test_a_receiver_that_is_gone_is_left_alone_until_redelivery(
    database: Database, clock: ManualClock
) -> None:
    receiver = Scripted(script=[GONE])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("a"))
    await outbox.pump()
    await outbox.enqueue(news("b"))
    await later(outbox, clock, 4000.0)
    assert (receiver.tried, await outbox.disabled()) == (["a"], ("ops",))

    (gone,) = await outbox.failed()
    await outbox.redeliver(gone.number)
    await outbox.pump()

    assert receiver.texts() == ["a", "b"]
    assert await outbox.disabled() == ()


async def test_what_waits_a_day_for_a_receiver_that_is_gone_is_given_up(
    database: Database, clock: ManualClock
) -> None:
    outbox = Outbox(database, [Scripted(script=[GONE])], clock=clock)
    await outbox.enqueue(news("a"))
    await outbox.pump()
    await outbox.enqueue(news("b"))

    await later(outbox, clock, 90_000.0)

    assert [message.body for message in await outbox.failed()] == [b"a", b"b"]


async def test_all_that_failed_can_be_sent_again(database: Database, clock: ManualClock) -> None:
    receiver = Scripted(script=[GIVE_UP, GIVE_UP])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("a"))
    await outbox.enqueue(news("b"))
    await outbox.pump()

    assert await outbox.redeliver() == 2
    await outbox.pump()

    assert receiver.texts() == ["a", "b"]
    with pytest.raises(InputError, match="notify failed"):
        await outbox.redeliver(1)


async def test_a_crash_in_a_delivery_sends_the_same_message_again(
    tmp_path: Path, clock: ManualClock
) -> None:
    database = Database.open(tmp_path, owner="first")
    started = asyncio.Event()

    class Hanging(Scripted):
        async def deliver(self, message_id: str, body: bytes) -> Delivery:
            self.got.append((message_id, body))
            started.set()
            await asyncio.Event().wait()
            raise AssertionError

    first, second = Hanging(), Scripted()
    outbox = Outbox(database, [first], clock=clock)
    await outbox.enqueue(news("again"))
    pumping = asyncio.create_task(outbox.pump())
    await started.wait()
    pumping.cancel()
    await asyncio.gather(pumping, return_exceptions=True)
    database.close()

    database = Database.open(tmp_path, owner="second")
    await Outbox(database, [second], clock=clock).pump()
    database.close()

    assert first.got == second.got == [("inc-1-again", b"again")]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_clock_set_back_an_hour_stalls_nothing(
    database: Database, clock: ManualClock, restart: bool
) -> None:
    receiver = Scripted(script=[RETRY])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("a"))
    await outbox.pump()
    clock.step(-3600.0)
    await outbox.enqueue(news("b"))
    if restart:
        outbox = Outbox(database, [receiver], clock=clock)

    await later(outbox, clock, MAX_WAIT_S if restart else 7.0)

    assert receiver.texts() == ["a", "b"]


async def test_a_clock_set_back_a_year_stalls_no_restarted_process(
    database: Database, clock: ManualClock
) -> None:
    receiver = Scripted(script=[RETRY])
    outbox = Outbox(database, [receiver], clock=clock)
    await outbox.enqueue(news("a"))
    await outbox.pump()
    clock.step(-365 * 86400.0)

    await Outbox(database, [receiver], clock=clock).pump()

    assert receiver.texts() == ["a"]


async def test_a_notifier_that_breaks_costs_only_its_own_message(
    database: Database, clock: ManualClock
) -> None:
    class Broken(Scripted):
        def render(self, notification: Notification) -> bytes | None:
            if notification.summary == "unrenderable":
                raise KeyError("colour")
            return super().render(notification)

        async def deliver(self, message_id: str, body: bytes) -> Delivery:
            raise ZeroDivisionError

    broken, sound = Broken("broken"), Scripted("sound")
    outbox = Outbox(database, [broken, sound], clock=clock)
    await outbox.enqueue(news("unrenderable"))
    await outbox.enqueue(news("fine"))

    pumped = await outbox.pump()

    assert sound.texts() == ["unrenderable", "fine"]
    assert pumped == Pumped(delivered=2, retried=1)
    (failed,) = await outbox.failed()
    assert "KeyError('colour')" in failed.last_text
    assert await outbox.redeliver() == 0


async def test_a_second_pump_meanwhile_sends_nothing_twice(
    database: Database, clock: ManualClock
) -> None:
    receiver = Scripted()
    outbox = Outbox(database, [receiver], clock=clock)
    for index in range(10):
        await outbox.enqueue(news(str(index)))

    await asyncio.gather(*(outbox.pump() for _ in range(5)))

    assert receiver.texts() == [str(index) for index in range(10)]


@dataclass
class FullDisk:
    """A database whose writes can be made to fail as on a full disk."""

    database: Database
    full: bool = False

    async def run(self, work: Callable[[sqlite3.Connection], object]) -> object:
        if self.full:
            raise StoreError("Writing: database or disk is full.")
        return await self.database.run(work)


async def test_a_full_disk_loses_no_message_and_repeats_none(
    database: Database, clock: ManualClock
) -> None:
    disk = FullDisk(database)
    receiver = Scripted()
    outbox = Outbox(disk, [receiver], clock=clock)  # type: ignore[arg-type]
    await outbox.enqueue(news("before"))
    disk.full = True
    with pytest.raises(StoreError):
        await outbox.enqueue(news("while"))
    with pytest.raises(StoreError):
        await outbox.pump()

    disk.full = False
    await outbox.pump()

    assert receiver.texts() == ["before", "while"]


async def test_a_delivery_that_could_not_be_noted_is_noted_later(
    database: Database, clock: ManualClock
) -> None:
    disk = FullDisk(database)

    class Filling(Scripted):
        async def deliver(self, message_id: str, body: bytes) -> Delivery:
            disk.full = True
            return await super().deliver(message_id, body)

    receiver = Filling()
    outbox = Outbox(disk, [receiver], clock=clock)  # type: ignore[arg-type]
    await outbox.enqueue(news("a"))
    with pytest.raises(StoreError):
        await outbox.pump()
    disk.full = False

    await outbox.pump()

    assert receiver.texts() == ["a"]


async def test_every_try_is_counted(database: Database, clock: ManualClock) -> None:
    counted: list[tuple[str, str]] = []
    receiver = Scripted(script=[RETRY])
    outbox = Outbox(
        database, [receiver], clock=clock, counted=lambda who, what: counted.append((who, what))
    )
    await outbox.enqueue(news("a"))
    await outbox.pump()
    await later(outbox, clock, 7.0)

    assert counted == [("ops", "retry"), ("ops", "delivered")]


async def test_what_was_delivered_is_forgotten_after_a_week(
    database: Database, clock: ManualClock
) -> None:
    outbox = Outbox(database, [Scripted(script=[GIVE_UP])], clock=clock)
    await outbox.enqueue(news("failed"))
    await outbox.enqueue(news("delivered"))
    await outbox.pump()

    await clock.advance(8 * 86400.0)

    assert await outbox.prune() == 1
    assert len(await outbox.failed()) == 1


@given(attempts=st.integers(1, 40), asked_s=st.none() | st.floats(0, 3600))
def test_a_wait_is_never_shorter_than_was_asked(attempts: int, asked_s: float | None) -> None:
    wait = wait_s("m", attempts, asked_s)

    assert max(SCHEDULE_S[min(attempts, 5) - 1], asked_s or 0.0) <= wait <= MAX_WAIT_S
    assert wait == wait_s("m", attempts, asked_s)


@given(
    answers=st.lists(st.sampled_from([DELIVERED, RETRY, GIVE_UP]), max_size=40),
    lanes=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    steps=st.lists(st.sampled_from([-3600.0, 0.0, 3600.0]), max_size=6),
)
@settings(max_examples=25, deadline=None)
def test_at_least_once_and_in_order_whatever_is_answered(
    answers: list[Delivery], lanes: list[int], steps: list[float]
) -> None:
    asyncio.run(deliver_all(answers, lanes, iter(steps)))


async def deliver_all(answers: list[Delivery], lanes: list[int], steps: Iterator[float]) -> None:
    clock = ManualClock()
    receiver = Scripted(script=list(answers))
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder), owner="test")
        outbox = Outbox(database, [receiver], clock=clock)
        for index, lane in enumerate(lanes):
            await outbox.enqueue(news(f"{index:02}", f"inc-{lane}"))
        while await outbox.pending_count():
            clock.step(next(steps, 0.0))
            await later(outbox, clock, MAX_WAIT_S)
            outbox = Outbox(database, [receiver], clock=clock)
        failed = [message.body.decode() for message in await outbox.failed()]
        database.close()

    assert sorted(receiver.texts() + failed) == [f"{index:02}" for index in range(len(lanes))]
    for lane in set(lanes):
        mine = [text for text in receiver.texts() if lanes[int(text)] == lane]
        assert mine == sorted(mine)


async def test_messages_to_a_receiver_that_was_taken_away_end(
    database: Database, clock: ManualClock
) -> None:
    """Given up after a day, so that they are listed as failed; forgotten after a quarter."""
    await Outbox(database, [Scripted()], clock=clock).enqueue(news("one"))
    without = Outbox(database, [], clock=clock)
    await without.prune()
    waiting = await without.pending_count()
    await clock.advance(86400.0 + 60)
    await without.prune()
    failed = await without.failed()
    await clock.advance(90 * 86400.0)
    await without.prune()

    assert waiting == 1
    assert await without.pending_count() == 0
    assert [message.last_text for message in failed] == [
        "there is no [[webhooks]] of this name any more"
    ]
    assert await without.failed() == ()
