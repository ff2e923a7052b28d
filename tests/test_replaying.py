"""A recording is played to the controller, and its warnings are held against what came."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import numpy as np
import pytest

from agent.node import NodeService
from agent.replaying import Part, PlaySettings, play, read
from core.clock import ManualClock
from core.errors import InputError
from core.target import Target
from core.types import Window
from tests.command_line import gpumedic
from tests.real import program
from tests.test_node import serving

METRIC = "node_memory_used_ratio"
MINUTES = 200


def recording(*, slope: float) -> tuple[Window, ...]:
    """Two nodes, one a minute: one fills by ``slope`` a minute from 0.5, one stays."""
    rng = np.random.default_rng(3)
    minute = np.arange(float(MINUTES))
    value = np.stack([0.5 + slope * minute, np.full(MINUTES, 0.5)])
    value += rng.normal(0, 0.003, value.shape)
    nodes = (Target(node="filling"), Target(node="steady"))
    return (Window(METRIC, nodes, 1_700_000_040.0 + 60 * minute, np.clip(value, 0, 1)),)


def write(path: Path) -> None:
    """Write a recording in the long layout."""
    (window,) = recording(slope=0.0024)
    start = datetime.fromtimestamp(float(window.time_s[0]), UTC)
    lines = ["series,time,value"]
    for target, row in zip(window.targets, window.value, strict=True):
        for number, value in enumerate(row):
            when = start + timedelta(minutes=number)
            lines.append(f"{target.node},{when:%Y-%m-%dT%H:%M:%SZ},{value:.4f}")
    path.write_text("\n".join(lines) + "\n")


async def test_a_filling_node_is_warned_of_half_an_hour_ahead() -> None:
    """0.9 is reached after 167 minutes: the warning must come at least 30 minutes before."""
    part = Part.of(recording(slope=0.0024), now_at=0.5, speed=1.0)

    found = await play(part, PlaySettings(limits={METRIC: 0.9}))

    assert (found.series, found.crossings, found.foreseen) == (2, 1, 1)
    first = found.warnings[0]
    assert first.target == Target(node="filling")
    assert first.ahead_s is not None
    assert first.ahead_s >= 1800
    assert found.incidents >= 1
    assert all(each.target == first.target for each in found.warnings)


async def test_a_node_that_never_gets_there_costs_no_warning() -> None:
    part = Part.of(recording(slope=0.0001), now_at=0.5, speed=1.0)
    shares: list[float] = []

    found = await play(
        part, PlaySettings(limits={METRIC: 0.9}, duration_s=6000.0), progress=shares.append
    )

    assert (found.crossings, found.warnings) == (0, ())
    assert found.played_s == 6000.0
    assert shares == sorted(shares)


def test_a_recording_that_counts_steps_is_dated(shared_data: Path) -> None:
    path = shared_data / "telemetry" / "gentd26_gpu_pods_1min.parquet"

    frames = read(path, "genai", metric=METRIC, step_s=60.0)

    assert {frame.metric for frame in frames} >= {METRIC, "gpu_memory_used_bytes"}
    assert min(frame.time_s[0] for frame in frames) == 1_704_067_200.0


async def test_recorded_pods_are_played_as_they_are(shared_data: Path) -> None:
    """A first quarter of an hour of 223 real series: no crash, and the counts fit."""
    path = shared_data / "telemetry" / "gentd26_gpu_pods_1min.parquet"
    part = Part.of(read(path, "genai", metric=METRIC, step_s=60.0), now_at=0.5, speed=1.0)

    found = await play(part, PlaySettings(duration_s=900.0))

    assert found.series > 200
    assert found.foreseen <= min(found.crossings, len(found.warnings))


async def test_the_verb_prints_a_line_a_warning(tmp_path: Path) -> None:
    write(tmp_path / "x.csv")

    said = await gpumedic("replay", "x.csv", "--limit", "0.9", "--json", folder=tmp_path)

    assert said.code == 0
    assert json.loads(said.out)["foreseen"] == 1


async def test_its_past_is_what_promtool_loads(tmp_path: Path) -> None:
    promtool = program("promtool")
    write(tmp_path / "x.csv")

    said = await gpumedic("replay", "x.csv", "--openmetrics", "past.om", folder=tmp_path)
    loading = await asyncio.create_subprocess_exec(
        *(promtool, "tsdb", "create-blocks-from", "openmetrics", "past.om", "data"), cwd=tmp_path
    )

    assert said.out.startswith(f"{MINUTES} readings written to past.om")
    assert await loading.wait() == 0


async def test_its_present_is_served_to_scrape(tmp_path: Path) -> None:
    write(tmp_path / "x.csv")
    frames = read(tmp_path / "x.csv", "long", metric=METRIC, step_s=60.0)
    page = NodeService((Part.of(frames, now_at=0.0, speed=1.0).exporter(),), clock=ManualClock())
    async with serving(page) as url, httpx2.AsyncClient() as http:
        text = (await http.get(f"{url}/metrics")).text

    assert f'gpumedic_{METRIC}{{node="filling"}} {frames[0].value[0, 0]:g}' in text


def test_the_past_ends_now(tmp_path: Path, clock: ManualClock) -> None:
    part = Part.of(recording(slope=0.001), now_at=0.25, speed=1.0)

    rows = part.write_past(tmp_path / "past.om", clock=clock)
    stamps = [float(line.split()[-1]) for line in lines_of(tmp_path / "past.om")]

    assert rows == len(stamps) == 2 * MINUTES // 4
    assert clock.now_s() - 60 < max(stamps) <= clock.now_s()


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("layout", "said"), [("nab", "only genai and long"), ("genai", "has no column 'pod'")]
)
def test_a_file_that_does_not_fit_is_told_what_would(
    layout: str, said: str, tmp_path: Path
) -> None:
    write(tmp_path / "x.csv")

    with pytest.raises(InputError, match=said):
        read(tmp_path / "x.csv", layout, metric=METRIC, step_s=60.0)


async def test_one_moment_is_no_recording() -> None:
    window = Window(METRIC, (Target(node="a"),), np.array([1.7e9]), np.array([[0.5]]))

    with pytest.raises(InputError, match="needs more"):
        await play(Part.of((window,), now_at=0.5, speed=1.0), PlaySettings())
