"""Two data frames, a graph and a target become arrays, or a sentence that says what is wrong."""

import re
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from rca.frames.inputs import LEAST_NORMAL_ROWS, Tables, tables

START_S = 1_700_000_000
COLUMNS = ("web|latency", "web|cpu|max", "db|cpu", "queue")
TARGET = "web|latency"


def frame(rows: int, columns: Sequence[str] = COLUMNS, *, start_s: int = START_S) -> pd.DataFrame:
    """Readings a second, each another number."""
    value = np.arange(float(rows * len(columns))).reshape(rows, len(columns))
    return pd.DataFrame(value, index=start_s + np.arange(rows), columns=list(columns))


NORMAL = frame(20)
ABNORMAL = frame(5, start_s=START_S + 60) + 1000.0


def read(normal: Any = NORMAL, abnormal: Any = ABNORMAL, graph: Any = None) -> Tables:
    return tables(normal, abnormal, graph, TARGET)


def with_cell(cell: Any) -> pd.DataFrame:
    """Normal readings of which one, in row 4 of db|cpu, is something else."""
    cells = [*NORMAL["db|cpu"][:3], cell, *NORMAL["db|cpu"][4:]]
    return NORMAL.assign(**{"db|cpu": pd.Series(cells, NORMAL.index, dtype=object)})


def test_names_are_taken_apart_and_readings_kept() -> None:
    found = read(graph=nx.DiGraph([("disk", "db"), ("db", "web")]))

    assert found.columns == COLUMNS
    assert [found.components[at] for at in found.component] == ["web", "web", "db", "queue"]
    assert found.metric == ("latency", "cpu", "cpu", "")
    assert found.statistic == ("", "max", "", "")
    assert (found.normal == NORMAL.to_numpy().T).all()
    assert (found.abnormal == ABNORMAL.to_numpy().T).all()
    assert found.normal_s[[0, -1]].tolist() == [START_S, START_S + 19]
    assert found.components == ("web", "db", "queue", "disk")
    assert found.links.tolist() == [[3, 1], [1, 0]]
    assert (found.has_graph, found.target) == (True, 0)
    assert found.notes == (
        "graph: nodes without a column (1): disk",
        "graph: components of columns that are no nodes (1): queue",
    )


def test_levels_of_a_column_index_are_parts_of_its_name() -> None:
    levels = pd.MultiIndex.from_tuples([("web", "latency"), ("db", "cpu")])
    normal, abnormal = (frame(9, ("a", "b"), start_s=s).set_axis(levels, axis=1) for s in (0, 9))

    assert tables(normal, abnormal, None, TARGET).columns == ("web|latency", "db|cpu")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("7.5", 7.5), (" 7.5 ", 7.5), (True, 1.0), (7, 7.0), ("1e3", 1e3),
        (None, np.nan), ("", np.nan), ("N/A", np.nan), (pd.NA, np.nan), (pd.NaT, np.nan),
        (np.inf, np.nan), ("-inf", np.nan),
    ],
)  # fmt: skip
def test_a_cell_is_a_number_however_it_is_written(cell: object, value: float) -> None:
    found = read(with_cell(cell))

    np.testing.assert_equal(found.normal[2, 3], value)
    assert np.isfinite(np.delete(found.normal.ravel(), 2 * 20 + 3)).all()


@pytest.mark.parametrize("cell", ["oops", "0,5", 1 + 2j, pd.Timestamp(0), (1, 2), [1.0]], ids=str)
def test_a_cell_that_is_no_number_is_named(cell: Any) -> None:
    said = f"column 'db|cpu' holds {str(cell)!r} in row 4 (index {START_S + 3}), which is no number"

    with pytest.raises(InputError, match=re.escape(said)):
        read(with_cell(cell))


@pytest.mark.parametrize("kind", ["Float64", "category", "string", "float32", "bool", "int64"])
def test_columns_of_any_kind_of_number_are_read(kind: Any) -> None:
    numbers = NORMAL % 2 if kind == "bool" else NORMAL

    assert (read(numbers.astype(kind)).normal == numbers.to_numpy().T).all()


def utc(seconds: "pd.Index[Any]") -> pd.DatetimeIndex:
    return pd.to_datetime(seconds, unit="s")


@pytest.mark.parametrize(
    "index",
    [
        NORMAL.index * 1000, NORMAL.index * 1_000_000_000, NORMAL.index.astype(str),
        utc(NORMAL.index), utc(NORMAL.index).as_unit("s"), utc(NORMAL.index).astype(str),
        utc(NORMAL.index).tz_localize("UTC").tz_convert("Asia/Tokyo"),
        utc(NORMAL.index).astype(object), utc(NORMAL.index).to_period("s"),
    ],
    ids=["ms", "ns", "text", "naive", "seconds", "iso", "zone", "objects", "periods"],
)  # fmt: skip
def test_an_index_of_any_kind_of_time_becomes_seconds(index: "pd.Index[Any]") -> None:
    np.testing.assert_allclose(read(NORMAL.set_axis(index)).normal_s, NORMAL.index, atol=1e-6)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ([f"r{row}" for row in range(20)], "its index holds 'r0' in row 1, which is no time"),
        ([np.nan] * 20, "no row of its index has a time"),
        (pd.MultiIndex.from_product([range(4), range(5)]), r"holds '\(0, 0\)' in row 1"),
    ],
    ids=["names", "nan", "levels"],
)
def test_an_index_that_is_no_time_is_refused(index: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"Reading normal: .*{said}"):
        read(NORMAL.set_axis(index))


