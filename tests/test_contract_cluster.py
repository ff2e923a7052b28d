"""What every cluster promises the runner: one suite, run over each implementation there is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from core.clock import ManualClock
from core.cluster import OWNER, JobPhase, JobState, NodeCondition, NodeState
from core.errors import ActionFailed
from core.ports import Cluster
from core.target import Target
from core.types import Action, Scalar
from remediation.catalogue import CATALOG, make
from remediation.rules import spare_for
from sim.library import scenario
from sim.port import SimulatedCluster
from sim.world import World
from tests.fakes import FakeCluster
from tests.lab import behind_http


@dataclass
class Ward:
    """A cluster under test, with a person at hand and time that passes when told.

    person: takes a node out of service as somebody called ada
    """

    cluster: Cluster
    clock: ManualClock
    person: Callable[[str], None]

    async def after(self, seconds: float) -> None:
        """Let time pass, looking at the cluster now and then as the cycle does."""
        for _ in range(int(seconds // 15)):
            await self.clock.advance(15)
            await self.cluster.state()

    async def job(self) -> JobState:
        """Return a job that runs."""
        state = await self.cluster.state()
        return next(job for job in state.jobs if job.phase is JobPhase.RUNNING)

    async def node(self, name: str) -> NodeState:
        """Return a node as it is now."""
        found = (await self.cluster.state()).node(name)
        assert found is not None
        return found

    async def shows(self, action: Action, *, within_s: float) -> bool:
        """Say whether the action's effect shows within that time from now."""
        started_s = self.clock.now_s()
        kind, perform = CATALOG[action.kind], self.cluster.perform
        await perform(action)
        while self.clock.now_s() < started_s + within_s:
            await self.after(15)
            if kind.done(action, await self.cluster.state(), started_s):
                return True
        return False


def fake() -> Ward:
    clock = ManualClock()
    cluster = FakeCluster(clock)

    def person(node: str) -> None:
        cluster.by_hand(node, NodeCondition.DRAINED, owner="ada", why="fan")

    return Ward(cluster, clock, person)


def simulated() -> Ward:
    script = replace(scenario("quiet"), history_s=7200.0)
    clock = ManualClock(script.start_s)
    world = World.build(script, seed=1)

    def person(node: str) -> None:
        world.cordon(node, by="ada", reason="fan")

    return Ward(SimulatedCluster(world, clock=clock), clock, person)


def over_http() -> Ward:
    ward = simulated()
    assert isinstance(ward.cluster, SimulatedCluster)
    return Ward(behind_http(ward.cluster, clock=ward.clock), ward.clock, ward.person)


@pytest.fixture(params=[fake, simulated, over_http], ids=lambda make: str(make.__name__))
def ward(request: pytest.FixtureRequest) -> Ward:
    made: Ward = request.param()
    return made


def order(kind: str, target: Target, *, step: int = 0, **params: Scalar) -> Action:
    return make(kind, target, params, plan_id="p1", step=step)


async def test_the_state_is_of_this_moment_and_hangs_together(ward: Ward) -> None:
    state = await ward.cluster.state()

    assert state.observed_s == ward.clock.now_s()
    assert {node.name for node in state.nodes} == set(state.topology.nodes)
    assert {job.id for job in state.jobs} == set(state.topology.jobs)
    for job in state.jobs:
        assert set(job.nodes) <= set(state.topology.nodes)
        assert set(state.topology.nodes_of_job(job.id)) == set(job.nodes)
    assert any(node.spare and node.condition is NodeCondition.READY for node in state.nodes)


async def test_a_look_at_the_cluster_does_not_change_later(ward: Ward) -> None:
    name = (await ward.job()).nodes[0]
    before = await ward.cluster.state()

    await ward.cluster.perform(order("cordon", Target(node=name)))
    await ward.after(60)

    found = before.node(name)
    assert found is not None
    assert found.condition is NodeCondition.READY


