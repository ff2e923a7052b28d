"""The page shows what an operator must see, and text from outside can do nothing on it."""

import asyncio
import math
import subprocess
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import words
from agent.fleet import fleet_of
from agent.path_svg import hop_svg
from agent.server import ServerSettings, build_app
from agent.svg import forecast_svg
from agent.view import Pause, View
from core.clock import ManualClock
from core.cluster import NodeCondition
from core.types import Autonomy, Severity
from detectors.forecast.warning import SUDDEN
from tests.diagnoses import ANSWERS, hops, slow_job
from tests.page_controls import FakeControls
from tests.page_views import (
    NOW_S,
    busy_view,
    calm_forecast,
    empty_view,
    memory_forecast,
    refused_plan,
    thermal_incident,
    volume_forecast,
    waiting_plan,
)
from tests.real import program
from tests.test_server import running

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"
PAGES = ("/", "/incidents/{incident}", "/plans/{plan}")
VOID = {"meta", "link", "img", "br", "hr", "input"}


def app_for(view: View) -> Any:
    return build_app(
        FakeControls(view),
        metrics_page=lambda accept: (b"", "text/plain"),
        ready=tuple,
        settings=ServerSettings(token="t"),
        clock=ManualClock(NOW_S),
    )


async def page(view: View, path: str = "/") -> str:
    transport = httpx2.ASGITransport(app=app_for(view))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get(path)
    assert answer.status_code == 200
    return answer.text


class Reader(HTMLParser):
    """Reads a page: its elements, its visible text, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def poisoned(value: Any) -> Any:
    """Put the hostile text into every text of a view, keeping enums, ids' places and numbers."""
    if isinstance(value, str) and type(value) is str:
        return value + HOSTILE
    if isinstance(value, tuple):
        return tuple(poisoned(each) for each in value)
    if isinstance(value, dict):
        return {poisoned(key): poisoned(each) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: poisoned(getattr(value, f.name)) for f in fields(value)})
    return value


@pytest.mark.parametrize("path", PAGES)
async def test_a_script_in_every_text_runs_nowhere(path: str) -> None:
    view = poisoned(busy_view(pause=Pause("anna", "work", NOW_S, None)))
    place = path.format(incident=quoted(view.incidents[0].id), plan=quoted(view.plans[0].plan.id))

    read = Reader(await page(view, place))

    scripts = [attrs for tag, attrs in read.tags if tag == "script"]
    assert scripts == [{"src": "/static/page.js", "defer": None}]
    assert {attrs.get("src") for tag, attrs in read.tags if tag == "img"} == {"/static/icon.svg"}
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]
    assert "{{7*7}}" in read.text
    assert "<script>alert(1)</script>" in read.text


def quoted(text: str) -> str:
    return quote(text, safe="")


@pytest.mark.parametrize("view", [empty_view(), busy_view()], ids=["empty", "busy"])
async def test_the_page_needs_nothing_the_policy_forbids(view: View) -> None:
    read = Reader(await page(view))

    assert not [attrs for _, attrs in read.tags if "style" in attrs]
    assert "style" not in [tag for tag, _ in read.tags]
    for _, attrs in read.tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "/").startswith(("/", "#"))
    assert read.open == []


async def test_the_overview_says_what_matters() -> None:
    text = Reader(await page(busy_view())).text

    for needed in (
        "helsinki-a",
        "2 incidents open; waiting for approval to drain node-003",
        "Nodes out by gpumedic 1 of at most 4",
        "Nodes ready 29 of 32",
        "Goodput 94.1 %",
        "alertmanager down",
        "prometheus 3 s",
        "Job 88213 stopped: uncorrectable memory errors",
        "86 % row remap failed on node-003/GPU-003-5",
        "6 % unknown cause",
        "reaches 95 % in 42 min (14:44:11), probability 91 %",
        "gpumedic approve plan-17",
        "Wait for more evidence, or lower guards.min_probability",
        "Expected loss 26.7 GPU-h with it, 372.2 GPU-h without.",
        "Check the scrape job dcgm.",
    ):
        assert needed in text


async def test_a_dead_node_is_a_row_that_says_so() -> None:
    text = Reader(await page(busy_view())).text

    assert "node-021 down slurm Not responding 1 h 30 min ago" in text
    assert "node-014 drained anna PSU swap, ticket 4411 2 d ago" in text


async def test_a_condition_shows_by_shape_and_not_by_colour_alone() -> None:
    read = Reader(await page(busy_view()))
    (down,) = [attrs for tag, attrs in read.tags if "node down" in (attrs.get("class") or "")]

    assert (down["aria-label"] or "").startswith("node-021: down; by slurm; Not responding")
    assert "✕ node-021" in read.text


async def test_a_pause_is_seen_at_once() -> None:
    pause = Pause("anna", "firmware update", NOW_S - 600, NOW_S + 3000)

    text = Reader(await page(busy_view(pause=pause))).text

    assert (
        "Nothing is acted on. Paused by anna 10 min ago: firmware update. Ends in 50 min." in text
    )


