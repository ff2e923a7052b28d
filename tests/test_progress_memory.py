"""What is kept of each series is bounded, survives a change of targets, and follows the clock."""

import numpy as np
import pytest

from detectors.progress.memory import KEEP_S, SEEN, SETBACK_S, Memory

FIELDS = {"level": ((), 0.0), "ring": ((3,), np.nan)}
T_S = 1_700_000_000.0


def seen(memory: Memory, keys: tuple[str, ...], at_s: float) -> None:
    rows = memory.rows(keys)
    memory.value[SEEN][rows] = at_s


def test_a_series_keeps_its_row_when_others_come_and_go() -> None:
    memory = Memory(FIELDS)
    rows = memory.rows(("a", "b"))
    memory.value["level"][rows] = [1.0, 2.0]

    rows = memory.rows(("c", "b", "a"))

    assert memory.value["level"][rows].tolist() == [0.0, 2.0, 1.0]
    assert memory.value["ring"].shape == (3, 3)


def test_a_reading_is_news_once() -> None:
    memory, time_s = Memory(FIELDS), T_S + 15.0 * np.arange(4.0)
    rows = memory.rows(("a", "b"))
    memory.value[SEEN][rows] = [T_S + 15.0, -np.inf]
    value = np.array([[1.0, 1.0, np.nan, 1.0], [1.0, np.nan, 1.0, 1.0]])

    assert memory.news(rows, time_s, value).astype(int).tolist() == [[0, 0, 0, 1], [1, 0, 1, 1]]


@pytest.mark.parametrize(("back_s", "known"), [(60.0, True), (SETBACK_S + 60.0, False)])
def test_a_clock_put_back_for_long_begins_anew(back_s: float, known: bool) -> None:
    memory, time_s = Memory(FIELDS), T_S - back_s + np.arange(3.0)
    rows = memory.rows(("a",))
    memory.value["level"][rows] = 5.0
    seen(memory, ("a",), T_S)

    news = memory.news(rows, time_s, np.ones((1, 3)))

    assert bool(news.any()) is not known
    assert memory.value["level"][rows].tolist() == [5.0 if known else 0.0]


def test_what_is_unseen_for_long_is_forgotten_and_nothing_else() -> None:
    memory = Memory(FIELDS)
    seen(memory, ("old",), T_S - KEEP_S - 1.0)
    seen(memory, ("recent",), T_S)
    memory.rows(("recent", "silent"))

    memory.forget(T_S)

    assert sorted(memory.names) == ["recent", "silent"]
    memory.rows(("another",))
    memory.forget(T_S)
    assert sorted(memory.names) == ["another", "recent"]


@pytest.mark.parametrize("broken", ["names", "level", "ring"])
def test_a_memory_that_does_not_fit_is_refused(broken: str) -> None:
    memory = Memory(FIELDS)
    seen(memory, ("a", "b"), T_S)
    state = memory.state()
    short = {**state, broken: state[broken][:1]}

    with pytest.raises(ValueError, match="lacks"):
        Memory(FIELDS).restore({name: part for name, part in state.items() if name != broken})
    with pytest.raises(ValueError, match="shape"):
        Memory(FIELDS).restore(short)
