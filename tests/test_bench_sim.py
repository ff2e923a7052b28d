"""The simulator's speed: rows are made of small runs; the drawing is that of the kept figures."""

import json
from pathlib import Path

import pytest

from agent.bench.sim import busy, cost_rows, decisions_row, fork_rows, peer_row, telemetry_rows
from agent.bench.sim_plot import cost_svg
from core.codec import from_json
from core.errors import InputError
from core.figures import Figures, Row

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def kept() -> Figures:
    return from_json(Figures, json.loads((RESULTS / "sim.json").read_text(encoding="utf-8")))


def test_the_cluster_that_is_measured_has_work_failures_and_repairs() -> None:
    scenario = busy(2048, 1000.0)

    assert sum(job.nodes for job in scenario.jobs) == 1280
    assert scenario.workload is not None
    assert scenario.workload.jobs_per_day == 1000.0
    assert scenario.profile == "rsc1"
    assert scenario.site.requeue
    assert scenario.site.drain


def test_each_part_is_measured_in_its_unit() -> None:
    rows = (
        *cost_rows((256,), (20.0,)),
        *telemetry_rows(256, runs=1, hours=1.0),
        *fork_rows(256, days=0.2, runs=1),
        decisions_row(0.05, runs=1),
    )

    assert {row.metric: row.unit for row in rows} == {
        "us_per_event_256_nodes_20_days": "us",
        "telemetry_cluster_days_per_cpu_s": "days/s",
        "telemetry_window_us": "us",
        "fork_ms": "ms",
        "fork_first_second_ms": "ms",
        "save_ms": "ms",
        "load_ms": "ms",
        "rl_decisions_per_cpu_s": "1/s",
    }
    assert [row for row in rows if row.value is None or not row.value > 0] == []


def test_a_peer_that_is_not_there_is_said_to_be_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])

    row = peer_row(1.0)

    assert row.value is None
    assert "pip install simpy" in row.note


def test_the_published_drawing_is_that_of_the_kept_figures() -> None:
    assert (RESULTS / "sim_cost.svg").read_text(encoding="utf-8") == cost_svg(kept())


def test_figures_without_costs_cannot_be_drawn() -> None:
    nothing = Figures("bench loop", "", "", "", (), (Row("goodput", 0.9, "ratio"),))

    with pytest.raises(InputError, match="no us_per_event"):
        cost_svg(nothing)