def test_rows_without_a_time_are_left_out() -> None:
    found = read(NORMAL.set_axis([np.nan, *NORMAL.index[1:]]))

    assert (found.normal == NORMAL.to_numpy()[1:].T).all()
    assert found.notes == ("normal: rows without a time, which are left out: 1",)


@given(st.permutations(range(20)), st.permutations(range(len(COLUMNS))))
def test_the_order_of_rows_and_columns_changes_no_reading(
    rows: list[int], columns: list[int]
) -> None:
    found = read(NORMAL.iloc[rows, columns])

    assert (found.normal_s == NORMAL.index).all()
    for at, name in enumerate(found.columns):
        assert (found.normal[at] == NORMAL[name]).all()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9),
            st.one_of(st.floats(-1e9, 1e9), st.sampled_from([np.nan, np.inf, -np.inf])),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_rows_of_one_time_become_the_mean_of_what_was_scraped(
    rows: list[tuple[int, float]],
) -> None:
    """Whatever the rows are, times increase and each has the mean of its finite readings."""
    abnormal = pd.DataFrame({TARGET: [value for _, value in rows], "db|cpu": 1.0})
    abnormal.index = pd.Index([START_S + 100 + time_s for time_s, _ in rows])

    found = read(abnormal=abnormal)

    finite = abnormal[TARGET].where(np.isfinite(abnormal[TARGET]))
    mean = finite.groupby(level=0).mean()
    assert (np.diff(found.abnormal_s) > 0).all()
    assert found.abnormal_s.tolist() == mean.index.tolist()
    np.testing.assert_allclose(found.abnormal[0], mean, rtol=1e-9, atol=1e-5)


def test_columns_of_one_name_become_their_mean() -> None:
    twice = NORMAL.rename(columns={"queue": "db|cpu"})

    found = read(twice, ABNORMAL.drop(columns="queue"))

    assert found.columns == COLUMNS[:3]
    assert (found.normal[2] == NORMAL[["db|cpu", "queue"]].mean(axis=1)).all()
    assert found.notes == ("normal: columns that repeat a name, of which the mean is taken: 1",)


def test_a_column_that_one_table_lacks_was_not_scraped_there() -> None:
    found = read(NORMAL.drop(columns="queue"), ABNORMAL.drop(columns="db|cpu"))

    assert set(found.columns) == set(COLUMNS)
    assert np.isnan(found.normal[found.columns.index("queue")]).all()
    assert np.isnan(found.abnormal[found.columns.index("db|cpu")]).all()
    assert [note.partition(":")[0] for note in found.notes] == ["normal", "abnormal"]


def test_a_row_of_both_tables_is_no_normal_row() -> None:
    found = read(abnormal=NORMAL.iloc[5:10])

    assert found.normal_s.tolist() == [*NORMAL.index[:5], *NORMAL.index[10:]]
    assert found.abnormal_s.tolist() == NORMAL.index[5:10].tolist()
    assert found.notes == ("normal: rows that abnormal has too, which are left out: 5",)


def test_rows_that_only_share_their_times_all_count() -> None:
    """Two tables that count their rows from 0 are not the same rows."""
    found = read(NORMAL.reset_index(drop=True), ABNORMAL.reset_index(drop=True))

    assert (found.normal.shape[1], found.abnormal.shape[1]) == (20, 5)
    assert "times that both tables have, with other readings, which all count: 5" in found.notes


def test_normal_rows_may_come_later_than_the_trouble() -> None:
    assert read(abnormal=ABNORMAL.set_axis(range(5))).abnormal_s.tolist() == [0, 1, 2, 3, 4]


def test_constant_columns_and_one_abnormal_row_are_read() -> None:
    found = read(NORMAL * 0.0, ABNORMAL.iloc[:1])

    assert (found.normal == 0.0).all()
    assert found.abnormal.shape == (4, 1)