async def test_a_cordoned_node_is_ours_and_keeps_its_job(ward: Ward) -> None:
    job = await ward.job()

    assert await ward.shows(order("cordon", Target(node=job.nodes[0])), within_s=120)

    node = await ward.node(job.nodes[0])
    assert (node.condition, node.owner) == (NodeCondition.CORDONED, OWNER)
    assert (await ward.job()).nodes == job.nodes


async def test_a_key_that_was_seen_does_nothing_again(ward: Ward) -> None:
    target = Target(node=(await ward.job()).nodes[0])
    cordon = order("cordon", target)
    assert await ward.shows(cordon, within_s=120)
    assert await ward.shows(order("uncordon", target, step=1), within_s=120)

    await ward.cluster.perform(cordon)
    await ward.after(120)

    assert (await ward.node(target.node)).condition is NodeCondition.READY


async def test_what_a_person_took_out_is_not_put_back(ward: Ward) -> None:
    target = Target(node=(await ward.job()).nodes[0])
    ward.person(target.node)

    with pytest.raises(ActionFailed, match="ada"):
        await ward.cluster.perform(order("uncordon", target))

    await ward.after(60)
    assert (await ward.node(target.node)).owner == "ada"


async def test_a_cordon_does_not_take_over_from_a_person(ward: Ward) -> None:
    target = Target(node=(await ward.job()).nodes[0])
    ward.person(target.node)

    await ward.cluster.perform(order("cordon", target))
    await ward.after(60)

    assert (await ward.node(target.node)).owner == "ada"


async def test_a_checkpoint_ordered_now_is_finished_later(ward: Ward) -> None:
    job = await ward.job()

    order_now = order("checkpoint_now", Target(job=job.id))
    assert await ward.shows(order_now, within_s=CATALOG["checkpoint_now"].deadline_s)


async def test_a_restarted_job_runs_again_and_makes_steps(ward: Ward) -> None:
    job = await ward.job()

    restart = order("restart_job", Target(job=job.id))
    assert await ward.shows(restart, within_s=CATALOG["restart_job"].deadline_s)

    again = (await ward.cluster.state()).job(job.id)
    await ward.after(120)
    later = (await ward.cluster.state()).job(job.id)
    assert again is not None
    assert later is not None
    assert again.nodes == job.nodes
    assert (later.step or 0) > (again.step or 0)


async def test_a_swap_puts_the_named_spare_in_the_nodes_place(ward: Ward) -> None:
    job = await ward.job()
    bad = job.nodes[1]
    spare = spare_for(bad, await ward.cluster.state())
    assert await ward.shows(order("cordon", Target(node=bad)), within_s=120)

    swap = order("swap_node", Target(node=bad), step=1, job=job.id, spare=spare)
    assert await ward.shows(swap, within_s=CATALOG["swap_node"].deadline_s)

    state = await ward.cluster.state()
    moved = state.job(job.id)
    assert moved is not None
    assert moved.nodes == tuple(spare if name == bad else name for name in job.nodes)
    assert (await ward.node(bad)).owner == OWNER
    assert not (await ward.node(spare)).spare


@pytest.mark.parametrize(
    "asked",
    [
        order("cordon", Target(node="elsewhere")),
        order("checkpoint_now", Target(job="no-such-job")),
        order("restart_job", Target(job="no-such-job")),
        replace(order("cordon", Target(node="elsewhere")), kind="paint_it_red"),
    ],
    ids=lambda asked: f"{asked.kind}-{asked.target.name}",
)
async def test_what_cannot_be_done_is_said_so(ward: Ward, asked: Action) -> None:
    with pytest.raises(ActionFailed, match=asked.kind):
        await ward.cluster.perform(asked)


async def test_a_swap_without_a_free_spare_is_refused(ward: Ward) -> None:
    job = await ward.job()
    taken = order("swap_node", Target(node=job.nodes[0]), job=job.id, spare=job.nodes[1])

    with pytest.raises(ActionFailed, match="swap_node"):
        await ward.cluster.perform(taken)

    assert (await ward.job()).nodes == job.nodes
