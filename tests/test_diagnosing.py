"""What a diagnosis of files reads, and what its picture shows."""

import json
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from agent.diagnosing.files import frame_of, graph_of
from agent.diagnosing.panels import MOST_PANELS, panels_of, unit_of
from agent.diagnosing.plot import DPI, WIDTH_INCHES, answer_png
from core.errors import InputError
from rca.frames.answer import Answer, Suspect
from rca.frames.inputs import Tables, tables

START_S, STEP_S, ONSET = 1_700_000_000, 15, 12
CHAIN = tuple(f"part{at}" for at in range(9))


def chain() -> Tables:
    """Nine parts in a row, all 20 higher from row 12 on, of which one cell is odd before that."""
    value = np.random.default_rng(3).normal(50.0, 1.0, (340, len(CHAIN)))
    value[300 + ONSET :] += 20.0
    value[303, 0] += 9.0
    columns = [f"{part}|wait_seconds" for part in CHAIN]
    table = pd.DataFrame(value, START_S + STEP_S * np.arange(340), columns)
    graph = nx.DiGraph(pairwise(CHAIN))
    return tables(table[:300], table[300:], graph, columns[-1])


def suspect(name: str, *path: str) -> Suspect:
    return Suspect(name, 1.0, 0.8, ("it rose",), (f"{name}|wait_seconds",), path)


QUIET = Answer((suspect("part3", "part3"),), 0.97, "Nothing moved.")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_file_keeps_every_digit_and_its_times(tmp_path: Path, name: str) -> None:
    """A counter of bytes has more digits than a float32 keeps."""
    written = pd.DataFrame({"db|written_bytes_total": [1e12, 1e12 + 1], "db|cpu": [0.5, None]})
    written.index = pd.to_datetime([START_S, START_S + 1], unit="s")
    path = tmp_path / name
    written.to_csv(path) if name == "t.csv" else written.to_parquet(path)

    read, notes = frame_of(path)

    assert np.diff(read["db|written_bytes_total"]).tolist() == [1.0]
    assert read.index.tolist() == [START_S, START_S + 1]
    assert read["db|cpu"].isna().tolist() == [False, True]
    zoneless = "times without a zone were taken as UTC"
    assert notes == ((f"{path}: {zoneless}",) if name == "t.csv" else ())


def test_a_table_of_a_reading_a_row_becomes_columns(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("series,time,value\na|cpu,0,1\nb|cpu,0,2\na|cpu,60,3\n")

    read, _ = frame_of(path, columns="*|cpu")

    assert read.columns.tolist() == ["a|cpu", "b|cpu"]
    np.testing.assert_equal(read.to_numpy(), [[1, 2], [3, np.nan]])


@pytest.mark.parametrize(
    "said",
    [
        {"edges": [["a", "b"], ["b", "c"]]},
        {"nodes": ["a", "b", "c"], "edges": [["a", "b"], ["b", "c"]]},
        nx.node_link_data(nx.DiGraph([("a", "b"), ("b", "c")])),
        nx.node_link_data(nx.MultiDiGraph([("a", "b"), ("b", "c")]), edges="links"),
    ],
    ids=["edges", "nodes", "node-link", "links"],
)
def test_a_graph_is_read_in_every_form(tmp_path: Path, said: Any) -> None:
    path = tmp_path / "g.json"
    path.write_text(json.dumps(said))

    assert sorted(graph_of(path).edges) == [("a", "b"), ("b", "c")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n "edges": oops}', "it is not JSON .* line 2 column 11"),
        ("[]", "found a list. It needs .*nodes.*edges"),
        ("3", "found a number"),
        ("{}", "found the keys none"),
        ('{"nodes": ["a"], "vertices": []}', "found the keys nodes, vertices"),
        ('{"edges": {"a": "b"}}', "edges is an object"),
        ('{"nodes": "ab", "edges": []}', "nodes is a text"),
        ('{"nodes": [null], "edges": []}', r"nodes\[0\] is null"),
        ('{"edges": [["a", "b"], ["a"]]}', r"edges\[1\] is \[\"a\"\]"),
        ('{"links": [{"source": "a"}]}', r"links\[0\] is \{\"source\": \"a\"\}"),
        ('{"nodes": ["a"], "edges": [["a", "b"]]}', r"edges\[0\] names 'b', which is none of"),
        ('{"directed": false, "edges": []}', '"directed": false'),
        ("\xff", "it is not JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_graph_is_refused_with_the_place(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "g.json"
    path.write_text(text, encoding="latin-1")

    with pytest.raises(InputError, match=f"reading .*g.json: .*{said}"):
        graph_of(path)


def test_a_graph_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: No such file"):
        graph_of(tmp_path / "none.json")


def test_panels_follow_the_path_to_the_target() -> None:
    """However long the path is, the target is among them; an odd reading before is no onset."""
    panels = panels_of(chain(), Answer((suspect("part0", *CHAIN),), 0.0, ""))

    assert len(panels) <= MOST_PANELS
    assert [panel.name for panel in panels[:2]] == ["part0: wait_seconds", "part1: wait_seconds"]
    assert (panels[-1].name, panels[-1].unit) == ("part8: wait_seconds", "s")
    assert panels[0].said.endswith("; most suspect")
    assert panels[-1].said.endswith("; trouble noticed here")
    assert panels[0].onset_s == START_S + STEP_S * (300 + ONSET)


def test_other_suspects_come_after_the_target() -> None:
    first, second = suspect("part6", "part6", "part7", "part8"), suspect("part2", "part2")
    panels = panels_of(chain(), Answer((first, second), 0.0, ""))

    assert [panel.name[:5] for panel in panels] == ["part6", "part7", "part8", "part2"]
    assert panels[-1].said.endswith("; suspect 2")


def test_without_a_cause_the_target_comes_before_whom_to_suspect_even_so() -> None:
    panels = panels_of(chain(), QUIET)

    assert [panel.name[:5] for panel in panels] == ["part8", "part3"]


def tables_of(normal: Any, abnormal: Any) -> Tables:
    """The chain with other readings."""
    columns = [f"{part}|wait_seconds" for part in CHAIN]
    before = pd.DataFrame(normal.T, START_S + np.arange(normal.shape[1]), columns)
    after = pd.DataFrame(abnormal.T, START_S + 9999 + np.arange(abnormal.shape[1]), columns)
    return tables(before, after, None, columns[-1])


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("request_duration_seconds_sum", "s"), ("memory_bytes", "bytes"), ("latency_ms", "ms"),
        ("latency", ""), ("s", ""), ("", ""), ("errors_total", ""),
    ],
)  # fmt: skip
def test_a_unit_is_what_the_metrics_name_ends_in(metric: str, unit: str) -> None:
    assert unit_of(metric) == unit


@pytest.mark.parametrize("case", ["path", "quiet", "no path", "one row", "silent", "constant"])
def test_a_picture_is_drawn_of_whatever_was_read(case: str) -> None:
    found = chain()
    normal, abnormal = found.normal.copy(), found.abnormal.copy()
    if case == "one row":
        found = tables_of(normal, abnormal[:, -1:])
    if case == "silent":
        abnormal[3:8] = np.nan
        found = tables_of(normal, abnormal)
    if case == "constant":
        found = tables_of(normal * 0.0, abnormal * 0.0)
    path = CHAIN if case == "path" else ("part3",)
    answer = QUIET if case == "quiet" else Answer((suspect("part3", *path),), 0.1, "")

    png = answer_png(found, answer)

    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG")
    assert width == WIDTH_INCHES * DPI
    assert height > width / 4
