"""Durations and sizes carry their unit, or they are refused with what would work."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.quantities import (
    at_least,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15s", 15.0),
        ("250ms", 0.25),
        ("10m", 600.0),
        ("4h", 14400.0),
        ("1h30m", 5400.0),
        ("2d", 172800.0),
        ("1w", 604800.0),
        ("1.5h", 5400.0),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        15,
        15.0,
        True,
        None,
        "",
        "15",
        "s",
        "-15s",
        "15 s",
        "15S",
        "15sec",
        "1e3s",
        "٣s",
        "15s\n",
        "5MB",
    ],
)
def test_what_has_no_unit_of_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='such as "15s" or "1h30m"'):
        parse_duration(value)


@pytest.mark.parametrize("text", ["30m1h", "1s1s", "1s1ms1m"])
def test_units_out_of_order_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="largest first"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2**31), ("5MB", 5_000_000), ("1 KiB", 1024), ("1.5kB", 1500), ("0B", 0)],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value", [5, "5", "5G", "5gib", "-1B", "5  MB", "15s", None, "1e3B", "5MiB5KiB"]
)
def test_what_has_no_unit_of_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='such as "2GiB"'):
        parse_size(value)


@pytest.mark.parametrize("text", ["9" * 400 + "d", "1w" + "9" * 20 + "h", "101w99999d"])
def test_a_duration_beyond_a_century_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than 100 years"):
        parse_duration(text)


def test_a_size_beyond_an_exbibyte_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than 1 EiB"):
        parse_size("9" * 400 + "GB")


@given(st.integers(0, 10**11))
def test_a_duration_written_reads_back_to_the_millisecond(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.integers(0, 2**60))
def test_a_size_written_reads_back_the_same(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=1e-12)


@given(st.integers(0, 2**50))
def test_a_size_of_this_world_reads_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text())
def test_any_text_is_a_quantity_or_refused_in_words(text: str) -> None:
    for parse in (parse_duration, parse_size):
        assert in_words(parse, text)


def in_words(parse: Callable[[object], float], text: str) -> bool:
    """Say whether the text is read as a quantity, or refused with what to write."""
    try:
        return parse(text) >= 0
    except ValueError as refused:
        return "write" in str(refused)


@pytest.mark.parametrize(("least", "enough", "short"), [("1s", 1.0, 0.99), ("1KiB", 1024, 1023)])
def test_a_quantity_below_its_least_says_the_least(least: str, enough: float, short: float) -> None:
    check = at_least(least)

    assert check(enough) == enough
    with pytest.raises(ValueError, match=f'write at least "{least}"'):
        check(short)
