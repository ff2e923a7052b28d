"""Ranks that become slow: they are stopped for a while in each of their steps."""

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event

# What is usual is known after so many steps, also where a busy machine makes them uneven.
USUAL_STEPS = 300
LOOK_S, LOOKS = 0.005, 1000


def hold_back(
    ranks: Callable[[], Mapping[int, Callable[[], int | None]]], hold_s: float, over: Event
) -> None:
    """Stop ranks for so long in each step, until it is over.

    ranks: what says of each process the step that it has begun, None where it has begun none; they
        are looked for anew after LOOKS looks
    """
    done: dict[int, int] = {}
    while not over.is_set():
        found = ranks()
        for _ in range(LOOKS):
            for pid, begun in found.items():
                step = begun()
                if step is not None and done.get(pid) != step:
                    done[pid] = step
                    _hold(pid, hold_s, over)
            if over.wait(LOOK_S):
                return


def _hold(pid: int, hold_s: float, over: Event) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        over.wait(hold_s)
        os.kill(pid, signal.SIGCONT)
