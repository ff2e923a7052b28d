"""The history gives back what was put in, whatever the order, the clock and the disk do."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.history import FIRST_PIECE, History, backfill
from core.ports import Collected, Problem, Query
from core.target import Target
from core.types import Floats, Window

STEP_S = 15.0
SPAN_S = 15.0 * 40
NOW_S = 1_700_000_010.0  # a grid point
METRIC = "gpu_temperature_celsius"
NODES = tuple(Target(node=f"n{i}") for i in range(5))


def window(
    first: int, value: Floats, *, metric: str = METRIC, targets: tuple[Target, ...] = NODES
) -> Window:
    """Return readings from grid point NOW + first steps on."""
    time_s = NOW_S + STEP_S * np.arange(first, first + value.shape[1])
    return Window(metric, targets[: len(value)], time_s, value)


def ramp(count: int, *, rows: int = 2) -> Floats:
    """Return (rows, count) values that all differ, exact in 32 bits."""
    return np.arange(rows * count, dtype=float).reshape(rows, count) / 8


def everything(history: History, metric: str = METRIC) -> Window:
    return history.window(metric, start_s=NOW_S - SPAN_S, end_s=NOW_S)


@pytest.fixture(params=["memory", "disk"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[History]:
    path = tmp_path / "history" if request.param == "disk" else None
    made = History(path, step_s=STEP_S, span_s=SPAN_S)
    yield made
    made.close()


def test_what_was_merged_is_given_back(history: History) -> None:
    value = ramp(10)
    value[1, 3] = np.nan

    problems = history.merge(window(-9, value), now_s=NOW_S)

    given_back = history.window(METRIC, start_s=NOW_S - 9 * STEP_S, end_s=NOW_S)
    assert problems == ()
    assert given_back.targets == NODES[:2]
    assert given_back.value.dtype == np.float64
    np.testing.assert_array_equal(given_back.value, value)
    assert history.newest_s(METRIC) == NOW_S
    assert history.metrics() == (METRIC,)


def test_between_two_readings_there_is_none(history: History) -> None:
    history.merge(window(0, ramp(1)), now_s=NOW_S)

    for asked in (None, (NODES[1],)):
        found = history.window(METRIC, start_s=NOW_S + 1, end_s=NOW_S + 2, targets=asked)

        assert found.value.shape == (len(found.targets), 0)


def test_what_is_not_known_is_a_row_of_nothing(history: History) -> None:
    history.merge(window(0, ramp(1)), now_s=NOW_S)

    asked = (NODES[4], NODES[1])
    given_back = history.window(METRIC, start_s=NOW_S, end_s=NOW_S, targets=asked)
    other = history.window("node_up", start_s=NOW_S, end_s=NOW_S, targets=asked)

    assert given_back.targets == asked
    np.testing.assert_array_equal(given_back.value, [[np.nan], [1 / 8]])
    assert np.isnan(other.value).all()
    assert math.isnan(history.newest_s("node_up"))


def test_a_window_without_readings_leaves_no_trace(history: History) -> None:
    history.merge(window(-3, np.full((2, 4), np.nan)), now_s=NOW_S)

    assert history.metrics() == ()
    assert history.gaps(NOW_S, NOW_S) == ((NOW_S, NOW_S),)


def test_a_missing_reading_never_hides_one_that_was_there(history: History) -> None:
    history.merge(window(0, np.array([[1.0], [np.nan]])), now_s=NOW_S)
    history.merge(window(0, np.array([[np.nan], [2.0]])), now_s=NOW_S)

    np.testing.assert_array_equal(everything(history).value[:, -1], [1.0, 2.0])


def test_thousands_of_series_come_and_keep_their_values(history: History) -> None:
    many = tuple(Target(node=f"n{i}") for i in range(1500))
    for count in (3, 300, 1500):
        value = np.arange(count, dtype=float)[:, None]
        history.merge(window(0, value, targets=many), now_s=NOW_S)

    now = history.window(METRIC, start_s=NOW_S, end_s=NOW_S)

    assert now.targets == many
    np.testing.assert_array_equal(now.value[:, 0], np.arange(1500))
    assert history.stats().series == 1500


def test_a_large_counter_keeps_every_count(history: History) -> None:
    """At 1e15 bytes a 32-bit float moves in steps of 67 million."""
    value = np.array([[1e15, 1e15 + 1, 1e15 + 2]])

    history.merge(window(-2, value, metric="port_receive_bytes_total"), now_s=NOW_S)

    kept = everything(history, "port_receive_bytes_total").value
    assert kept[~np.isnan(kept)].tolist() == value[0].tolist()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e300])
def test_what_no_float_can_hold_is_missing(history: History, bad: float) -> None:
    history.merge(window(0, np.array([[bad], [1.0]])), now_s=NOW_S)

    np.testing.assert_array_equal(
        history.window(METRIC, start_s=NOW_S, end_s=NOW_S, targets=NODES[:2]).value,
        [[np.nan], [1.0]],
    )


def test_the_ring_keeps_its_span_and_no_more(history: History) -> None:
    for first in range(0, 200, 7):
        history.merge(window(first, ramp(7) + first), now_s=NOW_S + (first + 6) * STEP_S)

    kept = history.window(METRIC, start_s=NOW_S, end_s=NOW_S + 1e6)
    end_s = NOW_S + 202 * STEP_S
    last = history.window(METRIC, start_s=end_s - SPAN_S, end_s=end_s)

    assert np.isnan(kept.value).all()
    assert not np.isnan(last.value).any()
    assert last.value.shape == (2, 41)


def test_readings_older_than_the_ring_change_nothing(history: History) -> None:
    history.merge(window(-5, ramp(6)), now_s=NOW_S)
    before = everything(history)

    assert history.merge(window(-90, ramp(20) + 1000), now_s=NOW_S) == ()

    np.testing.assert_array_equal(everything(history).value, before.value)


def test_readings_far_ahead_of_now_are_refused_and_said(history: History) -> None:
    """A node whose clock runs in next year must not push this year out of the ring."""
    history.merge(window(-5, ramp(6)), now_s=NOW_S)

    problems = history.merge(window(10_000, ramp(3)), now_s=NOW_S)

    assert [problem.code for problem in problems] == ["ahead_of_now"]
    assert "150030 s" in problems[0].text
    assert np.count_nonzero(~np.isnan(everything(history).value)) == 12


def test_a_few_minutes_ahead_are_let_pass(history: History) -> None:
    assert history.merge(window(20, ramp(1)), now_s=NOW_S) == ()
    assert len(history.merge(window(23, ramp(1)), now_s=NOW_S)) == 1


def test_a_clock_that_steps_back_wipes_nothing(history: History) -> None:
    """Half a span back, and forth again: all that was read before is still there."""
    history.merge(window(-39, ramp(40)), now_s=NOW_S)
    back_s = NOW_S - 20 * STEP_S

    history.merge(window(-20, np.array([[7.0], [8.0]])), now_s=back_s)
    history.merge(window(1, np.array([[9.0], [9.0]])), now_s=NOW_S + STEP_S)

    kept = history.window(METRIC, start_s=NOW_S - 39 * STEP_S, end_s=NOW_S + STEP_S)
    wanted = np.hstack([ramp(40), [[9.0], [9.0]]])
    wanted[:, 19] = 7.0, 8.0
    np.testing.assert_array_equal(kept.value, wanted)


def test_a_year_in_the_future_is_lived_down(history: History) -> None:
    """A clock that was a year ahead for a while, and believed, must not block the ring for good."""
    history.merge(window(-5, ramp(6)), now_s=NOW_S)
    year = 2_102_400
    history.merge(window(year, ramp(3)), now_s=NOW_S + year * STEP_S)

    history.merge(window(1, ramp(41)), now_s=NOW_S + 41 * STEP_S)

    kept = history.window(METRIC, start_s=NOW_S + STEP_S, end_s=NOW_S + 41 * STEP_S)
    np.testing.assert_array_equal(kept.value, ramp(41))


def test_series_unseen_for_a_span_are_dropped(history: History) -> None:
    history.merge(window(0, ramp(1, rows=5)), now_s=NOW_S)
    for step in range(1, 60):
        history.merge(window(step, ramp(1, rows=1)), now_s=NOW_S + step * STEP_S)

    assert history.targets(METRIC) == NODES[:1]


def test_a_row_given_to_another_series_shows_nothing_of_the_first(history: History) -> None:
    history.merge(window(0, ramp(1, rows=5)), now_s=NOW_S)
    for step in range(1, 60):
        history.merge(window(step, ramp(1, rows=1) + 5), now_s=NOW_S + step * STEP_S)
    new = (Target(node="new"),)

    history.merge(window(59, ramp(1, rows=1), targets=new), now_s=NOW_S + 59 * STEP_S)

    start_s = NOW_S + 19 * STEP_S
    kept = history.window(METRIC, start_s=start_s, end_s=NOW_S + 59 * STEP_S, targets=new)
    assert np.count_nonzero(~np.isnan(kept.value)) == 1


def test_gaps_are_the_spans_without_a_reading(history: History) -> None:
    history.merge(window(-30, ramp(5)), now_s=NOW_S)
    history.merge(window(-10, ramp(8), metric="node_up"), now_s=NOW_S)

    def at(*steps: int) -> tuple[float, ...]:
        return tuple(NOW_S + step * STEP_S for step in steps)

    start_s, end_s = at(-35, 0)
    assert history.gaps(start_s, end_s) == (at(-35, -31), at(-25, -11), at(-2, 0))
    assert history.gaps(start_s, end_s, metrics=[METRIC]) == (at(-35, -31), at(-25, 0))
    assert history.gaps(*at(-30, -26)) == ()
    assert history.gaps(end_s, start_s) == ()


def test_a_series_learns_until_it_reaches_back_far_enough(history: History) -> None:
    history.merge(window(-9, ramp(10)), now_s=NOW_S)
    history.merge(window(-1, ramp(2), targets=NODES[2:]), now_s=NOW_S)

    assert history.stats(needed_s=9 * STEP_S).series == 4
    assert history.stats(needed_s=9 * STEP_S).learning == 2
    assert history.stats(needed_s=10 * STEP_S).learning == 4


cells = st.integers(0, 59)
chunks = st.lists(
    st.tuples(cells, st.integers(1, 12), st.lists(st.booleans(), min_size=5, max_size=5)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(chunks, st.randoms(use_true_random=False), st.integers(30, 90))
def test_any_order_of_merges_gives_the_same_history(
    pieces: list[tuple[int, int, list[bool]]], shuffle: st.DataObject, now: int
) -> None:
    """Windows of one truth, overlapping and with holes: order does not show, nothing is made up."""
    truth = np.random.default_rng(1).integers(1, 1000, (5, 72)) / 8
    now_s = NOW_S + now * STEP_S

    def merged(order: list[tuple[int, int, list[bool]]]) -> Floats:
        made = History(None, step_s=STEP_S, span_s=SPAN_S)
        for first, count, seen in order:
            value = np.where(np.array(seen)[:, None], truth[:, first : first + count], np.nan)
            made.merge(window(first, value), now_s=now_s)
        kept = made.window(METRIC, start_s=now_s - SPAN_S, end_s=now_s, targets=NODES)
        return kept.value

    again = list(pieces)
    shuffle.shuffle(again)  # type: ignore[attr-defined]

    first, second = merged(pieces), merged(again)

    np.testing.assert_array_equal(first, second)
    columns = np.arange(now - 40, now + 1)
    there = np.full((5, 41), np.nan)
    inside = (columns >= 0) & (columns < 72)
    there[:, inside] = truth[:, columns[inside]]
    known = ~np.isnan(first)
    np.testing.assert_array_equal(first[known], there[known])


@dataclass(slots=True)
class Scripted:
    """A source that has every metric of ``has`` at every grid point, and keeps what was asked."""

    has: tuple[str, ...]
    name: str = "scripted"
    asked: list[Query] = field(default_factory=list)

    async def read(self, query: Query) -> Collected:
        self.asked.append(query)
        time_s = np.arange(query.start_s, query.end_s + 1, query.step_s)
        windows = tuple(
            Window(metric, NODES[:1], time_s, np.ones((1, len(time_s))))
            for metric in query.metrics
            if metric in self.has
        )
        return Collected(windows, (Problem(self.name, "late", "late"),))


async def test_back_fill_asks_only_for_the_gaps() -> None:
    history = History(None, step_s=STEP_S, span_s=SPAN_S)
    history.merge(window(-40, ramp(20)), now_s=NOW_S)
    history.merge(window(-10, ramp(11)), now_s=NOW_S)
    source = Scripted((METRIC, "node_up"))

    problems = await backfill(history, source, NOW_S, metrics=(METRIC, "node_up"))

    asked = {(q.metrics, (q.start_s - NOW_S) / 15, (q.end_s - NOW_S) / 15) for q in source.asked}
    assert asked == {((METRIC,), -20, -11), (("node_up",), -40, 0)}
    assert {problem.code for problem in problems} == {"late"}
    assert history.gaps(NOW_S - SPAN_S, NOW_S, metrics=[METRIC]) == ()


async def test_a_full_history_asks_for_nothing() -> None:
    history = History(None, step_s=STEP_S, span_s=SPAN_S)
    history.merge(window(-40, ramp(41)), now_s=NOW_S)
    source = Scripted((METRIC,))

    await backfill(history, source, NOW_S, metrics=(METRIC,))

    assert source.asked == []


async def test_back_fill_asks_piece_by_piece_the_newest_first() -> None:
    """A day of a large cluster must never be in memory at once; the first piece counts series."""
    history = History(None, step_s=STEP_S, span_s=SPAN_S)
    source = Scripted((METRIC,))

    await backfill(history, source, NOW_S, metrics=(METRIC,))

    asked = [((q.start_s - NOW_S) / 15, (q.end_s - NOW_S) / 15) for q in source.asked]
    assert asked == [(-FIRST_PIECE + 1, 0), (-40, -FIRST_PIECE)]
    assert history.gaps(NOW_S - SPAN_S, NOW_S) == ()
