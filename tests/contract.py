"""A cluster under test for the contract of clusters: one scene for every kind of action."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from core.clock import Clock, ManualClock
from core.cluster import ClusterState, JobPhase, JobState, NodeState
from core.ports import Cluster
from core.target import Target
from core.types import Action, Scalar
from remediation.catalogue import CATALOG, make
from sim.port import SimulatedCluster
from sim.scenario import FaultSpec, JobSpec, Machines, Scenario, ServiceSpec, Site
from sim.world import World
from tests.lab import behind_http

LOOK_S = 15.0


@dataclass
class Ward:
    """A cluster under test, with a person at hand and time that passes when told.

    person: takes a node out of service as somebody called ada
    """

    cluster: Cluster
    clock: Clock
    person: Callable[[str], None]

    async def after(self, seconds: float) -> None:
        """Let time pass, looking at the cluster now and then as the cycle does."""
        for _ in range(int(seconds // LOOK_S)):
            if isinstance(self.clock, ManualClock):  # on a real cluster a look is the time it takes
                await self.clock.advance(LOOK_S)
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

    async def steps_on(self, job: str, *, past: float, within_s: float) -> bool:
        """Say whether a job comes past a step within that time from now."""
        until_s = self.clock.now_s() + within_s
        while True:
            found = (await self.cluster.state()).job(job)
            if found is not None and (found.step or 0) > past:
                return True
            if self.clock.now_s() >= until_s:
                return False
            await self.after(LOOK_S)

    async def shows(self, action: Action, *, within_s: float) -> bool:
        """Order an action; say whether its effect shows within that time from now."""
        started_s = self.clock.now_s()
        await self.cluster.perform(action)
        while True:
            if CATALOG[action.kind].done(action, await self.cluster.state(), started_s):
                return True
            if self.clock.now_s() >= started_s + within_s:
                return False
            await self.after(LOOK_S)


Step = tuple[str, Target, Mapping[str, Scalar]]


@dataclass(frozen=True)
class Scene:
    """What is ordered: first, to make it possible; then the action itself; and what cannot be."""

    target: Target
    params: Mapping[str, Scalar] = field(default_factory=dict)
    first: tuple[Step, ...] = ()
    cannot: tuple[tuple[Target, Mapping[str, Scalar]], ...] = ()
    faults: tuple[FaultSpec, ...] = ()
    gpu: int | None = None  # of the target's node, named by its UUID when the cluster is known


def node(number: int) -> Target:
    """Return a node as a target."""
    return Target(node=f"node-{number:02d}")


def named(*numbers: int) -> str:
    """Return nodes as a parameter names them."""
    return ",".join(node(number).node for number in numbers)


BIG, LOW, CHAT = Target(job="big"), Target(job="low"), Target(job="chat")
NOBODY, NOWHERE = Target(job="nobody"), Target(node="elsewhere")
OUT: tuple[Step, ...] = (("cordon", node(1), {}),)
EMPTY: tuple[Step, ...] = (("cordon", node(8), {}),)
IN_TWO: tuple[Step, ...] = (*OUT, ("cordon", node(2), {}))
ROLLOUT = FaultSpec("driver_rollout", Target(), -300.0)

# Nodes 0-3 have job big, 4-5 low, 6 chat, 7-10 are free, 11-13 are spares; two zones.
CONTRACT = Scenario(
    "contract",
    14,
    2,
    3,
    (
        JobSpec("big", 4, kind="elastic", least_nodes=2, most_nodes=6, priority=5),
        JobSpec("low", 2),
        JobSpec("chat", 1, kind="service", service=ServiceSpec(100.0, 4, canary=0.1)),
    ),
    history_s=3600.0,
    machines=Machines(zones=2),
    site=Site(check_recall=1.0),
)

SCENES: Mapping[str, Scene] = {
    "cordon": Scene(node(1), cannot=((NOWHERE, {}),)),
    "uncordon": Scene(node(1), first=OUT, cannot=((NOWHERE, {}),)),
    "drain": Scene(node(1), cannot=((NOWHERE, {}),)),
    "validate_node": Scene(node(8), first=EMPTY, cannot=((node(9), {}), (NOWHERE, {}))),
    "reboot_node": Scene(node(8), first=EMPTY, cannot=((node(0), {}), (NOWHERE, {}))),
    "reboot_under_job": Scene(
        node(1), {"job": "big"}, cannot=((node(1), {"job": "low"}), (node(8), {"job": "low"}))
    ),
    "reset_gpu": Scene(node(8), cannot=((node(8), {}), (NOWHERE, {})), gpu=2),
    "quarantine": Scene(node(8), first=EMPTY, cannot=((node(9), {}), (NOWHERE, {}))),
    "keep_as_spare": Scene(node(8), cannot=((node(11), {}), (node(0), {}), (NOWHERE, {}))),
    "release_spare": Scene(node(12), cannot=((node(8), {}), (NOWHERE, {}))),
    "page_person": Scene(node(1), cannot=((NOBODY, {}), (NOWHERE, {}))),
    "preempt_job": Scene(LOW, cannot=((NOBODY, {}),)),
    "borrow_node": Scene(
        node(1),
        {"job": "big", "spare": named(4), "lender": "low"},
        first=OUT,
        cannot=(
            (node(1), {"job": "big", "spare": named(4), "lender": "chat"}),
            (node(4), {"job": "low", "spare": named(0), "lender": "big"}),
            (node(1), {"job": "big"}),
        ),
    ),
    "checkpoint_now": Scene(BIG, cannot=((NOBODY, {}),)),
    "set_checkpoint_interval": Scene(
        BIG,
        {"interval_s": 300.0},
        cannot=((BIG, {}), (BIG, {"interval_s": 0.0}), (CHAT, {"interval_s": 300.0})),
    ),
    "restart_in_place": Scene(BIG, cannot=((NOBODY, {}),)),
    "restart_job": Scene(BIG, cannot=((NOBODY, {}),)),
    "rollback_job": Scene(BIG, cannot=((NOBODY, {}), (CHAT, {}))),
    "swap_node": Scene(
        node(1),
        {"job": "big", "spare": named(11)},
        first=OUT,
        cannot=(
            (node(1), {"job": "big", "spare": named(8)}),
            (node(1), {"job": "low", "spare": named(11)}),
            (NOWHERE, {"job": "big", "spare": named(11)}),
        ),
    ),
    "swap_nodes": Scene(
        BIG,
        {"nodes": named(1, 2), "spares": named(11, 12)},
        first=IN_TWO,
        cannot=(
            (BIG, {"nodes": named(1, 2), "spares": named(11)}),
            (BIG, {"nodes": named(1, 4), "spares": named(11, 12)}),
            (BIG, {"nodes": named(1, 2), "spares": named(11, 8)}),
        ),
    ),
    "evict_rank": Scene(
        node(1),
        {"job": "big"},
        cannot=((node(4), {"job": "low"}), (node(1), {"job": "big", "spare": named(8)})),
    ),
    "shrink_job": Scene(
        BIG,
        {"nodes": 3, "leave": named(1)},
        cannot=((BIG, {"nodes": 1}), (BIG, {"nodes": 4}), (LOW, {"nodes": 1}), (BIG, {})),
    ),
    "grow_job": Scene(
        BIG, {"nodes": 6}, cannot=((BIG, {"nodes": 7}), (BIG, {"nodes": 4}), (LOW, {"nodes": 3}))
    ),
    "move_job": Scene(
        LOW,
        {"nodes": named(9, 8)},
        cannot=((LOW, {"nodes": named(9)}), (LOW, {"nodes": named(0, 9)}), (LOW, {})),
    ),
    "tune_job": Scene(
        BIG,
        {"loaders": 2.0, "accumulate": 2.0},
        cannot=((BIG, {}), (BIG, {"loaders": 99.0}), (CHAT, {"batch": 2.0})),
    ),
    "set_compression": Scene(
        BIG, {"on": True}, cannot=((BIG, {}), (BIG, {"on": 1}), (CHAT, {"on": True}))
    ),
    "scale_service": Scene(
        CHAT, {"replicas": 6}, cannot=((CHAT, {"replicas": 9}), (BIG, {"replicas": 2}))
    ),
    "set_service_batch": Scene(
        CHAT, {"batch": 16.0}, cannot=((CHAT, {"batch": 0.0}), (BIG, {"batch": 2.0}))
    ),
    "set_cache": Scene(
        CHAT, {"cache": 0.5}, cannot=((CHAT, {"cache": 0.9}), (LOW, {"cache": 0.1}))
    ),
    "shift_canary": Scene(
        CHAT, {"share": 0.0}, cannot=((CHAT, {"share": 1.5}), (BIG, {"share": 0.0}))
    ),
    "limit_clocks": Scene(
        node(1), {"share": 0.9}, cannot=((node(1), {"share": 0.1}), (NOWHERE, {"share": 0.9}))
    ),
    "limit_power": Scene(
        node(1), {"watts": 600.0}, cannot=((node(1), {"watts": 9000.0}), (NOWHERE, {"watts": 600}))
    ),
    "stop_rollout": Scene(Target(), faults=(ROLLOUT,)),
}


def about_nodes(kind: str) -> bool:
    """Say whether an order of the kind is about a node."""
    return kind in SCENES and SCENES[kind].target.node != ""


def plain(kind: str) -> tuple[tuple[str, Scalar], ...]:
    """Return the parameters of a kind's scene that name nothing of its cluster."""
    params = SCENES[kind].params if kind in SCENES else {}
    return tuple(item for item in params.items() if not isinstance(item[1], str))


