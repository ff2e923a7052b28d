"""Small scenarios and made-up results for the tests of experiments."""

from dataclasses import replace

import numpy as np

from agent.experiments.results import FaultSeen, JobSpan, Order, RunResult, RunSpec, Timeline
from core.target import Target
from sim.scenario import XID_79, FaultSpec, JobSpec, Scenario

HOUR_S = 3600.0
SMALL = Scenario(
    name="small",
    nodes=4,
    racks=2,
    spares=1,
    jobs=(JobSpec("llm", nodes=3),),
    faults=(FaultSpec(XID_79, Target(node="node-01", gpu="2"), onset_s=600.0),),
    history_s=HOUR_S,
    text="a GPU falls off the bus",
    best="swap the node",
    policy="none",
)


def spec(seed: int = 0, *, policy: str = "none", hours: float = 1.0) -> RunSpec:
    """Return a run of the small scenario with what its site does by itself."""
    return RunSpec(SMALL, seed, policy, "none", hours * HOUR_S)


def result(seed: int = 0, *, policy: str = "none", goodput: float = 0.8) -> RunResult:
    """Return what could have come of a run, made up: a day, one fault, one action."""
    end_s = 24 * HOUR_S
    time_s = np.linspace(end_s / 4, end_s, 4)
    return RunResult(
        scenario="made-up",
        seed=seed,
        policy=policy,
        telemetry="none",
        settings=(),
        nodes=4,
        gpus=32,
        simulated_s=end_s,
        wall_s=1.0,
        cpu_s=0.5,
        goodput_ratio=goodput,
        ettr_ratio=goodput,
        baseline_goodput_ratio=0.5,
        lost_gpu_s=(1 - goodput) * 24 * end_s,
        baseline_lost_gpu_s=12 * end_s,
        interruptions=1,
        faults_struck=1,
        faults_mended=1,
        incidents=1,
        diagnosed=1,
        actions=1,
        verified=1,
        first_verified_s=900.0,
        jobs_done=0,
        jobs_waiting=0,
        uses_gpu_s=(("idle", 8 * end_s), ("held", 24 * end_s), ("down", 0.0), ("repair", 0.0)),
        losses_gpu_s=(("start", 0.2 * 24 * end_s), ("redone", 0.0)),
        faults=(FaultSeen(XID_79, "node-01", HOUR_S, 2 * HOUR_S),),
        orders=(Order("swap_node", "node-01", HOUR_S, HOUR_S + 60, True, "plan 1"),),
        timeline=Timeline(time_s, np.full(4, goodput), np.array([0, 1, 0, 0])),
        spans=(JobSpan("llm", 24, "running", 0.0, end_s),),
    )


def without_times(found: RunResult) -> RunResult:
    """Return the result less the time it took: that alone may differ between two machines."""
    return replace(found, wall_s=0.0, cpu_s=0.0)
