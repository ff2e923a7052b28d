"""A table of many series, CSV or Parquet, is read whole, or refused with what it has instead."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.collect import table as tables
from agent.collect.table import read_series, read_table
from core.errors import InputError

START_S = 1_700_000_000
WIDE = "time,a,b,node\n0,1,0.5,x\n60,2,,x\n120,3,0.7,y\n"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_every_column_of_numbers_is_a_series(tmp_path: Path) -> None:
    table = read_table(written(tmp_path / "t.csv", WIDE))

    assert table.names == ("a", "b")
    assert table.time_s.tolist() == [0, 60, 120]
    np.testing.assert_array_equal(
        table.value, np.array([[1, 2, 3], [0.5, np.nan, 0.7]], np.float32)
    )
    assert table.notes == ("1 column is no numbers and left out: node",)


@pytest.mark.parametrize(
    ("pattern", "names"), [("gpu*", ("gpu0", "gpu10")), ("/gpu[0-9]$/", ("gpu0",)), ("x", ("x",))]
)
def test_columns_are_chosen_by_pattern(tmp_path: Path, pattern: str, names: tuple[str]) -> None:
    path = written(tmp_path / "t.csv", "time,gpu0,gpu10,x\n0,1,2,3\n60,4,5,6\n")

    assert read_table(path, columns=pattern).names == names


@pytest.mark.parametrize("factor", [1, 1_000, 1_000_000, 1_000_000_000])
def test_times_in_parquet_are_read_by_type_or_size(tmp_path: Path, factor: int) -> None:
    epochs = pa.array([factor * (START_S + 60 * step) for step in range(3)])
    units = {1: "s", 1_000: "ms", 1_000_000: "us", 1_000_000_000: "ns"}
    dated = epochs.cast(pa.timestamp(units[factor], "UTC"))
    value = pa.array([1.0, None, 3.0])

    for time in (epochs, dated):
        table = read_table(parquet(tmp_path / "t.parquet", when=time, value=value))
        assert table.time_s.tolist() == [START_S, START_S + 60, START_S + 120]
        np.testing.assert_array_equal(table.value, [[1, np.nan, 3]])


def test_csv_and_parquet_of_the_same_table_are_the_same(tmp_path: Path) -> None:
    iso = ["2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z", "2023-11-14T22:15:20Z"]
    rows = "".join(f"{when};{a};{a / 2:g}\n" for a, when in enumerate(iso)).replace(".", ",")
    csv = read_table(written(tmp_path / "t.csv", f"time;a;b\n{rows}"))
    par = read_table(
        parquet(tmp_path / "t.parquet", time=iso, a=pa.array([0, 1, 2]), b=[0.0, 0.5, 1.0])
    )

    assert csv.names == par.names
    np.testing.assert_array_equal(csv.time_s, par.time_s)
    np.testing.assert_array_equal(csv.value, par.value)


def test_a_reading_a_row_becomes_a_series_a_row(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "series,time,value\nb,60,4\na,0,1\na,60,2\nb,0,3\na,60,9\n")

    table = read_series(path)
    one = read_series(path, columns="b")

    assert sorted(table.names) == ["a", "b"]
    found = dict(zip(table.names, table.value.tolist(), strict=True))
    assert found == {"a": [1, 9], "b": [3, 4]}
    assert "1 rows repeat a time" in table.notes[0]
    assert one.value.tolist() == [[3, 4]]


def test_a_file_of_one_series_is_read_cell_by_cell(tmp_path: Path) -> None:
    untidy = "time,cpu\n0,1\n60,oops\n120,3\n"

    table = read_series(written(tmp_path / "t.csv", untidy))

    assert (table.names, table.value.tolist()) == (("cpu",), [[1, 3]])
    assert "1 rows cannot be read" in table.notes[0]
    assert read_series(written(tmp_path / "n.csv", "0,1\n60,2\n")).value.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("a\0b,c,d\n1,2,3\n", "it is binary, not CSV or Parquet"),
        ("time,a,b\n", "found 0 rows below its header"),
        ("time,a,b\n0,x,y\n", "none that was asked for holds numbers beside the time 'time'"),
        (",a,b\nsoon,1,2\nlater,3,4\n", r"the column \(no name\) holds 'soon'"),
        (WIDE.replace("a,b", "a,a"), "are there more than once, such as 'a'"),
        ("0,1,2\n60,3,4\n", "its first row holds numbers"),
        (
            "time,a,b\n" + "0,1,1\n" * 30 + "60,oops,1\n",
            "the column 'a' mixes numbers and text, such as 'oops'",
        ),
        ("time,a,b\n0,1,2\n60,3\n", "3 columns and a row has 2"),
        ("time,a,b\nsoon,1,2\nlater,3,4\n", "holds 'soon', which is no time"),
        ("time,a,b\n0,1,2\n2023-01-01,3,4\n", "all of one kind"),
        ("node,time_of,b\n" + "0,1,2\n" * 9, "1 distinct times in 9 rows"),
        ("series,time,value\n", "found 0 rows"),
    ],
)
def test_a_table_that_cannot_be_used_says_what_it_has(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_series(written(tmp_path / "t.csv", text))


def test_a_file_that_only_begins_like_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1\x00\x01")

    with pytest.raises(InputError, match="may have been cut short"):
        read_series(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="No such file"):
        read_series(tmp_path / "none.parquet")


def test_a_bad_expression_and_an_unknown_column_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", WIDE)

    with pytest.raises(InputError, match="it is no regular expression"):
        read_table(path, columns="/(/")
    with pytest.raises(InputError, match="has no column 'when', only time, a, b, node"):
        read_table(path, time_column="when")
    with pytest.raises(InputError, match="none that was asked for"):
        read_table(path, columns="z*")


def test_a_table_too_large_for_memory_is_refused_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_READINGS", 5)

    for path in (
        written(tmp_path / "t.csv", WIDE),
        parquet(tmp_path / "t.parquet", time=[0, 1, 2], a=[1, 2, 3], b=[1, 2, 3]),
    ):
        with pytest.raises(InputError, match=r"about 2 series of .* Choose columns"):
            read_series(path)


@given(raw=st.binary(max_size=300), wide=st.booleans())
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, wide: bool
) -> None:
    """Whatever is in the file: names, times and values of one shape, or InputError."""
    path = tmp_path_factory.mktemp("table", numbered=True) / "t.csv"
    path.write_bytes((b"time,a,b\n0,1,2\n" if wide else b"") + raw)

    try:
        table = read_series(path)
    except InputError:
        return
    assert table.value.shape == (len(table.names), len(table.time_s))
