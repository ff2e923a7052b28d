"""Mechanisms are learned beside the cycle from what no incident touches, for later diagnoses."""

from pathlib import Path

import numpy as np
import pytest

from agent.history import History
from agent.mechanics import EVERY_S, GUARD_S, MOST_NODES, Mechanics, sampled
from agent.metrics import Metrics
from core.clock import ManualClock
from core.target import Target
from core.topology import flat_topology
from core.types import Event, Floats, Incident, IncidentState, Severity, Window
from rca.graph.links import TEMPLATES
from tests.fakes import FakeCluster
from tests.loop import ScriptedSource, cycles, loop

STEP_S, START_S, NODES = 15.0, 1_700_000_000.0, 6
INLET, GPU = "node_inlet_temperature_celsius", "gpu_temperature_celsius"
SHAPE = flat_topology({f"n{number}": (f"gn{number}",) for number in range(NODES)})
HOUR = int(EVERY_S / STEP_S)


def filled(gain: Floats) -> tuple[History, float]:
    """(T,) what each degree of the inlet makes of the GPUs at each row; and the end of the rows."""
    rng = np.random.default_rng(0)
    time_s: Floats = START_S + STEP_S * np.arange(len(gain), dtype=np.float64)
    inlet = 22 + rng.normal(size=(NODES, len(gain)))
    history, end_s = History(None, step_s=STEP_S, span_s=4 * EVERY_S), float(time_s[-1])
    nodes = tuple(Target(node=f"n{number}") for number in range(NODES))
    gpus = tuple(Target(node=node.node, gpu=f"g{node.node}") for node in nodes)
    heat = 60 + gain * (inlet - 22) + rng.normal(0, 0.1, inlet.shape)
    history.merge(Window(INLET, nodes, time_s, inlet), now_s=end_s)
    history.merge(Window(GPU, gpus, time_s, heat), now_s=end_s)
    return history, end_s


def mechanics(history: History) -> Mechanics:
    return Mechanics(history, Metrics(version="0", mode="controller"))


def learned(found: Mechanics) -> float:
    """What a lasting degree more of the inlet makes of a GPU."""
    assert found.mechanisms is not None
    ((link, gain),) = found.mechanisms.gain.items()
    assert (link.cause, link.effect) == (INLET, GPU)
    return float(gain.sum()) if gain[1:].any() else float(gain[0])


def incident(
    *targets: Target, began_s: float, resolved_s: float | None = None, jobs: tuple[str, ...] = ()
) -> Incident:
    return Incident(
        id="one",
        state=IncidentState.OPEN if resolved_s is None else IncidentState.RESOLVED,
        severity=Severity.WARNING,
        opened_s=began_s + 60.0,
        updated_s=began_s + 60.0,
        resolved_s=resolved_s,
        title="hot",
        targets=targets,
        jobs=jobs,
        events=(Event(targets[0], began_s, "xid", "79", "gone", Severity.CRITICAL),),
    )


@pytest.mark.parametrize("touched", ["nodes", "cluster"])
async def test_what_an_incident_touches_is_not_learned(touched: str) -> None:
    """For its last half hour no GPU follows its inlet; an incident is open on them all."""
    history, end_s = filled(np.where(np.arange(HOUR + 40) < HOUR // 2 + 40, 3.0, 0.0))
    where = tuple(Target(node=f"n{number}") for number in range(NODES))
    began_s = START_S + (HOUR // 2 + 40) * STEP_S + GUARD_S / 2
    broken = incident(*(where if touched == "nodes" else (Target(),)), began_s=began_s)
    told, untold = mechanics(history), mechanics(history)

    await told.refit(end_s, SHAPE, (broken,), TEMPLATES)
    await untold.refit(end_s, SHAPE, (), TEMPLATES)

    assert learned(told) == pytest.approx(3.0, abs=0.1)
    assert learned(untold) < 2.5


async def test_each_hour_adds_to_what_is_known() -> None:
    history, end_s = filled(np.where(np.arange(2 * HOUR + 40) < HOUR + 40, 3.0, 0.0))
    found, new = mechanics(history), mechanics(history)

    await found.refit(end_s - EVERY_S, SHAPE, (), TEMPLATES)
    first = learned(found)
    await found.refit(end_s - EVERY_S + 240.0, SHAPE, (), TEMPLATES)
    assert learned(found) == first
    await found.refit(end_s, SHAPE, (), TEMPLATES)
    await new.refit(end_s, SHAPE, (), TEMPLATES)

    assert first == pytest.approx(3.0, abs=0.1)
    assert learned(found) == pytest.approx(1.5, abs=0.3)
    assert learned(new) < 0.7
    shown = found.metrics.registry.get_sample_value
    assert shown("gpumedic_mechanisms_fitted_timestamp_seconds") == end_s - GUARD_S
    assert shown("gpumedic_mechanisms", {"law": "straight"}) is not None


async def test_a_short_past_is_left_to_the_diagnosis() -> None:
    history, end_s = filled(np.full(HOUR // 2, 3.0))
    found = mechanics(history)

    await found.refit(end_s, SHAPE, (), TEMPLATES)

    assert found.mechanisms is None


async def test_other_links_are_what_is_fitted_next() -> None:
    history, end_s = filled(np.full(2 * HOUR + 40, 3.0))
    found = mechanics(history)
    await found.refit(end_s - EVERY_S, SHAPE, (), TEMPLATES)

    await found.refit(end_s, SHAPE, (), tuple(t for t in TEMPLATES if t.effect != GPU))

    assert found.mechanisms is not None
    assert not found.mechanisms.gain


def test_of_a_large_cluster_nodes_far_apart_and_whole_jobs_are_looked_at() -> None:
    gpus_of = {f"n{number}": (f"g{number}",) for number in range(200)}
    small = {f"small-{first}": [f"g{first + n}" for n in range(8)] for first in (0, 8, 120)}
    big = [f"g{number}" for number in range(130, 200)]

    wanted = sampled(flat_topology(gpus_of, {**small, "big": big}))

    nodes = [number for number in range(200) if wanted(Target(node=f"n{number}"))]
    assert 40 <= len(nodes) <= MOST_NODES
    assert max(np.diff(nodes)) <= 7
    assert {0, 7, 8, 15, 120, 127, 199} <= {*nodes}
    assert all(wanted(Target(job=job)) for job in small)
    assert not wanted(Target(job="big"))
    assert not wanted(Target(node="n199", job="big", rank="69"))


async def test_the_controller_hands_over_what_it_learned(
    tmp_path: Path, clock: ManualClock
) -> None:
    values = {
        (INLET, Target(node="node-0")): lambda at: 22 + np.sin(at / 97),
        (GPU, Target(node="node-0", gpu="GPU-0")): lambda at: 60 + 3 * np.sin(at / 97),
    }
    app = await loop(tmp_path, clock, sources=[ScriptedSource(values)], cluster=FakeCluster(clock))
    watch = app.controller.watch
    assert watch.knowledge(clock.now_s()).mechanisms is None

    await cycles(app, clock, 1)
    await app.controller.refit()

    mechanisms = watch.knowledge(clock.now_s()).mechanisms
    assert mechanisms is not None
    shown = app.metrics.registry.get_sample_value
    by_law = [shown("gpumedic_mechanisms", {"law": law}) or 0 for law in ("straight", "bent")]
    assert sum(by_law) == len(mechanisms.gain) == 1
    await app.close()
