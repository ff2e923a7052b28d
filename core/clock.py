"""Time as a port: the real clock, a scaled one for replay, and one that a test moves by hand."""

import asyncio
import heapq
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits.

    ``now_s`` is seconds since the epoch and may step back when an administrator or NTP sets the
    clock; durations are measured with ``monotonic_s``, which never does.
    """

    def now_s(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds on a clock that only moves forward; the zero point means nothing."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for that long on this clock; a negative duration does not wait."""
        ...


class RealClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        """Return seconds since the epoch, UTC."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return the system's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(max(0.0, seconds))


class ScaledClock:
    """Virtual time, ``speed`` times as fast as the wall: replay and the demo live on it."""

    def __init__(self, *, start_s: float, speed: float) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, got {speed}")
        self.speed = speed
        self._start_s = start_s
        self._origin_s = time.monotonic()

    def now_s(self) -> float:
        """Return virtual seconds since the epoch."""
        return self._start_s + self.monotonic_s()

    def monotonic_s(self) -> float:
        """Return virtual seconds since this clock was made."""
        return (time.monotonic() - self._origin_s) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait until ``seconds`` of virtual time have passed."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)


class ManualClock:
    """A clock that stands still until ``advance``; sleepers wake in order of their deadline."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0

    def now_s(self) -> float:
        """Return the time last set."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Return the seconds advanced so far; stepping the clock back does not change it."""
        return self._monotonic_s

    def step(self, seconds: float) -> None:
        """Set the wall clock by a step, as an administrator would; nobody's sleep is affected."""
        self._now_s += seconds

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, waking each sleeper at its own deadline."""
        end_s = self._monotonic_s + seconds
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, woken = heapq.heappop(self._sleepers)
            self._move(due_s - self._monotonic_s)
            woken.set()
            await _settle()
        self._move(end_s - self._monotonic_s)
        await _settle()

    async def sleep(self, seconds: float) -> None:
        """Wait until ``advance`` has passed the deadline."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic_s + seconds, self._count, woken))
        await woken.wait()

    def _move(self, seconds: float) -> None:
        self._monotonic_s += seconds
        self._now_s += seconds


async def _settle(rounds: int = 20) -> None:
    """Give woken tasks turns of the loop to run to their next wait."""
    for _ in range(rounds):
        await asyncio.sleep(0)
