"""What was done in vain is not done again for a while, and does not hold up what else can be."""

from pathlib import Path

from agent.assembly import Assembly
from core.choice import Choice
from core.clock import ManualClock
from core.target import Target
from core.types import PlanRecord, PlanState
from remediation.deciding.choosing import ChoosingPolicy
from remediation.deciding.turns import RETRY_AFTER_S
from remediation.policies.thumb import Thumb
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec, JobSpec, Scenario
from sim.world import World
from tests.loop import CYCLE_S, ScriptedEvents, cycles, loop, xid

NODE, HUNG_S = "node-00", 600.0
SOUND = Scenario("sound", 4, 1, 1, (JobSpec("train", 2, checkpoint_interval_s=300.0),))
# The job hangs after ten minutes, and nothing but the kernel's word on a GPU says so.
HANGS = Scenario(
    "hangs", 4, 1, 1, SOUND.jobs, (FaultSpec("silent_hang", Target(job="train"), HUNG_S),)
)
GUARDS = {"max_ratio_out": 0.5}


class Trouble:
    """A simulated job with a GPU that is told of at every cycle, and the controller before it."""

    def __init__(self, folder: Path, script: Scenario, *choices: Choice) -> None:
        self.folder, self.clock = folder, ManualClock()
        world = World.build(script.starting_at(self.clock.now_s()), seed=1)
        self.cluster = SimulatedCluster(world, clock=self.clock)
        self.events, self.choices = ScriptedEvents(), choices
        self.app: Assembly

    async def begins(self) -> None:
        """Start the controller, or start it again on what the last one left."""
        self.app = await loop(
            self.folder, self.clock, events=[self.events], cluster=self.cluster,
            autonomy=[{"mode": "auto"}], guards=GUARDS,
        )  # fmt: skip
        self.app.controller.heal.policy = ChoosingPolicy(Thumb("test", *self.choices))

    async def goes_on(self, count: int) -> None:
        for _ in range(count):
            gpu = (await self.cluster.state()).topology.gpus[0]
            self.events.next = [xid(NODE, gpu, time_s=self.clock.now_s())]
            await cycles(self.app, self.clock, 1)

    def plans(self) -> list[PlanRecord]:
        found = self.app.controller.heal.recent()
        return sorted(found, key=lambda each: each.plan.made_at_s)

    async def until_over(self) -> PlanRecord:
        """Go on until the first plan is over."""
        for _ in range(30):
            await self.goes_on(1)
            first, *_ = self.plans()
            if first.state.final:
                return first
        raise AssertionError("the first plan goes on for 30 cycles")

    async def journal(self, record: PlanRecord) -> dict[str, str]:
        entries = await self.app.controller.store.entries(record.plan.incident_id)
        return {each.kind: each.text for each in entries if each.plan_id == record.plan.id}


async def trouble(folder: Path, script: Scenario, *choices: Choice) -> Trouble:
    """Return the trouble of a job that has run for long enough to hang."""
    made = Trouble(folder, script, *choices)
    await made.clock.advance(HUNG_S + 60.0)
    await made.begins()
    return made


def kinds(record: PlanRecord) -> list[str]:
    return [action.kind for action in record.plan.actions]


async def test_a_save_in_vain_is_over_at_once_and_something_else_is_done(tmp_path: Path) -> None:
    seen = await trouble(tmp_path, HANGS, Choice.CHECKPOINT, Choice.RESTART)

    saves = await seen.until_over()
    await seen.goes_on(2)

    restarts = seen.plans()[1]
    told = await seen.journal(saves)
    assert (saves.state, kinds(saves)) == (PlanState.FAILED, ["checkpoint_now"])
    assert saves.since_s - saves.plan.made_at_s <= 2 * CYCLE_S
    assert "plan.verifying" not in told
    assert "none of its steps took effect: checkpoint_now job train failed" in told["plan.failed"]
    assert "makes no steps" in told["plan.failed"]
    assert kinds(restarts)[-1].startswith("restart")
    assert restarts.plan.incident_id == saves.plan.incident_id
    assert restarts.plan.made_at_s - saves.since_s <= 2 * CYCLE_S
    await seen.app.close()


async def test_what_else_there_is_is_done_by_the_next_process_too(tmp_path: Path) -> None:
    seen = await trouble(tmp_path, HANGS, Choice.CHECKPOINT, Choice.RESTART)
    saves = await seen.until_over()
    await seen.app.close()

    await seen.begins()
    await seen.goes_on(2)

    assert [kinds(each)[-1] for each in seen.plans()] == ["checkpoint_now", "restart_job"]
    assert seen.plans()[1].plan.made_at_s - saves.since_s <= 2 * CYCLE_S
    await seen.app.close()


async def test_the_same_in_vain_is_not_done_again_for_a_while(tmp_path: Path) -> None:
    """A new process in between knows as well what was tried, from the store."""
    seen = await trouble(tmp_path, HANGS, Choice.CHECKPOINT)
    first = await seen.until_over()
    await seen.goes_on(int(RETRY_AFTER_S / CYCLE_S / 2))
    await seen.app.close()

    await seen.begins()
    await seen.goes_on(int(RETRY_AFTER_S / CYCLE_S))

    again = seen.plans()[1]
    assert [kinds(each) for each in seen.plans()] == [["checkpoint_now"]] * 2
    assert again.plan.made_at_s - first.since_s >= RETRY_AFTER_S
    await seen.app.close()


async def test_what_is_saved_is_saved_and_the_trouble_decided_on_anew(tmp_path: Path) -> None:
    """Nothing is verified: to save ends no trouble, and nobody waits to see whether it has."""
    seen = await trouble(tmp_path, SOUND, Choice.CHECKPOINT, Choice.SWAP)

    saves = await seen.until_over()
    await seen.goes_on(2)

    told = await seen.journal(saves)
    assert (saves.state, kinds(saves)) == (PlanState.DONE, ["checkpoint_now"])
    assert told["plan.done"] == "done: the work is saved"
    assert "plan.verifying" not in told
    assert "swap_node" in kinds(seen.plans()[1])
    assert seen.plans()[1].plan.made_at_s - saves.since_s <= 2 * CYCLE_S
    await seen.app.close()
