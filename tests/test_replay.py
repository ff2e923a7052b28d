"""Recordings play back as they were, on any clock; any CSV file is read or refused clearly."""

import asyncio
import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.collect.csv_series import read_csv_series
from agent.collect.prometheus import PrometheusSource
from agent.collect.prometheus_settings import PrometheusAccess
from agent.collect.replay import (
    GENAI_PODS,
    Columns,
    Mapped,
    ReplayExporter,
    ReplaySource,
    openmetrics,
    read_recording,
    shift_to,
)
from agent.node import NodeService
from core.clock import ManualClock, RealClock
from core.errors import InputError
from core.ports import Query
from core.target import Target
from core.types import Window
from tests.prometheus import Scrape, prometheus
from tests.test_node import serving

METRIC = "node_memory_used_ratio"
PODS = (Target(node="a"), Target(node="b"))
RECORDED = Window(
    METRIC,
    PODS,
    np.arange(4.0) * 60,
    np.array([[0.1, 0.2, np.nan, 0.4], [0.5, 0.6, 0.7, 0.8]]),
)


async def test_a_replay_shows_the_present_and_never_the_future(clock: ManualClock) -> None:
    start_s = 1_700_000_040.0  # a whole minute
    source = ReplaySource((RECORDED,), clock, shift_to((RECORDED,), start_s=start_s))
    query = Query((METRIC,), start_s - 60, start_s + 600, 60)

    await clock.advance(start_s - clock.now_s() + 61)
    early = (await source.read(query)).windows[0]
    await clock.advance(1000)
    late = (await source.read(query)).windows[0]
    none = await source.read(Query(("node_up",), start_s, start_s + 60, 60))

    nan = np.nan
    np.testing.assert_array_equal(early.value, [[nan, 0.1, 0.2], [nan, 0.5, 0.6]])
    np.testing.assert_array_equal(late.value[0], [nan, 0.1, 0.2, nan, 0.4] + [nan] * 7)
    assert none.windows == ()


