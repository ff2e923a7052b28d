"""``explain`` on a real incident, from the controller's own history: DoWhy's opinion, the path."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.assembly import Assembly, Inputs, assemble
from agent.collect.replay import ReplaySource
from agent.config import Settings
from agent.server import ServerSettings, build_app
from agent.watch import PATH_BEFORE_S
from core.clock import ManualClock
from core.errors import InputError
from core.target import Target
from core.types import Hop, Window
from tests.command_line import gpumedic
from tests.test_server import TOKEN, running

MINUTES, JUMP = 110, 100
NODE = Target(node="n1")


def telemetry(start_s: float) -> tuple[Window, ...]:
    """A node whose processor pressure and memory rise together, the memory beyond its limit."""
    rng = np.random.default_rng(5)
    minute = np.arange(float(MINUTES))
    high = minute >= JUMP
    memory = 0.5 + 0.48 * high + rng.normal(0, 0.004, MINUTES)
    pressure = 0.1 + 0.7 * high + rng.normal(0, 0.01, MINUTES)
    time_s = start_s + 60 * minute
    return (
        Window("node_memory_used_ratio", (NODE,), time_s, memory[None]),
        Window("node_pressure_memory_ratio", (NODE,), time_s, pressure[None]),
    )


@pytest.fixture
async def app(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Assembly]:
    """A controller that has lived through the telemetry."""
    start_s = clock.now_s() // 60 * 60
    chosen = {
        "state_dir": tmp_path,
        "history": {"step": "60s"},
        "cycle": {"interval": "60s"},
        "detect": {"silence_after": "5m"},
    }
    source = ReplaySource(telemetry(start_s), clock)
    settings = Settings.model_validate(chosen)
    app = await assemble(settings, Inputs(sources=(source,)), clock=clock)
    try:
        for _ in range(MINUTES):
            await app.controller.cycle()
            await clock.advance(60)
        yield app
    finally:
        await app.close()


async def test_dowhy_answers_in_a_worker_what_it_can(app: Assembly) -> None:
    (incident,) = app.controller.watch.recent()

    found = await app.controller.deep(incident.id)

    assert found.attribution is not None
    assert found.attribution.method.startswith("dowhy")
    assert found.attribution.names[0].startswith("node_memory_used_ratio")
    assert np.isfinite(found.attribution.contribution).all()
    assert found.attribution.ranked()[0][1] > 0
    assert found.own is not None
    assert found.own.ranked()[0][0].startswith("node_pressure_memory_ratio")
    assert found.what_if is not None
    assert found.what_if.now > found.what_if.normal
    assert found.change is None
    assert "complete abnormal readings, and 30 are needed" in found.problems[0]


async def test_the_path_has_the_readings_of_the_history_and_their_band(app: Assembly) -> None:
    watch = app.controller.watch
    (incident,) = watch.recent()
    found = watch.diagnoses[incident.id]
    onset_s = min(anomaly.start_s for anomaly in incident.anomalies)
    path = (
        Hop(NODE, "node_memory_used_ratio", 40.0, onset_s),
        Hop(NODE, "node_power_watts", None, None),
        Hop(NODE, "node_pressure_memory_ratio", 30.0, onset_s),
    )
    watch.diagnoses[incident.id] = replace(
        found, causes=(replace(found.causes[0], path=path), *found.causes[1:])
    )

    memory, power, pressure = await app.controller.path(incident.id)

    assert (memory.lower, memory.upper) == pytest.approx((0.47, 0.53), abs=0.01)
    assert (pressure.lower, pressure.upper) == pytest.approx((0.07, 0.13), abs=0.03)
    assert np.nanmin(memory.value[memory.time_s >= onset_s]) > 0.9
    assert memory.time_s[0] == pytest.approx(onset_s - PATH_BEFORE_S[0], abs=60)
    assert not np.isfinite(power.value).any()
    assert np.isnan(power.lower)


async def test_no_path_is_followed_where_none_is_known(app: Assembly) -> None:
    with pytest.raises(InputError, match="no path through the causal graph is known"):
        await app.controller.path("nope")


async def test_an_incident_nobody_knows_is_refused(app: Assembly) -> None:
    with pytest.raises(InputError, match="no diagnosis yet, or is too old"):
        await app.controller.deep("nope")


async def test_readings_that_do_not_suffice_are_said(app: Assembly) -> None:
    """With 10 minutes of normal time, too few readings are left to learn a mechanism from."""
    (incident,) = app.controller.watch.recent()
    narrow = Settings.model_validate({"diagnose": {"normal_span": "10m"}})
    app.apply(app.settings.model_copy(update={"diagnose": narrow.diagnose}))
    web = build_app(
        app.controller,
        metrics_page=app.metrics.exposition,
        ready=app.controller.ready,
        settings=ServerSettings(token=TOKEN),
        clock=app.clock,
    )

    async with running(web) as port:
        said = await gpumedic("explain", incident.id, "--deep", "--url", f"http://127.0.0.1:{port}")

    assert said.code == 1
    assert "complete normal readings, and 30 are needed" in said.err
