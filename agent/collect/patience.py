"""Calls that may never return, such as into a dead file server or a driver: waited for briefly."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """The call has not returned; it is not made again while that is so."""


class Patience(Generic[T]):
    """Runs named calls, each in a thread of its own, and waits for all of them together."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self._running: dict[str, Future[T]] = {}

    def wait_for(self, calls: Mapping[str, Callable[[], T]]) -> dict[str, T | Exception]:
        """Return each call's result, or the exception it raised, or ``Stuck``.

        The wait is ``deadline_s`` in all. A name whose earlier call still hangs is not called
        again, only looked at: at most one thread a name is ever lost.
        """
        for name, work in calls.items():
            if name not in self._running:
                self._running[name] = _started(work)
        wait([self._running[name] for name in calls], timeout=self.deadline_s)
        return {name: self._taken(name) for name in calls}

    def _taken(self, name: str) -> T | Exception:
        if not self._running[name].done():
            return Stuck(f"no answer within {self.deadline_s:g} s")
        future = self._running.pop(name)
        error = future.exception()
        return error if isinstance(error, Exception) else future.result()


def _started(work: Callable[[], T]) -> Future[T]:
    """Call it in a daemon thread: one that hangs must not keep the process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
