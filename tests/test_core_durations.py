"""Durations read like speech: the largest unit that fits, and the next where there is any of it."""

import pytest

from core.durations import lasting


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (-0.4, "0 s"),
        (45, "45 s"),
        (59.6, "1 min"),
        (220, "3 min 40 s"),
        (3605, "1 h"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
        (-90, "-1 min 30 s"),
    ],
)
def test_a_duration_reads_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert lasting(seconds) == text
