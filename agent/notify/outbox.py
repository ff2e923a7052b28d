"""Messages that wait on disk until their receiver has them: at least once, in order, told when not.

A message is rendered once and stored; what is sent is those bytes under one id, on every try. Per
receiver and incident a message waits for the ones before it. A crash in the middle of a delivery
sends that message again, and its id lets the receiver see so.
"""

import asyncio
import hashlib
import re
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from agent.database import Database
from agent.notify import outbox_rows as rows
from agent.notify.outbox_rows import Message, NewMessage, Note
from core.clock import Clock
from core.errors import InputError, StoreError
from core.ports import Delivery, DeliveryStatus, Notification, Notifier

T = TypeVar("T")

log = structlog.get_logger()

# Waits after the first, second, ... failed try; then hourly until a day has passed.
SCHEDULE_S = (5.0, 30.0, 120.0, 600.0, 3600.0)
BUDGET_S = 86400.0
MAX_TRIES = 1 + len(SCHEDULE_S) + int((BUDGET_S - sum(SCHEDULE_S)) // SCHEDULE_S[-1])
JITTER_RATIO = 0.2  # a wait is lengthened by up to this much, so that receivers are not met in step
MAX_WAIT_S = SCHEDULE_S[-1] * (1 + JITTER_RATIO)  # Retry-After is capped at the same hour
KEEP_DELIVERED_S = 7 * 86400.0
KEEP_FAILED_S = 90 * 86400.0

PUMP_S = 15.0  # a receiver that is slow but answers must not keep the others waiting for longer
_PARALLEL = 4  # incidents told to one receiver at the same time
_BATCH = 200  # incidents looked at in one pump, per receiver
_MAX_UNSAVED = 10_000
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,120}")

Counted = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Pumped:
    """What one ``pump`` did, in messages."""

    delivered: int = 0
    retried: int = 0
    failed: int = 0


def wait_s(message_id: str, attempts: int, retry_after_s: float | None = None) -> float:
    """Return how long to wait after the given number of failed tries.

    The jitter follows from the id, so the same message waits the same in every process. A pause
    that the receiver asks for lengthens a wait and never shortens it.
    """
    step_s = SCHEDULE_S[min(attempts, len(SCHEDULE_S)) - 1]
    digest = hashlib.sha256(f"{message_id}/{attempts}".encode()).digest()
    jitter = 1 + JITTER_RATIO * digest[0] / 255
    return min(max(step_s, retry_after_s or 0.0) * jitter, MAX_WAIT_S)


