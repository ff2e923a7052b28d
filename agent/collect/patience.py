"""Calls that may never return, such as into a dead file server or a driver: waited for briefly."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """The call has not returned; it is not made again while that is so."""


class Patience(Generic[T]):
    """Runs named calls, each in a thread of its own, and waits for all of them together.

    own_s: deadlines of calls that have one of their own, by name; it may change between waits
    """

    def __init__(self, deadline_s: float, own_s: Mapping[str, float] | None = None) -> None:
        self.deadline_s = deadline_s
        self.own_s = own_s or {}
        self._running: dict[str, Future[T]] = {}

    def _limit_s(self, name: str) -> float:
        return self.own_s.get(name, self.deadline_s)

    def wait_for(self, calls: Mapping[str, Callable[[], T]]) -> dict[str, T | Exception]:
        """Return each call's result, or the exception it raised, or ``Stuck``.

        The wait is ``deadline_s``, twice that where a call that hung has just come back. A name
        whose earlier call still hangs is not called again, only looked at: at most one thread a
        name is ever lost. One that came back is made anew, for its answer is of long ago.
        """
        late = [name for name in calls if name in self._running]
        self._start({name: work for name, work in calls.items() if name not in late})
        self._wait(calls)
        back = {name: calls[name] for name in late if self._running[name].done()}
        self._start(back)
        self._wait(back)
        return {name: self._taken(name) for name in calls}

    def _start(self, calls: Mapping[str, Callable[[], T]]) -> None:
        self._running |= {name: begun(work) for name, work in calls.items()}

    def _wait(self, names: Iterable[str]) -> None:
        began_s = time.monotonic()
        for name in sorted(names, key=self._limit_s):
            left_s = began_s + self._limit_s(name) - time.monotonic()
            wait([self._running[name]], timeout=max(0.0, left_s))

    def _taken(self, name: str) -> T | Exception:
        if not self._running[name].done():
            return Stuck(f"no answer within {self._limit_s(name):g} s")
        future = self._running.pop(name)
        error = future.exception()
        return error if isinstance(error, Exception) else future.result()


def begun(work: Callable[[], T]) -> Future[T]:
    """Call it in a daemon thread: one that hangs must not keep the process from ending."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # whoever waits may give up, the call cannot

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