async def test_before_anything_is_known_the_page_says_what_to_do() -> None:
    text = Reader(await page(empty_view())).text

    assert "No scheduler has answered yet" in text
    assert "no source is configured: gpumedic doctor" in text
    assert "No open incident." in text


async def test_an_incidents_page_tells_its_evidence_and_history() -> None:
    text = Reader(await page(busy_view(), "/incidents/inc-41")).text

    assert "for +3.1 Xid 64 on this GPU 10 s before the job stopped" in text
    assert "against -0.4 NVLink errors did not rise" in text
    assert "Not known: no reading of GPU rows remap pending for node-003." in text
    assert "13:59:31 Xid 64 on node-003/GPU-003-5: row remap failure" in text


async def test_an_incidents_page_leads_from_cause_to_symptom() -> None:
    view = busy_view()
    kept = replace(view, incidents=(replace(view.incidents[0], part_of="inc-42"),))

    read = Reader(await page(kept, "/incidents/inc-41"))

    for needed in (
        "GPU memory, persistent (p = 0.97): it stays until something is done",
        "1 % no fault",
        "node-003/GPU-003-5 GPU ECC uncorrected 0 to 1.5 a minute 13:59:33",
        "job 88213 job steps 24 to 0 a minute",
        "Ruled out shared volume /scratch: storage is slow, because its read latency",
        "Would decide it node-003/GPU-003-5: read the pending row remaps",
        "By causal graph, in 4.2 ms",
        "Part of incident inc-42",
    ):
        assert needed in read.text
    assert sum(attrs.get("class") == "spark" for _, attrs in read.tags) == 2


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_kind_of_answer_has_its_page(name: str) -> None:
    view = replace(busy_view(), incidents=(slow_job(),), diagnoses={"inc-7": ANSWERS[name]()})

    read = Reader(await page(view, "/incidents/inc-7"))

    (shown,) = [attrs for _, attrs in read.tags if (attrs.get("class") or "").startswith("answer")]
    assert shown["class"] == f"answer {name}"
    evidence = {"no_fault": "for +3.2 a checkpoint began with the slow steps"}
    assert evidence.get(name, "for +4.0 air at the inlet 41 °C, normally 24 °C") in read.text


async def test_a_finished_plans_page_tells_what_came_of_it() -> None:
    text = Reader(await page(busy_view(), "/plans/plan-15")).text

    assert "✓ succeeded verified 5 min 2 → 0 temperature fell from 88 to 79 °C" in text


async def test_a_plan_that_is_only_suggested_offers_no_approval() -> None:
    record = replace(waiting_plan(), mode=Autonomy.OBSERVE)

    text = Reader(await page(replace(busy_view(), plans=(record,)))).text

    assert "gpumedic approve" not in text
    assert "Mode is observe: this is what would be done; nothing is done by itself." in text


async def test_a_refused_plan_says_what_would_allow_it() -> None:
    view = replace(busy_view(), plans=(refused_plan(),), incidents=(thermal_incident(),))

    text = Reader(await page(view)).text

    assert "⊘ min probability Not stopping job 88220" in text


async def test_a_large_fleet_is_squares_and_quick() -> None:
    html = await page(busy_view(racks=128, nodes_per_rack=16))

    read = Reader(html)

    assert sum("node " in (attrs.get("class") or "") for tag, attrs in read.tags) == 2048
    assert len(html) < 1_000_000
    assert "node-021 down slurm Not responding" in read.text


async def test_what_jobs_want_stands_beside_what_there_is() -> None:
    text = Reader(await page(busy_view())).text

    assert "224 of 256 in service" in text
    assert "at most 240 in 15 min, 264 in 30 min, 288 in 1 h: 32 to add" in text


async def test_a_series_that_jumps_says_so() -> None:
    view = replace(busy_view(), forecasts=(replace(calm_forecast(), notes=(SUDDEN,)),))

    assert SUDDEN in Reader(await page(view)).text