@pytest.mark.parametrize(
    ("normal", "abnormal", "said"),
    [
        (NORMAL.iloc[:1], ABNORMAL, f"1 of its 1 rows hold a reading. .* {LEAST_NORMAL_ROWS}:"),
        (NORMAL.iloc[:0], ABNORMAL, "Reading normal: found 0 rows and 4 columns"),
        (NORMAL, ABNORMAL.iloc[:, :0], "Reading abnormal: found 5 rows and 0 columns"),
        (NORMAL * np.nan, ABNORMAL, "Reading normal: 0 of its 20 rows hold a reading"),
        (NORMAL, ABNORMAL * np.nan, "Reading abnormal: 0 of its 5 rows hold a reading"),
        (NORMAL.iloc[:9], NORMAL, "abnormal holds all 9 rows of normal too"),
        (NORMAL, NORMAL.iloc[2:], r"2 of its 2 rows \(without 18 that the other table has"),
        (NORMAL, NORMAL, "both tables hold the same rows. Give as normal"),
        (NORMAL, ABNORMAL.add_suffix("_s"), "none of the 4 columns of normal .* 4 of abnormal"),
        ([1.0], ABNORMAL, "found list. It must be a pandas.DataFrame"),
        (NORMAL, NORMAL["queue"], "found Series. It must be a pandas.DataFrame"),
    ],
    ids=[
        "row",
        "rows",
        "columns",
        "nan",
        "nan-abnormal",
        "inside",
        "few",
        "same",
        "overlap",
        "list",
        "series",
    ],
)
def test_tables_that_cannot_be_compared_are_refused(normal: Any, abnormal: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(normal, abnormal)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("web|latncy", "no column is called 'web|latncy'; the nearest are web|latency"),
        ("web", "no column is called 'web'; the nearest are web|latency, web|cpu|max."),
        ("Q9", "no column is called 'Q9'; there are web|latency, web|cpu|max, db|cpu, ..."),
    ],
)
def test_a_target_that_is_not_there_is_named_with_the_nearest(target: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        tables(NORMAL, ABNORMAL, None, target)


def test_a_target_without_any_reading_is_refused() -> None:
    silent = {TARGET: np.nan}

    with pytest.raises(InputError, match=r"'web\|latency' has no reading in either"):
        read(NORMAL.assign(**silent), ABNORMAL.assign(**silent))
    assert np.isnan(read(NORMAL.assign(**silent)).normal[0]).all()
    assert np.isnan(read(abnormal=ABNORMAL.assign(**silent)).abnormal[0]).all()


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ({"web": "db"}, "found dict. It must be a networkx.DiGraph"),
        (nx.Graph([("db", "web")]), "Graph has edges without a direction"),
        (nx.DiGraph([("dp", "wep")]), "none of its 2 nodes (dp, wep) is a component"),
        (nx.DiGraph([("database", "website")]), "Name nodes as columns are before their first |"),
    ],
    ids=["dict", "undirected", "unknown", "remedy"],
)
def test_a_graph_that_says_nothing_causal_is_refused(graph: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        read(graph=graph)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_a_graph_with_a_cycle_is_refused_and_its_members_named(
    edges: list[tuple[int, int]],
) -> None:
    """A cycle that is named is one of the graph, and without one every link is kept."""
    graph = nx.DiGraph([*edges, (9, "web")])
    loose = nx.DiGraph(edge for edge in graph.edges if edge[0] != edge[1])
    if nx.is_directed_acyclic_graph(loose):
        found = read(graph=graph)
        names = [(found.components[a], found.components[b]) for a, b in found.links]
        assert set(names) == {(str(cause), str(effect)) for cause, effect in loose.edges}
        return
    with pytest.raises(InputError, match=r"it has a cycle, (.*?)\. Links") as refused:
        read(graph=graph)
    told = re.search(r"cycle, (.*?)\.", str(refused.value))
    walk = told[1].split(" -> ") if told else []
    assert walk[0] == walk[-1]
    assert all(graph.has_edge(int(a), int(b)) for a, b in pairwise(walk))


def test_a_link_to_itself_says_nothing_and_is_left_out() -> None:
    found = read(graph=nx.DiGraph([("db", "web"), ("db", "db"), ("queue", "web")]))

    assert found.links.tolist() == [[1, 0], [2, 0]]
    assert found.notes == ("graph: nodes with a link to themselves, which is left out: db",)


@pytest.mark.parametrize("graph", [None, nx.DiGraph()], ids=["none", "empty"])
def test_without_a_graph_there_are_no_links(graph: Any) -> None:
    found = read(graph=graph)

    assert (found.has_graph, found.links.shape) == (False, (0, 2))


def test_the_callers_frames_are_left_as_they_were() -> None:
    normal, abnormal = NORMAL.copy(), ABNORMAL.copy()
    normal.iloc[2, 1] = np.inf
    before = normal.copy()

    read(normal, abnormal)

    pd.testing.assert_frame_equal(normal, before)


def test_ten_thousand_columns_are_read_within_a_second() -> None:
    columns = [f"part{at // 10}|m{at % 10}" for at in range(10_000)]
    normal, abnormal = frame(240, columns), frame(20, columns, start_s=START_S + 1000)
    graph = nx.DiGraph((f"part{at}", f"part{at + 1}") for at in range(999))
    begun_s = time.process_time()

    found = tables(normal, abnormal, graph, columns[5])

    assert time.process_time() - begun_s < 1.0
    assert (found.normal.shape, len(found.components)) == ((10_000, 240), 1000)