def order(kind: str, target: Target, *, step: int = 0, **params: Scalar) -> Action:
    """Return a step of the plan p1."""
    return make(kind, target, params, plan_id="p1", step=step)


def simulated(scene: Scene | None = None) -> Ward:
    """Return the simulated cluster of a scene, within the process."""
    script = replace(CONTRACT, faults=() if scene is None else scene.faults)
    clock = ManualClock(script.start_s)
    world = World.build(script, seed=1)

    def person(node: str) -> None:
        world.cordon(node, by="ada", reason="fan")

    return Ward(SimulatedCluster(world, clock=clock), clock, person)


def over_http(scene: Scene | None = None) -> Ward:
    """Return the same behind the scheduler's API."""
    ward = simulated(scene)
    assert isinstance(ward.cluster, SimulatedCluster)
    return Ward(behind_http(ward.cluster, clock=ward.clock), ward.clock, ward.person)


async def prepared(ward: Ward, kind: str) -> Action:
    """Do what a scene needs first; return its action with the state before it."""
    scene = SCENES[kind]
    for number, (first, target, params) in enumerate(scene.first):
        made = make(first, target, params, plan_id="p0", step=number)
        assert await ward.shows(made, within_s=made.deadline_s)
    state: ClusterState = await ward.cluster.state()
    target = scene.target
    if scene.gpu is not None:
        target = replace(target, gpu=state.topology.gpus_of_node(target.node)[scene.gpu])
    asked = make(kind, target, scene.params, plan_id="p1", step=0)
    prior = CATALOG[kind].prior(asked, state)
    return make(kind, target, {**scene.params, **prior}, plan_id="p1", step=0)