async def test_an_operator_in_chromium_sees_the_plots_and_no_error(tmp_path: Path) -> None:
    path = program("chromium")
    shot = tmp_path / "page.png"
    async with running(app_for(busy_view())) as port:
        process = await asyncio.create_subprocess_exec(
            path,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--window-size=1280,2200",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--screenshot={shot}",
            f"http://127.0.0.1:{port}/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        _, log = await asyncio.wait_for(process.communicate(), 60)

    assert shot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert shot.stat().st_size > 100_000
    assert [line for line in log.decode().splitlines() if "CONSOLE" in line] == []


def test_the_fleet_knows_the_worst_of_each_node_and_gpu() -> None:
    fleet = fleet_of(busy_view())
    tiles = {tile.name: tile for rack in fleet.racks for tile in rack.tiles}

    assert [rack.name for rack in fleet.racks] == ["rack r1", "rack r2", "rack r3", "rack r4"]
    assert tiles["node-003"].severity is Severity.CRITICAL
    assert [pip.severity for pip in tiles["node-003"].pips].index(Severity.CRITICAL) == 5
    assert tiles["node-004"].severity == ""
    assert [pip.busy for pip in tiles["node-020"].pips] == [False] * 8
    assert {node.condition for node in fleet.out} == set(NodeCondition) - {NodeCondition.READY}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (61, "1 min 1 s"),
        (605, "10 min"),
        (4800, "1 h 20 min"),
        (86400 * 3 + 7200, "3 d 2 h"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_a_duration_reads_in_its_largest_units(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.953, "ratio", "95 %"),
        (0.0123, "ratio", "1.2 %"),
        (64 * 2.0**30, "bytes", "64 GiB"),
        (1.98e9, "Hz", "1.98 GHz"),
        (0.004, "s", "4 ms"),
        (1.5, "s", "1.5 s"),
        (5400, "s", "1 h 30 min"),
        (87.25, "°C", "87.2 °C"),
        (12345, "", "12,345"),
        (1e300, "W", "1e+300 W"),
        (math.nan, "W", "–"),
        (None, "W", "–"),
    ],
)
def test_a_quantity_reads_with_its_unit(value: float | None, unit: str, text: str) -> None:
    assert words.quantity(value, unit) == text


@given(ratio=st.floats(0, 1))
def test_almost_all_never_reads_as_all(ratio: float) -> None:
    text = words.percent(ratio)

    assert (text == "100 %") == (ratio == 1)
    assert (text == "0 %") == (ratio == 0)


@given(value=st.floats(), unit=st.sampled_from(["ratio", "bytes", "Hz", "s", "W", ""]))
def test_any_number_can_be_written(value: float, unit: str) -> None:
    assert len(words.quantity(value, unit)) < 24
    assert words.ago(value, NOW_S)
    assert words.clock_time(value)


def test_a_plot_shows_history_band_limit_and_crossing() -> None:
    read = Reader(forecast_svg(volume_forecast()))
    classes = [attrs.get("class") for _, attrs in read.tags]

    for name in ("history", "band", "mean", "limit", "made", "crossing"):
        assert name in classes
    label = read.tags[0][1]["aria-label"] or ""
    assert "now 87 %, reaches 95 % at 2026-11-20 14:44:11 UTC, probability 91 %" in label


def test_a_gap_in_the_readings_is_a_gap_in_the_line() -> None:
    classes = [attrs.get("class") for _, attrs in Reader(forecast_svg(memory_forecast())).tags]

    assert classes.count("history") == 2


def test_a_spike_survives_the_thinning() -> None:
    value = np.full(10_000, 60.0)
    value[4321] = 99.0
    view = replace(
        calm_forecast(),
        history_time_s=NOW_S - np.arange(10_000, dtype=np.float64)[::-1] * 10.0,
        history_value=value,
        limit=math.nan,
    )

    (line,) = [a for _, a in Reader(forecast_svg(view)).tags if a.get("class") == "history"]
    heights = [float(point.split(",")[1]) for point in (line["points"] or "").split()]

    assert len(heights) <= 240
    assert heights[0] - min(heights) > 100


@given(
    history=st.lists(st.floats(width=32), max_size=30),
    limit=st.floats(),
    unit=st.sampled_from(["ratio", "bytes", "°C", ""]),
)
def test_any_readings_can_be_plotted(history: list[float], limit: float, unit: str) -> None:
    view = replace(
        calm_forecast(),
        history_time_s=NOW_S - np.arange(len(history), dtype=np.float64)[::-1] * 60.0,
        history_value=np.array(history, dtype=np.float64),
        limit=limit,
        unit=unit,
        expected_s=NOW_S + 60,
    )

    drawing = forecast_svg(view)

    assert "nan" not in drawing.replace("nano", "")
    assert ">inf" not in drawing
    Reader(drawing)


def test_a_step_of_a_path_shows_its_band_and_when_it_left_it() -> None:
    read = Reader(hop_svg(hops()[0]))
    classes = [attrs.get("class") for _, attrs in read.tags]

    assert [classes.count(name) for name in ("band", "before", "after")] == [1, 1, 1]
    assert sum(tag == "line" for tag, _ in read.tags) == 1


@given(
    history=st.lists(st.floats(width=32), max_size=30),
    lower=st.floats(width=32),
    began_s=st.none() | st.floats(),
)
def test_any_step_of_a_path_can_be_drawn(
    history: list[float], lower: float, began_s: float | None
) -> None:
    series = replace(
        hops()[0],
        time_s=NOW_S - np.arange(len(history), dtype=np.float64)[::-1] * 60.0,
        value=np.array(history, dtype=np.float64),
        lower=lower,
        upper=lower,
        began_s=began_s,
    )

    drawing = hop_svg(series)

    assert "nan" not in drawing
    assert "inf" not in drawing
    Reader(drawing)
