"""The controller and a simulated cluster in one process, on whatever clock there is."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.assembly import Assembly, Inputs, assemble
from agent.config import Settings
from agent.log import start_logging
from agent.thinking_child import TWIN
from agent.thinking_child import warm as warm_policies
from core.clock import Clock, ManualClock, ScaledClock
from detectors.warm import warm as warm_detectors
from sim.engine.jit import is_kept
from sim.port import SimulatedCluster
from sim.scenario import Scenario
from sim.warm import warm as warm_engine
from sim.world import World


@dataclass(frozen=True, slots=True)
class StageSettings:
    """folder: where the controller keeps its state; mode: a word of ``core.types.Autonomy``."""

    folder: Path
    seed: int = 0
    listen: str = "127.0.0.1:8642"
    log_level: str = "warning"
    mode: str = "auto"


@dataclass(slots=True)
class Stage:
    """A world and the controller that looks after it."""

    world: World
    app: Assembly


def compile_all() -> None:
    """Compile what must be, saying so; before a clock runs that nobody stops."""
    for warm in (warm_engine, _warm_decisions, warm_detectors):
        warm(lambda line: print(line, file=sys.stderr))  # noqa: T201 - a person waits meanwhile


def _warm_decisions(tell: Callable[[str], None]) -> None:
    """Compile what looks ahead: the policy within decides until that is done."""
    if not is_kept("remediation.twin.rolling"):
        tell("Compiling decisions and roll-outs, once for this version: one to two minutes.")
        warm_policies((TWIN,))


async def stage(script: Scenario, wanted: StageSettings, *, clock: Clock) -> Stage:
    """Build the world and put the controller before it; the caller runs or drives it."""
    start_logging(level=wanted.log_level, form="auto", clock=clock, stream=sys.stderr)
    compile_all()
    world = World.build(script, seed=wanted.seed)
    cluster = SimulatedCluster(world, clock=clock)
    speed = clock.speed if isinstance(clock, ScaledClock) else 1.0
    usual = Settings()
    # Thinking takes real time, and a quick clock makes minutes of the cluster's out of its seconds.
    thinking_s = (speed - 1) * usual.policy.time_limit
    chosen: dict[str, Any] = {
        "cluster": "demo",
        "state_dir": wanted.folder,
        "server": {"listen": wanted.listen},
        "cycle": {"refit": "5m"},
        "guards": {
            "max_ratio_out": 0.25,
            "evidence_max_age": f"{usual.guards.evidence_max_age + thinking_s:g}s",
        },
        "autonomy": [{"mode": wanted.mode}],
        "log": {"level": wanted.log_level},
    }
    settings = Settings(**chosen)
    inputs = Inputs(sources=(cluster,), event_sources=(cluster,), cluster=cluster)
    return Stage(world, await assemble(settings, inputs, clock=clock, speed=speed))


async def drive(
    app: Assembly,
    clock: ManualClock,
    duration_s: float,
    *,
    each: Callable[[], None] = lambda: None,
) -> None:
    """Cycle and refit at their intervals until the time is over; ``each`` is called in between."""
    cycle = app.settings.cycle
    end_s = clock.monotonic_s() + duration_s
    refit_s = clock.monotonic_s()
    while clock.monotonic_s() < end_s:
        if clock.monotonic_s() >= refit_s:
            await app.controller.refit()
            refit_s += cycle.refit
        await app.controller.cycle()
        await clock.advance(cycle.interval)
        each()