async def test_between_two_recorded_readings_the_earlier_stands(clock: ManualClock) -> None:
    source = ReplaySource((RECORDED,), clock, shift_s=clock.now_s() // 60 * 60)
    await clock.advance(120)

    query = Query((METRIC,), source.shift_s, source.shift_s + 90, 15)
    window = (await source.read(query)).windows[0]

    np.testing.assert_array_equal(window.value[1], [0.5] * 4 + [0.6] * 3)


def test_the_page_shows_what_the_recording_says_of_now(clock: ManualClock) -> None:
    exporter = ReplayExporter((RECORDED,), clock, shift_s=clock.now_s() - 130)

    readings = exporter.snapshot().readings

    assert [(reading.target, reading.value) for reading in readings] == [(PODS[1], 0.7)]


def test_openmetrics_has_each_reading_with_its_time() -> None:
    counter = Window("port_errors_total", (PODS[0],), np.array([60.0]), np.array([[3.0]]))

    lines = list(openmetrics([RECORDED, counter], shift_s=1000))

    assert lines[0] == "# TYPE gpumedic_node_memory_used_ratio gauge\n"
    assert lines[1] == 'gpumedic_node_memory_used_ratio{node="a"} 0.1 1000.000\n'
    assert len([line for line in lines if "memory" in line]) == 1 + 7
    assert lines[-3:] == [
        "# TYPE gpumedic_port_errors counter\n",
        'gpumedic_port_errors_total{node="a"} 3.0 1060.000\n',
        "# EOF\n",
    ]


async def test_a_real_prometheus_scrapes_a_replay(tmp_path: Path) -> None:
    """Recorded telemetry arrives through the same path as live telemetry does."""
    clock = RealClock()
    exporter = ReplayExporter((RECORDED,), clock, shift_s=clock.now_s() - 200)
    async with serving(NodeService([exporter], clock=clock)) as url:
        scrape = Scrape("replay", (url.removeprefix("http://"),))
        async with prometheus(tmp_path, [scrape]) as server:
            await server.until(f"gpumedic_{METRIC}")
            source = PrometheusSource(PrometheusAccess(server.url), clock=clock)
            await asyncio.sleep(1)

            now_s = clock.now_s()
            window = (await source.read(Query((METRIC,), now_s - 5, now_s, 1.0))).windows[0]

            await source.close()
    assert window.targets == PODS
    np.testing.assert_array_equal(window.value[:, -1], [0.4, 0.8])


def test_the_recorded_gpu_pods_are_read(shared_data: Path) -> None:
    windows = read_recording(shared_data / "telemetry/gentd26_gpu_pods_1min.parquet", GENAI_PODS)

    by_metric = {window.metric: window for window in windows}
    assert set(by_metric) == {
        "node_memory_used_ratio",
        "gpu_utilization_ratio",
        "gpu_memory_used_bytes",
    }
    memory = by_metric["node_memory_used_ratio"]
    assert memory.value.shape == (89, 1441)
    assert 0.9 < np.nanmax(memory.value) <= 1
    assert np.nanmax(by_metric["gpu_utilization_ratio"].value) <= 1
    assert by_metric["gpu_utilization_ratio"].targets[0].gpu.startswith("GPU-")
    np.testing.assert_allclose(np.diff(memory.time_s), 60)


def test_a_recording_with_time_stamps_is_read(shared_data: Path) -> None:
    columns = Columns(
        series="series",
        time="ts",
        value="value",
        step_s=300,
        metrics={"": Mapped("node_cpu_used_ratio", 0.01)},
    )

    (window,) = read_recording(shared_data / "telemetry/nab_machine_5min.parquet", columns)

    assert window.time_s[0] % 300 == 0
    assert window.time_s[0] > 1.3e9
    assert np.isfinite(window.value).any(axis=1).all()


LONG = Columns(
    series="pod",
    time="step",
    value="value",
    step_s=60,
    metric="metric",
    metrics={"host_mem_frac": Mapped(METRIC)},
)


def long_csv(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["metric,pod,step,value", *rows]) + "\n")
    return path


def test_a_recording_may_be_csv(tmp_path: Path) -> None:
    path = long_csv(tmp_path / "r.csv", "host_mem_frac,a,3,0.5", "host_mem_frac,a,5,0.7")

    (window,) = read_recording(path, LONG)

    assert window.time_s.tolist() == [180, 240, 300]
    np.testing.assert_array_equal(window.value, [[0.5, np.nan, 0.7]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"pod,step,value\na,1,2\n", "no column 'metric', only pod, step, value"),
        (b"metric,pod,step,value\nother,a,1,2\n", "only other"),
        (b"metric,pod,step,value\nhost_mem_frac,a,soon,2\n", "time stamps"),
        (b"PAR1\x00\x01", "parquet or csv"),
        (b"", "parquet or csv"),
    ],
)
def test_a_recording_of_another_shape_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / ("r.csv" if b"," in content else "r.parquet")
    path.write_bytes(content)

    with pytest.raises(InputError, match=said):
        read_recording(path, LONG)


def written(path: Path, *rows: Iterable[object]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    ("times", "noted"),
    [
        (("1700000000", "1700000060"), ""),
        (("1700000000000", "1700000060000"), "milliseconds"),
        (("1700000000000000", "1700000060000000"), "microseconds"),
        (("2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z"), ""),
        (("2023-11-14 22:13:20", "2023-11-14 22:14:20"), "UTC"),
        (("2023/11/14 22:13:20", "2023/11/14 22:14:20"), "UTC"),
        (("2023-11-14T23:13:20+01:00", "2023-11-14T22:14:20+00:00"), ""),
    ],
)
def test_times_are_read_in_many_forms(tmp_path: Path, times: tuple[str, str], noted: str) -> None:
    path = written(tmp_path / "s.csv", ("time", "value"), *zip(times, (1, 2), strict=True))

    series = read_csv_series(path, "value")

    assert series.time_s.tolist() == [1_700_000_000, 1_700_000_060]
    assert series.value.tolist() == [1, 2]
    assert (noted in " ".join(series.notes)) if noted else series.notes == ()


