"""Steps and checkpoints in the engine's closed form are what counting second by second gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.engine.progress import (
    Row,
    best_at,
    captured_at,
    checkpoint_at,
    stalled_at,
    step_at,
    when_step,
)
from sim.engine.rows_jobs import JOB


def job_row(
    *, interval: float, stall: float = 0.0, save: float = 0.0, into: float = 0.0, step: float = 0.0
) -> Row:
    row = np.zeros(1, dtype=JOB)[0]
    row["interval_s"], row["stall_s"], row["save_s"] = interval, stall, save
    row["cycle_s"] = -into
    row["step"], row["best_step"], row["step_s"] = step, step, 2.0
    row["saved_s"] = row["captured_s"] = -math.inf
    return row


@settings(max_examples=60, deadline=None)
@given(
    interval=st.integers(60, 300),
    stall=st.integers(0, 20),
    save=st.integers(0, 59),
    into=st.integers(0, 500),
    end=st.integers(1, 3000),
)
def test_closed_form_is_what_second_by_second_counting_gives(
    interval: int, stall: int, save: int, into: int, end: int
) -> None:
    row = job_row(interval=interval, stall=stall, save=save, into=into, step=5.0)

    steps, taken = 5.0, [(-math.inf, 0.0)]
    for second in range(end):
        phase = (second + into) % (interval + stall)
        steps += 0.5 if phase < interval else 0.0
        if (second + 1 + into) % (interval + stall) == 0:
            taken.append((second + 1.0, steps))
    valid = [(at_s, step) for at_s, step in taken if at_s + save <= end]

    assert step_at(row, 0.0, end) == pytest.approx(steps)
    assert checkpoint_at(row, 0.0, end) == pytest.approx(valid[-1])
    assert captured_at(row, 0.0, end) == pytest.approx(taken[-1])
    assert best_at(row, 0.0, end) >= steps - 1e-9
    assert stalled_at(row, end) == ((end + into) % (interval + stall) >= interval)


@settings(max_examples=100, deadline=None)
@given(
    interval=st.integers(60, 300),
    stall=st.integers(0, 20),
    into=st.integers(0, 500),
    more=st.floats(0.01, 2000),
)
def test_a_step_is_done_when_it_is_first_reached(
    interval: int, stall: int, into: int, more: float
) -> None:
    row = job_row(interval=interval, stall=stall, into=into, step=3.0)

    at_s = when_step(row, 0.0, 3.0 + more)

    assert step_at(row, 0.0, at_s) == pytest.approx(3.0 + more)
    assert step_at(row, 0.0, at_s - 0.01) < 3.0 + more


def test_a_job_without_checkpoints_works_on_and_saves_nothing() -> None:
    row = job_row(interval=math.inf, save=5.0)

    assert step_at(row, 0.0, 5000.0) == 2500.0
    assert when_step(row, 0.0, 2500.0) == 5000.0
    assert captured_at(row, 0.0, 5000.0)[0] == checkpoint_at(row, 0.0, 5000.0)[0] == -math.inf
    assert not stalled_at(row, 5000.0)


def test_a_hung_job_neither_steps_nor_checkpoints() -> None:
    row = job_row(interval=100.0, stall=3.0, save=10.0, step=7.0)
    row["step_s"] = math.inf

    for time_s in (0.0, 103.0, 5000.0):
        assert step_at(row, 0.0, time_s) == 7.0
        assert checkpoint_at(row, 0.0, time_s)[0] == -math.inf
        assert not stalled_at(row, time_s)
    assert when_step(row, 0.0, 8.0) == math.inf
    assert when_step(row, 0.0, 7.0) == 0.0


def test_an_endless_job_is_never_done() -> None:
    assert when_step(job_row(interval=100.0), 0.0, math.inf) == math.inf
