"""What jobs want is noted, forecast, and shown with what is lacking."""

from pathlib import Path

import numpy as np
import pytest

from agent.demand import STEP_S, STEPS, GpusWanted, in_service, wanted
from agent.metrics import Metrics
from agent.view import DemandView
from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.topology import flat_topology
from tests.fakes import FakeCluster
from tests.loop import loop

DAY = 288
MORNING_S = 1_800_000_000.0 // 86400 * 86400


def cluster(at_s: float, **gpus: int) -> ClusterState:
    """Four nodes of 8 GPUs, the last out; a job in each phase that is named wants so many GPUs."""
    names = [f"node-{number}" for number in range(4)]
    conditions = [NodeCondition.READY, NodeCondition.CORDONED, NodeCondition.READY]
    nodes = zip(names, [*conditions, NodeCondition.DOWN], strict=True)
    jobs = tuple(
        JobState(phase, JobPhase(phase), ("node-1",) if phase == "running" else (), count, at_s)
        for phase, count in gpus.items()
    )
    shape = flat_topology({name: [f"{name}/{gpu}" for gpu in range(8)] for name in names}, {})
    return ClusterState(at_s, shape, tuple(NodeState(*node) for node in nodes), jobs)


def noted(*days: int, until: int) -> GpusWanted:
    """Return what is known after some days of which each hour 9 to 18 wants 40 GPUs, else 8."""
    held = GpusWanted()
    for step in range(len(days) * DAY - DAY + until):
        day = DAY * 9 // 24 <= step % DAY < DAY * 18 // 24
        held.note(cluster(MORNING_S + STEP_S * step, running=8, pending=32 if day else 0))
    return held


def ahead(held: GpusWanted) -> DemandView:
    found = held.ahead()
    assert found is not None
    return found


def test_what_runs_starts_and_waits_is_wanted() -> None:
    state = cluster(0.0, running=8, starting=4, pending=2, stopped=64, completed=128)

    assert wanted(state) == 14


def test_a_cordoned_node_serves_only_the_job_it_has() -> None:
    assert in_service(cluster(0.0, running=8)) == 24
    assert in_service(cluster(0.0, pending=8)) == 16


def test_a_rise_of_every_morning_is_asked_for_before_it_comes() -> None:
    night = ahead(noted(*range(8), until=24))
    before = ahead(noted(*range(8), until=DAY * 9 // 24 - 2))

    assert night.to_add.tolist() == [0, 0, 0]
    assert (before.wanted, before.have) == (8, 24)
    assert before.lead_s == (900.0, 1800.0, 3600.0)
    assert before.gpus[1:, -1].tolist() == [40, 40]
    assert before.to_add[1:].tolist() == [16, 16]


def test_with_an_hour_of_history_nothing_is_said() -> None:
    held = GpusWanted()
    for step in range(12):
        held.note(cluster(MORNING_S + STEP_S * step, running=8))

    assert held.ahead() is None


def test_without_a_scheduler_nothing_is_said() -> None:
    held = noted(0, until=100)
    held.note(None)

    assert held.ahead() is None


def test_what_was_seen_outlives_the_process() -> None:
    """A day without a controller is a gap, and no reason to begin anew."""
    before = noted(*range(3), until=DAY)
    after = GpusWanted.remembering(before.state())
    after.note(cluster(MORNING_S + 4 * DAY * STEP_S, running=8))

    seen = ahead(after)

    assert np.isnan(seen.history_gpus[:-1]).all()
    assert seen.history_gpus[-1] == 8
    assert seen.gpus[0, 0] == 8


@pytest.mark.parametrize("moved_s", [-3600.0, -1e9, 1e9])
def test_a_clock_that_was_set_makes_no_history_up(moved_s: float) -> None:
    held = noted(0, until=100)
    held.note(cluster(MORNING_S + 100 * STEP_S + moved_s, running=24))

    assert held.state()["gpus"].shape == (STEPS,)
    assert held.state()["gpus"][-1] == 24
    assert np.isfinite(held.state()["gpus"]).sum() <= 101


@pytest.mark.parametrize("state", [{"gpus": np.zeros(3), "number": np.zeros(1)}, {"x": np.ones(1)}])
def test_a_memory_that_does_not_fit_is_begun_anew(state: dict[str, np.ndarray]) -> None:
    assert np.isnan(GpusWanted.remembering(state).state()["gpus"]).all()


def test_it_is_shown_to_prometheus_by_lead_and_probability() -> None:
    metrics = Metrics(version="0", mode="test")
    metrics.wants(ahead(noted(*range(8), until=DAY * 9 // 24 - 2)))
    shown = metrics.exposition("")[0].decode()

    assert 'gpumedic_gpus_wanted{lead="30m",level="0.9"} 40.0' in shown
    assert 'gpumedic_gpus_to_add{lead="30m"} 16.0' in shown

    metrics.wants(None)

    assert "lead=" not in metrics.exposition("")[0].decode()


async def test_the_controller_shows_it_and_keeps_it_over_a_restart(
    tmp_path: Path, clock: ManualClock
) -> None:
    """A queue that was seen for two hours: the next process goes on from there."""
    for _ in range(2):
        app = await loop(tmp_path, clock, cluster=FakeCluster(clock))
        for _ in range(13):
            await app.controller.cycle()
            await clock.advance(STEP_S)
        await app.controller.refit()
        seen, page = app.controller.view().demand, app.metrics.exposition("")[0].decode()
        await app.close()

    assert seen is not None
    assert (seen.wanted, seen.have, len(seen.history_gpus)) == (32, 96, 26)
    assert seen.to_add.tolist() == [0, 0, 0]
    assert 'gpumedic_gpus_to_add{lead="60m"} 0.0' in page
