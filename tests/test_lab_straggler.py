"""A rank that the lab makes slow is stopped in each of its steps, and let go at the end."""

import os
import subprocess
from threading import Event, Thread

from agent.lab.straggler import hold_back

HOLD_S = 0.25


class Noting(Event):
    """Notes how long is waited for the end, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return self.is_set()


def test_a_rank_is_held_once_in_each_step() -> None:
    over, steps = Noting(), [None, 7, 7, 8, None, 8]

    def begun() -> int | None:
        if not steps:
            over.set()
            return None
        return steps.pop(0)

    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as rank:
        hold_back(lambda: {rank.pid: begun}, HOLD_S, over)

    assert over.waited.count(HOLD_S) == 2


def test_a_rank_that_is_held_goes_on_at_the_end() -> None:
    over = Event()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as rank:
        holding = Thread(target=hold_back, args=(lambda: {rank.pid: lambda: 1}, 600.0, over))
        holding.start()
        _, stopped = os.waitpid(rank.pid, os.WUNTRACED)
        over.set()
        holding.join()
        _, went_on = os.waitpid(rank.pid, os.WCONTINUED)

    assert os.WIFSTOPPED(stopped)
    assert os.WIFCONTINUED(went_on)


def test_a_rank_that_has_ended_is_passed_over() -> None:
    over = Noting()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as rank:
        pass

    def begun() -> int:
        if over.waited:
            over.set()
        return len(over.waited)

    hold_back(lambda: {rank.pid: begun}, HOLD_S, over)

    assert over.is_set()
