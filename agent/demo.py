"""The embedded default: the controller, its page and a simulated cluster in one process."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.access import TOKEN_FILE, ensure_token
from agent.assembly import Assembly, Inputs, assemble
from agent.config import Settings
from agent.log import start_logging
from core.clock import Clock, ManualClock, RealClock, ScaledClock
from core.types import OutcomeStatus, PlanState
from sim.baseline import run_unhealed
from sim.port import SimulatedCluster
from sim.scenario import Scenario, scenario
from sim.world import World

Tell = Callable[[str], None]

# A real second is a simulated minute: a fault is found, healed and verified while one watches.
SPEED = 60.0


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """duration_s: real seconds, 0 for until interrupted; speed: simulated seconds in a real one.

    mode: how far it may go with every action, a word of ``core.types.Autonomy``
    """

    scenario: str = "demo"
    seed: int = 0
    duration_s: float = 0.0
    speed: float = SPEED
    listen: str = "127.0.0.1:8642"
    log_level: str = "warning"
    mode: str = "auto"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What came of it, on the cluster's own clock.

    actions: that were carried out; verified: plans that helped, proven by the symptoms and the job
    baseline_*: the same scenario, seed and time with no healing: a stopped job stays stopped
    first_verified_s: from the agent's start to the first plan that helped; None: none did yet
    """

    scenario: str
    seed: int
    simulated_s: float
    faults: tuple[str, ...]
    incidents: int
    diagnosed: int
    actions: int
    verified: int
    first_verified_s: float | None
    goodput_ratio: float
    baseline_goodput_ratio: float
    lost_gpu_s: float
    baseline_lost_gpu_s: float
    plans: tuple[str, ...]


async def demo(wanted: DemoSettings, *, tell: Tell = lambda line: None) -> DemoResult:
    """Run a scenario in scaled time behind the page; return what came of it."""
    start_s = RealClock().now_s()
    clock = ScaledClock(start_s=start_s, speed=wanted.speed)
    script = scenario(wanted.scenario).starting_at(start_s)
    with tempfile.TemporaryDirectory(prefix="gpumedic-demo-") as folder:
        _let_user_command(Path(folder))
        stage = await _stage(script, wanted, clock=clock, folder=Path(folder))
        stage.app.controller.tell_person = tell
        await stage.app.service(duration_s=wanted.duration_s).run()
        return stage.result(wanted.seed)


def _let_user_command(folder: Path) -> None:
    """Take this user's own token, so that `gpumedic pause` finds it from another terminal."""
    token = ensure_token(Settings().state_dir)
    (folder / TOKEN_FILE).touch(0o600)
    (folder / TOKEN_FILE).write_text(token)


async def simulate(name: str, *, seed: int, duration_s: float, tell: Tell) -> DemoResult:
    """Run a scenario as fast as the machine can, on a clock that the cycles move."""
    clock = ManualClock()
    script = scenario(name).starting_at(clock.now_s())
    wanted = DemoSettings(scenario=name, seed=seed)
    with tempfile.TemporaryDirectory(prefix="gpumedic-simulate-") as folder:
        stage = await _stage(script, wanted, clock=clock, folder=Path(folder))
        stage.app.controller.tell_person = tell
        try:
            await _drive(stage.app, clock, duration_s)
        finally:
            await stage.app.close()
        return stage.result(seed)


@dataclass(slots=True)
class _Stage:
    """A world and the controller that looks after it."""

    world: World
    app: Assembly

    def result(self, seed: int) -> DemoResult:
        """Say what came of it so far, beside the same cluster left alone."""
        world, controller = self.world, self.app.controller
        script = world.scenario
        alone = run_unhealed(script, seed=seed, until_s=world.now_s)
        plans = controller.heal.recent()[::-1]
        helped = [record for record in plans if record.state is PlanState.DONE]
        done = [o for r in plans for o in r.outcomes if o.status is OutcomeStatus.SUCCEEDED]
        return DemoResult(
            scenario=script.name,
            seed=seed,
            simulated_s=world.now_s - script.start_s,
            faults=tuple(f"{t.fault} on {t.target}" for t in world.truth),
            incidents=len(controller.watch.recent()),
            diagnosed=len(controller.watch.diagnoses),
            actions=len(done),
            verified=len(helped),
            first_verified_s=min((r.since_s - script.start_s for r in helped), default=None),
            goodput_ratio=world.goodput(),
            baseline_goodput_ratio=alone.goodput_ratio,
            lost_gpu_s=world.lost_gpu_s,
            baseline_lost_gpu_s=alone.lost_gpu_s,
            plans=tuple(f"{r.state}: {r.plan.rationale}" for r in plans),
        )


async def _stage(script: Scenario, wanted: DemoSettings, *, clock: Clock, folder: Path) -> _Stage:
    start_logging(level=wanted.log_level, form="auto", clock=clock, stream=sys.stderr)
    world = World.build(script, seed=wanted.seed)
    cluster = SimulatedCluster(world, clock=clock)
    chosen: dict[str, Any] = {
        "cluster": "demo",
        "state_dir": folder,
        "server": {"listen": wanted.listen},
        "cycle": {"refit": "5m"},
        "forecast": {"max_fits": 8},
        "guards": {"max_ratio_out": 0.25},
        "autonomy": [{"mode": wanted.mode}],
        "log": {"level": wanted.log_level},
    }
    settings = Settings(**chosen)
    inputs = Inputs(sources=(cluster,), event_sources=(cluster,), cluster=cluster)
    speed = clock.speed if isinstance(clock, ScaledClock) else 1.0
    return _Stage(world, await assemble(settings, inputs, clock=clock, speed=speed))


async def _drive(app: Assembly, clock: ManualClock, duration_s: float) -> None:
    """Cycle and refit at their intervals until the time is over."""
    cycle = app.settings.cycle
    end_s = clock.monotonic_s() + duration_s
    refit_s = clock.monotonic_s()
    while clock.monotonic_s() < end_s:
        if clock.monotonic_s() >= refit_s:
            await app.controller.refit()
            refit_s += cycle.refit
        await app.controller.cycle()
        await clock.advance(cycle.interval)
