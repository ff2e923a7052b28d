"""Energy where jobs are shown: the page, the API, the metrics; and the saving that is suggested."""

from dataclasses import replace

import httpx2
import numpy as np
import pytest

from agent.energy.saving import Saving
from agent.energy.used import Bill, EnergyUsed, Rates
from agent.energy.watch import EnergyWatch, JobEnergy
from agent.history import History
from agent.metrics import Metrics
from agent.server import ServerSettings, build_app
from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.target import Target
from core.topology import flat_topology
from core.types import Window
from tests.page_controls import FakeControls
from tests.page_views import NOW_S, busy_view

STEP_S = 15.0
START_S = STEP_S * (NOW_S // STEP_S)
RATES = Rates(0.2, "EUR", 300.0)


def watched(*, celsius: float = 70.0, limit: float | None = None) -> EnergyWatch:
    """A job on a node of eight GPUs at 600 W, read for two minutes."""
    history = History(None, step_s=STEP_S, span_s=3600)
    uuids = [f"g{gpu}" for gpu in range(8)]
    targets = tuple(Target(node="n0", gpu=uuid) for uuid in uuids)
    time_s = np.array([START_S + STEP_S * column for column in range(1, 9)])
    for metric, value in (("gpu_power_watts", 600.0), ("gpu_temperature_celsius", celsius)):
        history.merge(Window(metric, targets, time_s, np.full((8, 8), value)), now_s=time_s[-1])
    node = NodeState("n0", NodeCondition.READY, power_watts=limit)
    job = JobState("88213", JobPhase.RUNNING, ("n0",), 8, NOW_S)
    state = ClusterState(NOW_S, flat_topology({"n0": uuids}), (node,), (job,))
    watch = EnergyWatch(history, RATES, 0.05, EnergyUsed(until_s=START_S))
    watch.note(state, float(time_s[-1]))
    return watch


def test_a_running_job_is_told_what_would_take_less() -> None:
    (found,) = watched().jobs

    assert found.bill.kwh == pytest.approx(8 * 600 * 120 / 3.6e6)
    assert found.saving is not None
    assert found.saving.most_slowdown <= 0.05
    assert (found.saving.watts < 600, found.saving.energy_ratio < 0.95) == (True, True)


def test_a_hot_job_is_told_to_draw_less_and_one_that_is_held_nothing() -> None:
    (hot,) = watched(celsius=92.0).jobs
    (held,) = watched(limit=500.0).jobs

    assert hot.saving is not None
    assert hot.saving.cool
    assert held.saving is None


async def test_the_page_and_the_api_show_it() -> None:
    view = busy_view()
    assert view.state is not None
    job = view.state.jobs[0].id
    bill = Bill(job, NOW_S, NOW_S, 41_000.0, 1234.5, 246.9, "EUR", 370_350.0, 1.0)
    saving = Saving(515.0, 0.889, 0.087, 0.1, 0.86)
    controls = FakeControls(replace(view, energy={job: JobEnergy(bill, saving)}))
    app = build_app(
        controls,
        metrics_page=lambda _: (b"", ""),
        ready=tuple,
        settings=ServerSettings(token="t"),
        clock=ManualClock(NOW_S),
    )
    inside = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=inside, base_url="http://127.0.0.1") as client:
        page = (await client.get("/")).text
        api = (await client.get("/v1/energy")).json()

    assert "1,234.5 kWh · 246.90 EUR · 370.4 kg CO2" in page
    assert "at 515 W a GPU 14 % less, steps 9 % longer" in page
    assert (api["jobs"][0]["bill"]["kwh"], api["jobs"][0]["saving"]["watts"]) == (1234.5, 515.0)


def test_counters_only_grow() -> None:
    metrics = Metrics(version="", mode="")
    first = Bill("a", 0.0, 60.0, 4000.0, 2.0, 0.4, "EUR", 600.0, 1.0)
    metrics.used([first])
    metrics.used([first])
    metrics.used([replace(first, kwh=3.0, cost=0.6, co2_g=900.0)])

    page = metrics.exposition("")[0].decode()
    assert 'gpumedic_job_energy_joules_total{job="a"} 1.08e+07' in page
    assert 'gpumedic_job_cost_total{currency="EUR",job="a"} 0.6' in page
    assert 'gpumedic_job_carbon_grams_total{job="a"} 900.0' in page
    assert 'gpumedic_job_power_watts{job="a"} 4000.0' in page
