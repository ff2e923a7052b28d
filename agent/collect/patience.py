"""Calls that may never return, such as into a dead file server or a driver: waited for briefly."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")

# A call that takes longer has the next one begun beside it. Those that answer at once share one
# thread: eight threads that ask a driver's GPUs wait for the interpreter's lock at each call, which
# costs twice the work itself.
TURN_S = 0.02


class Stuck(Exception):
    """The call has not returned; it is not made again while that is so."""


class Patience(Generic[T]):
    """Runs named calls one after another, in threads that none can hold up, and waits for all.

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

        The wait is ``deadline_s`` and a turn for each call that takes longer than one; twice that
        where a call that hung has just come back. A name whose earlier call still hangs is not
        called again, only looked at: at most one thread a name is ever lost. One that came back is
        made anew, for its answer is of long ago.
        """
        late = [name for name in calls if name in self._running]
        self._start({name: work for name, work in calls.items() if name not in late})
        self._wait(calls)
        back = {name: calls[name] for name in late if self._running[name].done()}
        self._start(back)
        self._wait(back)
        return {name: self._taken(name) for name in calls}

    def _start(self, calls: Mapping[str, Callable[[], T]]) -> None:
        """Begin every call in its turn: when the one before has ended, or has taken too long."""
        waiting: deque[tuple[Future[T], Callable[[], T]]] = deque()
        for name, work in calls.items():
            self._running[name] = _promised()
            waiting.append((self._running[name], work))
        while waiting:
            wait([begun(partial(_make, waiting))], timeout=TURN_S)

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
    future: Future[T] = _promised()
    threading.Thread(target=_keep, args=(future, work), daemon=True).start()
    return future


def _make(waiting: deque[tuple[Future[T], Callable[[], T]]]) -> None:
    """Make one call after another, for as long as there are any that nobody has begun."""
    while True:
        try:
            future, work = waiting.popleft()
        except IndexError:
            return
        _keep(future, work)


def _promised() -> Future[T]:
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # whoever waits may give up, the call cannot
    return future


def _keep(future: Future[T], work: Callable[[], T]) -> None:
    """Make a call and hand what comes of it to whoever waits."""
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)
