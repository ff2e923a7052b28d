"""The embedded default: the controller, its page and a simulated cluster in one process."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.access import TOKEN_FILE, ensure_token
from agent.config import Settings
from agent.staging import Stage, StageSettings, compile_all, drive, stage
from agent.words import duration
from core.clock import ManualClock, RealClock, ScaledClock
from core.types import OutcomeStatus
from remediation.running.stopgap import has_helped
from sim.baseline import run_unhealed
from sim.library import scenario

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
    script = scenario(wanted.scenario)
    compile_all()
    start_s = RealClock().now_s()
    clock = ScaledClock(start_s=start_s, speed=wanted.speed)
    script = script.starting_at(start_s)
    with tempfile.TemporaryDirectory(prefix="gpumedic-demo-") as folder:
        _let_user_command(Path(folder))
        settings = StageSettings(
            folder=Path(folder),
            seed=wanted.seed,
            listen=wanted.listen,
            log_level=wanted.log_level,
            mode=wanted.mode,
        )
        staged = await stage(script, settings, clock=clock)
        staged.app.controller.tell_person = tell
        ending = (
            f"ends after {duration(wanted.duration_s)}" if wanted.duration_s else "Ctrl-C ends it"
        )
        tell(f"Simulated cluster at http://{wanted.listen} ({ending}) ...")
        await staged.app.service(duration_s=wanted.duration_s).run()
        return _result(staged, wanted.seed)


def _let_user_command(folder: Path) -> None:
    """Take this user's own token, so that `gpumedic pause` finds it from another terminal."""
    token = ensure_token(Settings().state_dir)
    (folder / TOKEN_FILE).touch(0o600)
    (folder / TOKEN_FILE).write_text(token)


async def simulate(name: str, *, seed: int, duration_s: float, tell: Tell) -> DemoResult:
    """Run a scenario as fast as the machine can, on a clock that the cycles move."""
    clock = ManualClock()
    script = scenario(name).starting_at(clock.now_s())
    with tempfile.TemporaryDirectory(prefix="gpumedic-simulate-") as folder:
        staged = await stage(script, StageSettings(folder=Path(folder), seed=seed), clock=clock)
        staged.app.controller.tell_person = tell
        try:
            await drive(staged.app, clock, duration_s)
        finally:
            await staged.app.close()
        return _result(staged, seed)


def _result(staged: Stage, seed: int) -> DemoResult:
    """Say what came of it so far, beside the same cluster left alone."""
    world, controller = staged.world, staged.app.controller
    script = world.scenario
    alone = run_unhealed(script, seed=seed, until_s=world.now_s)
    plans = controller.heal.recent()[::-1]
    helped = [record for record in plans if has_helped(record)]
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
