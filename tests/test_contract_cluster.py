"""What every cluster promises the runner: one suite, run over each implementation there is.

The scenes of ``tests.contract`` are of every kind in the catalogue, so none can be forgotten. A new
implementation is added to ``WARDS`` and, once its hands do every kind, to ``WHOLE``.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import OWNER, ClusterState, NodeCondition
from core.errors import ActionFailed
from core.target import Target
from core.types import Action
from remediation.catalogue import CATALOG, inverse_of, make
from sim.orders import KINDS
from tests.contract import SCENES, Scene, Ward, order, over_http, prepared, simulated
from tests.fakes import FakeCluster
from tests.kubernetes import real_kubernetes
from tests.slurm import real_slurm
from tests.torchrun import launched

KIND = pytest.mark.parametrize("kind", sorted(CATALOG))
WHOLE = pytest.mark.parametrize("build", [simulated, over_http], ids=lambda made: made.__name__)
Build = Callable[[Scene], Ward]


@contextlib.contextmanager
def fake() -> Iterator[Ward]:
    clock = ManualClock()
    cluster = FakeCluster(clock)

    def person(node: str) -> None:
        cluster.by_hand(node, NodeCondition.DRAINED, owner="ada", why="fan")

    yield Ward(cluster, clock, person)


@contextlib.contextmanager
def in_process() -> Iterator[Ward]:
    yield simulated()


@contextlib.contextmanager
def behind_its_api() -> Iterator[Ward]:
    yield over_http()


@pytest.fixture(
    params=[fake, in_process, behind_its_api, real_slurm, real_kubernetes, launched],
    ids=lambda make: str(make.__name__),
)
def ward(request: pytest.FixtureRequest) -> Iterator[Ward]:
    with request.param() as made:
        yield made


async def test_the_state_is_of_this_moment_and_hangs_together(ward: Ward) -> None:
    state = await ward.cluster.state()

    assert state.observed_s == pytest.approx(ward.clock.now_s(), abs=1)
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


async def test_a_restarted_job_runs_again_and_makes_steps(ward: Ward) -> None:
    job = await ward.job()

    restart = order("restart_job", Target(job=job.id))
    assert await ward.shows(restart, within_s=CATALOG["restart_job"].deadline_s)

    again = (await ward.cluster.state()).job(job.id)
    assert again is not None
    assert again.nodes == job.nodes
    if again.step is not None:  # Slurm and Kubernetes do not know what a job has done
        assert await ward.steps_on(job.id, past=again.step, within_s=120)


async def test_a_swap_puts_the_named_spare_in_the_nodes_place(ward: Ward) -> None:
    job = await ward.job()
    bad = job.nodes[1]
    state = await ward.cluster.state()
    spare = next(node.name for node in state.nodes if node.spare)
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


def settled(state: ClusterState) -> tuple[object, ...]:
    """Return what an order may change and what only an order changes."""
    jobs = [(job.id, job.nodes, job.restarts, job.settings, job.service) for job in state.jobs]
    nodes = [
        (node.name, node.condition, node.owner, node.spare, node.mark, node.clocks)
        for node in state.nodes
    ]
    return jobs, nodes, state.rollouts


def test_there_is_a_scene_of_every_kind_and_the_simulator_does_it() -> None:
    assert set(SCENES) == set(CATALOG)
    assert set(CATALOG) <= set(KINDS)


@WHOLE
@KIND
async def test_an_order_that_the_catalogue_allows_shows_within_its_deadline_and_only_once(
    build: Build, kind: str
) -> None:
    ward, known = build(SCENES[kind]), CATALOG[kind]
    asked = await prepared(ward, kind)
    state = await ward.cluster.state()
    assert known.obstacle(asked, state) is None
    assert not known.done(asked, state, ward.clock.now_s() + 1)

    assert await ward.shows(asked, within_s=known.deadline_s)

    before = settled(await ward.cluster.state())
    await ward.cluster.perform(asked)
    assert settled(await ward.cluster.state()) == before


@WHOLE
@pytest.mark.parametrize("kind", [kind for kind in sorted(CATALOG) if CATALOG[kind].inverse])
async def test_an_inverse_brings_back_what_was(build: Build, kind: str) -> None:
    ward, known = build(SCENES[kind]), CATALOG[kind]
    asked = await prepared(ward, kind)
    assert await ward.shows(asked, within_s=known.deadline_s)
    await ward.after(120)

    back = inverse_of(asked, plan_id="p1", step=0)
    if back is None:  # the node was out before: a step of its own took it out
        return
    state = await ward.cluster.state()
    assert CATALOG[back.kind].obstacle(back, state) is None
    assert await ward.shows(back, within_s=CATALOG[back.kind].deadline_s)

    state = await ward.cluster.state()
    if known.restores:
        restored = known.prior(asked, state)
        assert {name: asked.param(name) for name in restored} == dict(restored)
    elif known.takes_out:
        assert (await ward.node(asked.target.node)).condition is NodeCondition.READY
        assert (await ward.node(asked.target.node)).owner == ""
    else:
        assert not known.done(asked, state, ward.clock.now_s())


IMPOSSIBLE = [
    (kind, number) for kind in sorted(SCENES) for number in range(len(SCENES[kind].cannot))
]


@WHOLE
@pytest.mark.parametrize(("kind", "number"), IMPOSSIBLE)
async def test_an_impossible_order_is_refused_and_changes_nothing(
    build: Build, kind: str, number: int
) -> None:
    scene = SCENES[kind]
    ward = build(scene)
    target, params = scene.cannot[number]
    asked = make(kind, target, params, plan_id="p1", step=0)
    before = settled(await ward.cluster.state())

    assert CATALOG[kind].obstacle(asked, await ward.cluster.state()) is not None
    with pytest.raises(ActionFailed, match=kind):
        await ward.cluster.perform(asked)

    assert settled(await ward.cluster.state()) == before


@WHOLE
@pytest.mark.parametrize("kind", [kind for kind in sorted(SCENES) if SCENES[kind].target.node])
async def test_a_persons_hold_outlives_any_order_on_the_node(build: Build, kind: str) -> None:
    scene = SCENES[kind]
    ward = build(scene)
    ward.person(scene.target.node)
    asked = make(kind, scene.target, scene.params, plan_id="p1", step=0)

    with contextlib.suppress(ActionFailed):
        await ward.cluster.perform(asked)
    await ward.after(60)

    node = await ward.node(scene.target.node)
    assert node.condition is not NodeCondition.READY
    assert (node.owner, node.reason) == ("ada", "fan")
