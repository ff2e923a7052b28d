"""The time of a diagnosis: a hot node under a job, in simulated clusters of growing size."""

import numpy as np

from agent.bench.timing import milliseconds, timed
from core.figures import Row
from core.target import Target
from core.types import Anomaly, Incident, IncidentState, Severity
from rca.diagnose import DiagnoseSettings, diagnose
from sim.scenario import COOLING, FaultSpec, JobSpec, Scenario, node_name
from sim.telemetry import METRICS, readings
from sim.world import World

ONSET_S = 600.0
LOOKED_AT_S = 1500.0
STEP_S = 15.0


def diagnose_rows(sizes: tuple[int, ...], *, runs: int) -> tuple[Row, ...]:
    """Measure one diagnosis for each cluster size in nodes; half of the nodes run one job."""
    return tuple(_row(nodes, runs) for nodes in sizes)


def _row(nodes: int, runs: int) -> Row:
    hot = Target(node=node_name(0, nodes))
    script = Scenario(
        name="bench",
        nodes=nodes,
        racks=max(1, nodes // 16),
        spares=1,
        jobs=(JobSpec("job", nodes=max(1, nodes // 2)),),
        faults=(FaultSpec(COOLING, hot, ONSET_S),),
    )
    world = World.build(script, seed=0)
    now_s = script.start_s + LOOKED_AT_S
    world.advance(now_s)
    time_s = np.arange((now_s - 5400.0) // STEP_S, now_s // STEP_S + 1) * STEP_S
    windows = {window.metric: window for window in readings(world, METRICS, time_s)}
    incident = _incident(hot, script.start_s + ONSET_S + 300.0, now_s)
    state = world.state()
    settings = DiagnoseSettings()

    def work() -> object:
        return diagnose(incident, windows, state, now_s=now_s, settings=settings)

    found = diagnose(incident, windows, state, now_s=now_s, settings=settings)
    first = f"{found.causes[0].fault} on {found.causes[0].target}" if found.causes else "unknown"
    series = sum(len(window.targets) for window in windows.values())
    note = f"{series} series x {len(time_s)}; first cause: {first}"
    return milliseconds(f"diagnosis among {nodes} nodes", timed(work, runs=runs), note=note)


def _incident(hot: Target, start_s: float, now_s: float) -> Incident:
    inlet = "node_inlet_temperature_celsius"
    anomaly = Anomaly(
        hot, inlet, start_s, now_s, 45.0, -20.0, 35.0, 1.0, "static", Severity.WARNING, "hot"
    )
    return Incident(
        id="bench",
        state=IncidentState.OPEN,
        severity=Severity.WARNING,
        opened_s=start_s,
        updated_s=now_s,
        resolved_s=None,
        title="hot",
        targets=(hot,),
        jobs=("job",),
        anomalies=(anomaly,),
    )
