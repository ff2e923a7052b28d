"""Steps and checkpoints in closed form are what counting second by second gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.draws import Purpose, generator, normal, uniform
from sim.progress import (
    JOB_ROW,
    best_at,
    captured_at,
    checkpoint_at,
    cycles,
    stalled_at,
    step_at,
)
from sim.scenario import JobSpec
from sim.trail import Rows, Trail


def job_row(*, start_s: float, cycle_s: float, step: float = 0.0, step_s: float = 2.0) -> Rows:
    row = np.zeros(1, dtype=JOB_ROW)
    row["start_s"], row["cycle_s"] = start_s, cycle_s
    row["step"], row["best_step"], row["step_s"] = step, step, step_s
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
    spec = JobSpec(
        "j",
        nodes=1,
        checkpoint_interval_s=interval,
        checkpoint_stall_s=stall,
        checkpoint_save_s=save,
    )
    cycle = cycles((spec,))
    row = job_row(start_s=0.0, cycle_s=-float(into), step=5.0)

    steps, taken = 5.0, [(-math.inf, 0.0)]
    for second in range(end):
        phase = (second + into) % (interval + stall)
        steps += 0.5 if phase < interval else 0.0
        if (second + 1 + into) % (interval + stall) == 0:
            taken.append((second + 1.0, steps))
    valid = [(at_s, step) for at_s, step in taken if at_s + save <= end]

    now = np.array([float(end)])
    saved_s, saved_step = checkpoint_at(row, cycle, now)
    captured_s, captured_step = captured_at(row, cycle, now)
    assert step_at(row, cycle, now)[0] == pytest.approx(steps)
    assert (saved_s[0], saved_step[0]) == pytest.approx(valid[-1])
    assert (captured_s[0], captured_step[0]) == pytest.approx(taken[-1])
    assert best_at(row, cycle, now)[0] >= steps - 1e-9


def test_a_hung_job_neither_steps_nor_checkpoints() -> None:
    cycle = cycles((JobSpec("j", nodes=1, checkpoint_interval_s=100, checkpoint_save_s=10),))
    row = job_row(start_s=0.0, cycle_s=0.0, step=7.0, step_s=math.inf)
    times = np.array([0.0, 103.0, 5000.0])

    assert step_at(row, cycle, times).tolist() == [7.0, 7.0, 7.0]
    assert checkpoint_at(row, cycle, times)[0].tolist() == [-math.inf] * 3
    assert stalled_at(row, cycle, times).tolist() == [0.0, 0.0, 0.0]


def test_a_number_belongs_to_its_address_alone() -> None:
    first = generator(3, entity=5, purpose=Purpose.FAULT, index=2).random(4)
    generator(3, entity=5, purpose=Purpose.FAULT, index=1).random(1000)
    again = generator(3, entity=5, purpose=Purpose.FAULT, index=2).random(4)
    others = [
        generator(4, entity=5, purpose=Purpose.FAULT, index=2).random(4),
        generator(3, entity=6, purpose=Purpose.FAULT, index=2).random(4),
        generator(3, entity=5, purpose=Purpose.REBOOT, index=2).random(4),
        generator(3, entity=5, purpose=Purpose.FAULT, index=3).random(4),
    ]

    assert first.tolist() == again.tolist()
    assert all(not np.isin(first, other).any() for other in others)


def test_noise_is_near_normal_and_uncorrelated() -> None:
    """With 200 x 2,000 numbers a mean beyond 0.01 has a chance of 1 in 10 million."""
    rows, ticks = np.arange(200), np.arange(2000)
    noise = normal(1, purpose=Purpose.READING, stream=1, entity=rows, tick=ticks)
    share = uniform(1, purpose=Purpose.READING, stream=2, entity=rows, tick=ticks)

    assert abs(noise.mean()) < 0.01
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert np.abs(noise).max() < 3.47
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.01
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.01
    assert share.mean() == pytest.approx(0.5, abs=0.005)
    assert np.histogram(share, 10, (0, 1))[0].min() > 0.095 * share.size


def test_a_trail_answers_what_held_when() -> None:
    kind = np.dtype([("entity", np.int32), ("start_s", np.float64), ("name", "U4")])
    trail = Trail(np.array([(0, 100.0, "a0"), (1, 100.0, "b0")], dtype=kind))
    trail.append(np.array([(1, 110.0, "b1")], dtype=kind))
    twin = trail.fork()
    trail.append(np.array([(0, 120.0, "a1"), (1, 120.0, "b2")], dtype=kind))
    trail.append(np.array([(0, 120.0, "a2")], dtype=kind))
    twin.append(np.array([(1, 115.0, "twin")], dtype=kind))

    times = np.array([90.0, 100.0, 110.0, 119.0, 120.0, 1e6])
    both = np.array([1, 0])
    assert trail.at(both, times)["name"].tolist() == [
        ["b0", "b0", "b1", "b1", "b2", "b2"],
        ["a0", "a0", "a0", "a0", "a2", "a2"],
    ]
    assert twin.at(both, times)["name"].tolist() == [
        ["b0", "b0", "b1", "twin", "twin", "twin"],
        ["a0", "a0", "a0", "a0", "a0", "a0"],
    ]
    assert trail.now()["name"].tolist() == ["a2", "b2"]
    assert (len(trail), len(twin)) == (6, 4)
