"""Noise by address: normal, wandering, and the same in any portion and order."""

import numpy as np
import pytest

from core.types import Floats, Ints
from sim.engine import noise
from sim.engine.words import Purpose

TICKS = np.arange(20_000, dtype=np.int64)


def root(entity: int, *, stream: int = 0, purpose: Purpose = Purpose.READING) -> noise.Word:
    """Return an entity's root as compiled code has it; Python would make it an int."""
    return np.uint64(noise.source(7, purpose, stream, entity))


def drawn(entity: int, tick: Ints, *, stream: int = 0) -> Floats:
    out = np.empty((noise.LANES, len(tick)))
    noise.fill(root(entity, stream=stream), tick, 1.0, out)
    return out


def test_the_quantiles_are_normal() -> None:
    assert noise.NORMAL.mean() == pytest.approx(0, abs=1e-8)
    assert noise.NORMAL.std() == pytest.approx(1, abs=1e-8)
    assert (np.abs(noise.NORMAL) < 1.96).mean() == pytest.approx(0.95, abs=1e-3)


def test_lanes_entities_and_ticks_know_nothing_of_each_other() -> None:
    """Correlations of 20,000 numbers: beyond 0.03 is 4 deviations."""
    numbers = np.concatenate(
        [drawn(1, TICKS), drawn(2, TICKS), drawn(1, TICKS, stream=1), drawn(1, TICKS + 1)]
    )
    off = np.corrcoef(numbers) - np.eye(len(numbers))

    assert np.abs(off).max() < 0.03
    assert np.abs(numbers.mean(axis=1)).max() < 0.03
    assert np.abs(numbers.std(axis=1) - 1).max() < 0.02


def test_a_number_depends_on_its_address_only() -> None:
    whole = drawn(5, TICKS[:100])

    np.testing.assert_array_equal(drawn(5, TICKS[40:60]), whole[:, 40:60])
    np.testing.assert_array_equal(drawn(5, TICKS[:100][::-1]), whole[:, ::-1])


def test_the_values_stay_what_they_are() -> None:
    """They are part of every recorded run: a change of the hash is a change of every world."""
    assert int(root(0)) == 16545495023834272828
    assert int(noise.bits(root(0), 1)) == 10470687036094142220


def test_it_wanders_in_straight_lines_from_knot_to_knot() -> None:
    knots = np.array([[0.0, 1.0, -1.0]])
    out = np.empty((1, 4))
    noise.wander(knots, np.array([0, 0, 1, 1]), np.array([0.0, 0.5, 0.0, 0.75]), out)

    assert out[0].tolist() == [0.0, 0.5, 1.0, -0.5]


def test_chances_are_even() -> None:
    of = root(0, purpose=Purpose.DROPOUT)
    luck = np.array([noise.chance(of, tick) for tick in range(10_000)])

    assert luck.min() >= 0
    assert luck.max() < 1
    counts = np.histogram(luck, bins=10, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 28  # chi-squared of 9: 1 in 1,000