class Outbox:
    """The queue between what happened and who wants to know.

    counted: called with the receiver and the delivery's status after every try
    """

    def __init__(
        self,
        database: Database,
        receivers: Sequence[Notifier],
        *,
        clock: Clock,
        counted: Counted = lambda receiver, status: None,
    ) -> None:
        self._database = database
        self._receivers = {receiver.name: receiver for receiver in receivers}
        self._clock = clock
        self._counted = counted
        # In this process a wait is measured on the clock that never steps; after a restart only
        # the stored time of day is left, see _is_due.
        self._due: dict[int, float] = {}
        self._unsaved: list[NewMessage] = []
        self._unnoted: list[Note] = []
        self._saving = asyncio.Lock()
        self._pumping = asyncio.Lock()

    async def enqueue(self, notification: Notification) -> int:
        """Render and store a message for every receiver that wants it; returns how many.

        The same notification again changes nothing. While the store cannot be written StoreError
        says so, and the messages stay in memory until the next ``enqueue`` or ``pump`` saves them.
        """
        new = [
            message
            for receiver in self._receivers.values()
            if (message := self._render(receiver, notification)) is not None
        ]
        if len(self._unsaved) + len(new) > _MAX_UNSAVED:
            raise StoreError(
                f"Queueing message {notification.id}: {len(self._unsaved)} messages wait in memory "
                "because the store cannot be written, and no more fit. Make room for the store."
            )
        self._unsaved += new
        await self._save()
        return len(new)

    async def pump(self) -> Pumped:
        """Deliver what is due, each receiver by itself; a second call meanwhile does nothing.

        A receiver that asks for patience is left alone for the rest of the call, so that a call
        lasts little longer than one delivery may. StoreError where the store cannot be used: what
        was delivered but could not be noted is sent again.
        """
        if self._pumping.locked():
            return Pumped()
        async with self._pumping:
            await self._save()
            disabled = await self._disabled()
            until_s = self._clock.monotonic_s() + PUMP_S
            results = await _all(
                self._pump_receiver(receiver, until_s=until_s)
                for name, receiver in self._receivers.items()
                if name not in disabled
            )
        done = [status for result in results for status in result]
        return Pumped(
            delivered=done.count(DeliveryStatus.DELIVERED),
            retried=done.count(DeliveryStatus.RETRY),
            failed=done.count(DeliveryStatus.GONE) + done.count(DeliveryStatus.GIVE_UP),
        )

    async def pending_count(self) -> int:
        """Return how many messages wait, those in memory included."""
        return len(self._unsaved) + await self._database.run(rows.count_pending)

    async def pending(self) -> tuple[Message, ...]:
        """Return the messages that wait, oldest first."""
        return await self._database.run(lambda db: rows.in_state(db, rows.PENDING))

    async def failed(self) -> tuple[Message, ...]:
        """Return the messages that were given up, oldest first, each with its receiver's answer."""
        return await self._database.run(lambda db: rows.in_state(db, rows.FAILED, rows.GONE))

    async def disabled(self) -> tuple[str, ...]:
        """Return the receivers that answered "gone" and are not tried until a redelivery."""
        return tuple(sorted(await self._database.run(rows.disabled)))

    async def redeliver(self, message: int | None = None) -> int:
        """Queue a message that was given up again, or all of them; returns how many.

        InputError where there is none of that number. A receiver that was disabled is tried again.
        """
        count = await self._database.run(
            lambda db: rows.redeliver(db, message, now_s=self._clock.now_s())
        )
        if message is not None and count == 0:
            raise InputError(
                f"redelivering message {message}: there is no message of that number that was "
                "given up; `gpumedic notify failed` lists them"
            )
        return count

    async def prune(self) -> int:
        """Forget messages delivered a week or given up a quarter of a year ago; returns how many.

        What has waited a day for a receiver that is not configured any more is given up.
        """
        now_s = self._clock.now_s()

        def forget(db: sqlite3.Connection) -> int:
            unknown = rows.waited_for(db) - self._receivers.keys()
            rows.give_up(db, unknown, now_s - BUDGET_S, why=_NOT_CONFIGURED)
            delivered = rows.prune(db, rows.DELIVERED, now_s - KEEP_DELIVERED_S)
            return delivered + rows.prune(db, rows.FAILED, now_s - KEEP_FAILED_S)

        return await self._database.run(forget)

    def _render(self, receiver: Notifier, notification: Notification) -> NewMessage | None:
        """Render for one receiver; one that breaks on it gets a failed message, the others theirs.

        Notifiers are plug-ins too: whatever one raises must not keep a message from the others.
        """
        state, text = rows.PENDING, ""
        try:
            body = receiver.render(notification)
        except Exception as error:
            log.exception("message not rendered", receiver=receiver.name, message=notification.id)
            body, state, text = b"", rows.FAILED, f"rendering for {receiver.name}: {error!r}"
        if body is None:
            return None
        return NewMessage(
            message_id=_header_safe(notification.id),
            receiver=receiver.name,
            sequence_key=notification.incident.id if notification.incident else "system",
            announcement=notification.announcement.value,
            body=body,
            state=state,
            created_s=self._clock.now_s(),
            last_text=text,
        )

    async def _save(self) -> None:
        """Write what is still in memory only; whatever cannot be written stays there."""
        async with self._saving:
            new, notes = tuple(self._unsaved), tuple(self._unnoted)
            if not new and not notes:
                return

            def write(db: sqlite3.Connection) -> None:
                rows.insert(db, new)
                rows.note(db, notes)

            await self._database.run(write)
            del self._unsaved[: len(new)], self._unnoted[: len(notes)]

    async def _disabled(self) -> frozenset[str]:
        """Return the disabled receivers, and give up what has waited a day for one."""
        before_s = self._clock.now_s() - BUDGET_S

        def give_up(db: sqlite3.Connection) -> frozenset[str]:
            found = rows.disabled(db)
            rows.give_up(db, found, before_s, why=_DISABLED)
            return found

        return await self._database.run(give_up)

    async def _pump_receiver(self, receiver: Notifier, *, until_s: float) -> list[DeliveryStatus]:
        """Tell what is due, several incidents at a time, until one of them asks for patience."""
        heads = await self._database.run(lambda db: rows.heads(db, receiver.name, limit=_BATCH))
        free, results = asyncio.Semaphore(_PARALLEL), list[DeliveryStatus]()

        def go_on() -> bool:
            asked_to_wait = not _TO_WAIT.isdisjoint(results)
            return not asked_to_wait and self._clock.monotonic_s() < until_s

        async def tell(head: Message) -> None:
            message: Message | None = head
            async with free:
                while message is not None and go_on():
                    results.append(await self._try(receiver, message))
                    message = await self._following(message)

        await _all(tell(head) for head in heads if self._is_due(head))
        return results

    async def _following(self, message: Message) -> Message | None:
        found = await self._database.run(lambda db: rows.following(db, message))
        return found if found and self._is_due(found) else None

    def _is_due(self, message: Message) -> bool:
        """Say whether a message's wait is over.

        Known only by the time of day after a restart: a deadline farther ahead than any wait can
        be means that the clock was set back, and the message is due.
        """
        if message.attempts == 0:
            return True
        if (due_s := self._due.get(message.number)) is not None:
            return self._clock.monotonic_s() >= due_s
        return not 0 < message.next_try_s - self._clock.now_s() <= MAX_WAIT_S

    async def _try(self, receiver: Notifier, message: Message) -> DeliveryStatus:
        delivery = await _deliver(receiver, message)
        self._counted(receiver.name, delivery.status)
        note = self._what_came(message, delivery)
        log.info(
            "message tried",
            receiver=receiver.name,
            message=message.message_id,
            status=delivery.status.value,
            attempts=note.attempts,
            answer=delivery.text,
        )
        self._unnoted.append(note)
        await self._save()
        return delivery.status

    def _what_came(self, message: Message, delivery: Delivery) -> Note:
        attempts, text, pause_s = message.attempts + 1, delivery.text, 0.0
        state = _STATES[delivery.status]
        self._due.pop(message.number, None)
        if delivery.status is DeliveryStatus.RETRY and attempts >= MAX_TRIES:
            state, text = rows.FAILED, f"given up after {attempts} tries in a day; {text}"
        elif delivery.status is DeliveryStatus.RETRY:
            pause_s = wait_s(message.message_id, attempts, delivery.retry_after_s)
            self._due[message.number] = self._clock.monotonic_s() + pause_s
        next_try_s = self._clock.now_s() + pause_s
        return Note(message.number, state, attempts, next_try_s, text)


_DISABLED = "the receiver is disabled: it answered 410"
_NOT_CONFIGURED = "there is no [[webhooks]] of this name any more"
_TO_WAIT = frozenset({DeliveryStatus.RETRY, DeliveryStatus.GONE})
_STATES = {
    DeliveryStatus.DELIVERED: rows.DELIVERED,
    DeliveryStatus.RETRY: rows.PENDING,
    DeliveryStatus.GONE: rows.GONE,
    DeliveryStatus.GIVE_UP: rows.FAILED,
}


async def _deliver(receiver: Notifier, message: Message) -> Delivery:
    """Ask the receiver's notifier, a plug-in perhaps: whatever it raises is one failed try."""
    try:
        return await receiver.deliver(message.message_id, message.body)
    except Exception as error:
        log.exception("notifier broke", receiver=receiver.name, message=message.message_id)
        return Delivery(DeliveryStatus.RETRY, f"delivering to {receiver.name}: {error!r}")


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Wait for all to end, then raise the first error if there was one."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _header_safe(message_id: str) -> str:
    """Return the id if it fits the signed text, in which full stops divide; else one made of it."""
    if _SAFE_ID.fullmatch(message_id):
        return message_id
    return "msg_" + hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()[:32]