def test_what_was_done_to_a_messy_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text(
        "# exported\ntime,value\n120,3\n0,1\n60,\n120,4\n180,NaN\n240,inf\n300,5\nsoon,6\n360\n"
    )

    series = read_csv_series(path, "value")

    notes = " | ".join(series.notes)
    assert series.time_s.tolist() == [0, 120, 300]
    assert series.value.tolist() == [1, 4, 5]
    for said in (
        "1 comment lines",
        "1 rows cannot be read and were left out, the first in line 10: soon,6",
        "4 rows have no finite value",
        "not in order",
        "1 rows repeat a time",
    ):
        assert said in notes


def test_gaps_are_said(tmp_path: Path) -> None:
    rows = [(60 * step, step) for step in range(50) if not 20 <= step < 30]

    series = read_csv_series(written(tmp_path / "s.csv", ("t", "v"), *rows), "v")

    assert series.notes == ("readings are 60 s apart, with 1 gaps of up to 660 s",)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("time;value\n0;0,5\n60;0,75\n", "value"),
        ("time\tvalue\n0\t0.5\n60\t0.75\n", "Value"),
        ("0,0.5\n60,0.75\n", "value"),
        ("0,0.5\n60,0.75\n", "2"),
        ("value,time\n0.5,0\n0.75,60\n", "value"),
        ("\ufeffts,host,value\n0,a,0.5\n60,a,0.75\n", "value"),
        (",value\n0,0.5\n60,0.75\n", "value"),
        ('time,value\r\n"0","0.5"\r\n"60","0.75"\r\n', "value"),
    ],
)
def test_two_columns_of_many_kinds_are_read(tmp_path: Path, text: str, column: str) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(text.encode())

    series = read_csv_series(path, column)

    assert series.time_s.tolist() == [0, 60]
    assert series.value.tolist() == [0.5, 0.75]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"\x7fELF\x00\x01\x02", "binary"),
        (b"time,value\n\xff\xfe,1\n", "not UTF-8"),
        (b"hello world\nthis is prose\n", "one column"),
        (b"time,cpu\n0,1\n", "no column 'value', only time, cpu"),
        (b"time,value\n", "no row has both"),
        (b"time,value\nsoon,1\nlater,2\n", "2 cannot be read, such as line 2: 'soon,1'"),
        (b"time,value\n0,\n1,NaN\n", "2 have no value"),
        (b"time,value\n0,1\n2023-01-01,2\n", "partly"),
        (b"1,2,3\n4,5,6\n", "column's number, 1 to 3"),
    ],
)
def test_what_is_no_series_is_refused_with_what_was_found(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "s.csv"
    path.write_bytes(content)

    with pytest.raises(InputError, match=said):
        read_csv_series(path, "value")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_csv_series(tmp_path / "s.csv", "value")


def test_the_time_column_may_be_named(tmp_path: Path) -> None:
    path = written(tmp_path / "s.csv", ("id", "when", "value"), (7, 0, 1), (8, 60, 2))

    assert read_csv_series(path, "value", time_column="when").time_s.tolist() == [0, 60]
    with pytest.raises(InputError, match="Name the time column"):
        read_csv_series(path, "value", time_column="at")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    """Whatever is in the file: a series of finite values at increasing times, or InputError."""
    path = tmp_path_factory.mktemp("csv", numbered=True) / "s.csv"
    path.write_bytes(b"time,value\n" + raw)

    try:
        series = read_csv_series(path, "value")
    except InputError:
        return
    assert (np.diff(series.time_s) > 0).all()
    assert np.isfinite(series.value).all()
