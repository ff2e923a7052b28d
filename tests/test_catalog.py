"""Every action says when it cannot be done, when it is done, what it costs and what undoes it."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, ServiceState
from core.target import Target
from core.types import Action, Scalar
from remediation.catalogue import CATALOG, Effect, first_obstacle, inverse_of, make
from remediation.catalogue.costs import recompute_s, restart_s
from tests.fakes import FakeCluster
from tests.healing import NOW_S

NODE, JOB = Target(node="node-1"), Target(job="train")
SWAP_PARAMS: dict[str, Scalar] = {"job": "train", "spare": "node-10"}


def action(kind: str, target: Target = NODE, **params: Scalar) -> Action:
    return make(kind, target, params, plan_id="p1", step=0)


TUNED: dict[str, Scalar] = {"loaders": 2.0, "prior_loaders": 1.0}
EVERY = {
    "cordon": action("cordon"),
    "uncordon": action("uncordon"),
    "drain": action("drain"),
    "validate_node": action("validate_node"),
    "reboot_node": action("reboot_node"),
    "reboot_under_job": action("reboot_under_job", NODE, job="train"),
    "reset_gpu": action("reset_gpu", Target(node="node-1", gpu="GPU-8")),
    "quarantine": action("quarantine"),
    "keep_as_spare": action("keep_as_spare", Target(node="node-7")),
    "release_spare": action("release_spare", Target(node="node-10")),
    "page_person": action("page_person"),
    "preempt_job": action("preempt_job", JOB),
    "borrow_node": action("borrow_node", NODE, job="train", spare="node-8", lender="small"),
    "checkpoint_now": action("checkpoint_now", JOB),
    "set_checkpoint_interval": action(
        "set_checkpoint_interval", JOB, interval_s=300.0, prior_interval_s=600.0
    ),
    "restart_in_place": action("restart_in_place", JOB),
    "restart_job": action("restart_job", JOB),
    "rollback_job": action("rollback_job", JOB),
    "swap_node": action("swap_node", NODE, **SWAP_PARAMS),
    "swap_nodes": action("swap_nodes", JOB, nodes="node-1,node-2", spares="node-10,node-11"),
    "evict_rank": action("evict_rank", NODE, **SWAP_PARAMS),
    "shrink_job": action("shrink_job", JOB, nodes=3, leave="node-1", prior_nodes=4),
    "grow_job": action("grow_job", JOB, nodes=5, prior_nodes=4),
    "move_job": action("move_job", JOB, nodes="node-3,node-2,node-1,node-0"),
    "tune_job": action("tune_job", JOB, **TUNED),
    "set_compression": action("set_compression", JOB, on=True, prior_on=False),
    "scale_service": action("scale_service", JOB, replicas=3, prior_replicas=2),
    "set_service_batch": action("set_service_batch", JOB, batch=16.0, prior_batch=32.0),
    "set_cache": action("set_cache", JOB, cache=0.2, prior_cache=0.0),
    "shift_canary": action("shift_canary", JOB, share=0.0, prior_share=0.1),
    "limit_clocks": action("limit_clocks", NODE, share=0.9, prior_share=1.0),
    "limit_power": action("limit_power", NODE, watts=600.0, prior_watts=0.0),
    "stop_rollout": action("stop_rollout", Target()),
}


@pytest.fixture
def cluster(clock: ManualClock) -> FakeCluster:
    return FakeCluster(clock)


def with_job(cluster: FakeCluster, **changes: object) -> JobState:
    cluster.jobs["train"] = replace(cluster.jobs["train"], **changes)  # type: ignore[arg-type]
    return cluster.jobs["train"]


def obstacle(kind: str, state: ClusterState, asked: Action | None = None) -> str:
    found = CATALOG[kind].obstacle(asked or EVERY[kind], state)
    return "" if found is None else f"{found.reason} {found.remedy}"


@pytest.mark.parametrize("kind", sorted(CATALOG))
def test_every_kind_is_whole(kind: str) -> None:
    known = CATALOG[kind]

    assert known.name == kind
    assert known.deadline_s > 0
    assert known.inverse in ("", *CATALOG)
    assert all((known.text, known.source, known.verified))
    assert bool(known.restores) <= bool(known.inverse)
    assert known.disruptive == (known.effect is Effect.DISRUPTS)
    assert known.disruptive or not (known.takes_out or known.stops_job)


def test_the_examples_are_of_every_kind() -> None:
    assert set(EVERY) == set(CATALOG)


@pytest.mark.parametrize("kind", sorted(CATALOG))
def test_an_inverse_never_takes_anything_out_and_restores_what_was(kind: str) -> None:
    back = inverse_of(EVERY[kind], plan_id="p1", step=0)

    assert (back is None) == (CATALOG[kind].inverse == "")
    assert back is None or not CATALOG[back.kind].takes_out
    carried = {name: value for name, value in EVERY[kind].params if name.startswith("prior_")}
    assert back is None or dict(back.params) == {
        name.removeprefix("prior_"): value for name, value in carried.items()
    }


async def test_what_was_out_before_is_not_put_back(cluster: FakeCluster) -> None:
    cluster.by_hand("node-1", NodeCondition.DRAINED, owner="site")
    prior = CATALOG["cordon"].prior(EVERY["cordon"], await cluster.state())

    assert inverse_of(action("cordon", NODE, **prior), plan_id="p1", step=0) is None


@pytest.mark.parametrize("kind", sorted(CATALOG))
async def test_what_was_before_is_told_as_the_inverse_needs_it(
    kind: str, cluster: FakeCluster
) -> None:
    with_job(cluster, interval_s=600.0, service=ServiceState(2, 2, 1, 4, 32.0))
    prior = CATALOG[kind].prior(EVERY[kind], await cluster.state())

    assert all(name.startswith("prior_") for name in prior)
    told = {name.removeprefix("prior_") for name in prior} - {"out"}
    assert told == set(CATALOG[kind].restores) & (told | set(dict(EVERY[kind].params)))


def test_the_same_step_always_has_the_same_key() -> None:
    again = make("swap_node", NODE, dict(reversed(SWAP_PARAMS.items())), plan_id="p1", step=0)
    keys = {
        make("cordon", NODE, {}, plan_id=plan, step=step).key
        for plan in ("p1", "p2")
        for step in range(3)
    }
    back = inverse_of(EVERY["cordon"], plan_id="p1", step=0)

    assert again == EVERY["swap_node"]
    assert len(keys) == 6
    assert back is not None
    assert back.key == "p1:-1:uncordon"


async def test_a_thing_the_scheduler_does_not_know_is_refused(cluster: FakeCluster) -> None:
    state = await cluster.state()

    for kind in ("cordon", "uncordon", "reboot_node", "swap_node"):
        asked = action(kind, Target(node="elsewhere"), **SWAP_PARAMS)
        assert "knows no such node among its 12" in obstacle(kind, state, asked)
    for kind in ("checkpoint_now", "restart_job"):
        asked = action(kind, Target(job="j9"))
        assert "has no job j9 among its 1" in obstacle(kind, state, asked)
    assert "no job (none named)" in obstacle("swap_node", state, action("swap_node"))


async def test_a_job_that_cannot_be_told_to_save_is_not(cluster: FakeCluster) -> None:
    with_job(cluster, saves=False)
    state = await cluster.state()
    assert "nobody has said how it is told to save" in obstacle("checkpoint_now", state)
    assert obstacle("restart_job", state) == ""


async def test_what_can_be_done_has_no_obstacle(cluster: FakeCluster) -> None:
    state = await cluster.state()
    for kind in ("cordon", "checkpoint_now", "restart_job"):
        assert obstacle(kind, state) == ""

    cluster.by_hand("node-1", NodeCondition.CORDONED, owner="gpumedic")
    state = await cluster.state()
    assert obstacle("swap_node", state) == obstacle("uncordon", state) == ""


async def test_a_node_in_service_is_neither_put_back_nor_swapped(cluster: FakeCluster) -> None:
    state = await cluster.state()

    assert "it is ready already" in obstacle("uncordon", state)
    assert "Cordon it first" in obstacle("swap_node", state)


@pytest.mark.parametrize("phase", [JobPhase.PENDING, JobPhase.COMPLETED])
async def test_a_job_that_has_no_nodes_cannot_be_helped(
    cluster: FakeCluster, phase: JobPhase
) -> None:
    with_job(cluster, phase=phase)
    cluster.by_hand("node-1", NodeCondition.CORDONED, owner="gpumedic")
    state = await cluster.state()

    for kind in ("checkpoint_now", "restart_job", "swap_node"):
        assert f"it is {phase}. It must be" in obstacle(kind, state)


async def test_a_job_starts_only_where_every_node_takes_jobs(cluster: FakeCluster) -> None:
    cluster.by_hand("node-2", NodeCondition.DRAINED, owner="ada")
    cluster.by_hand("node-1", NodeCondition.CORDONED, owner="gpumedic")
    state = await cluster.state()
    assert "start on node-2, which is drained" in obstacle("swap_node", state)
    assert "start on node-1, which is cordoned" in obstacle("restart_job", state)

    gone = replace(state, nodes=tuple(node for node in state.nodes if node.name != "node-0"))
    assert "node-0, which is unknown to the scheduler" in obstacle("restart_job", gone)


async def test_a_spare_must_be_ready_free_and_as_large(cluster: FakeCluster) -> None:
    cluster.by_hand("node-1", NodeCondition.CORDONED, owner="gpumedic")
    state = await cluster.state()

    def swap(spare: str, state: ClusterState = state) -> str:
        return obstacle("swap_node", state, action("swap_node", NODE, job="train", spare=spare))

    assert "no spare is ready (2 ready spares in all)" in swap("")
    assert "node-7 is no ready spare" in swap("node-7")
    other = replace(cluster.jobs["train"], id="other", nodes=("node-10",))
    assert "node-10 already has job other" in swap(
        "node-10", replace(state, jobs=(*state.jobs, other))
    )
    keep = state.topology.gpu_node != 10
    gpus = tuple(gpu for gpu, kept in zip(state.topology.gpus, keep, strict=True) if kept)
    smaller = replace(state.topology, gpus=gpus, gpu_node=state.topology.gpu_node[keep])
    assert "node-10 has 0 GPUs, node-1 has 8" in swap("node-10", replace(state, topology=smaller))


async def test_a_job_that_has_moved_is_not_swapped(cluster: FakeCluster) -> None:
    with_job(cluster, nodes=("node-0", "node-2"))

    assert "does not run on it but on 2 other nodes" in obstacle("swap_node", await cluster.state())


async def test_only_an_empty_node_of_ours_is_rebooted(cluster: FakeCluster) -> None:
    assert "it is ready, held by nobody" in obstacle("reboot_node", await cluster.state())
    cluster.by_hand("node-1", NodeCondition.DRAINED, owner="ada")
    assert "held by ada" in obstacle("reboot_node", await cluster.state())
    cluster.by_hand("node-1", NodeCondition.DRAINED, owner="gpumedic")
    assert "job train is on it" in obstacle("reboot_node", await cluster.state())
    with_job(cluster, phase=JobPhase.COMPLETED)
    assert obstacle("reboot_node", await cluster.state()) == ""


async def test_a_plan_is_walked_from_end_to_end(cluster: FakeCluster) -> None:
    """Each step is judged in the state that the steps before it are expected to leave."""
    state = await cluster.state()
    swap = EVERY["swap_node"]

    assert first_obstacle((swap,), state) is not None
    assert first_obstacle((EVERY["cordon"], EVERY["checkpoint_now"], swap), state) is None
    assert first_obstacle((EVERY["cordon"], swap, swap), state) is not None
    assert first_obstacle((EVERY["cordon"], EVERY["uncordon"], swap), state) is not None
    assert first_obstacle((EVERY["cordon"], EVERY["restart_job"]), state) is not None
    assert first_obstacle((EVERY["cordon"], swap, EVERY["reboot_node"]), state) is None


@pytest.mark.parametrize("kind", ["cordon", "checkpoint_now", "restart_job", "swap_node"])
async def test_done_is_what_the_cluster_shows(
    kind: str, cluster: FakeCluster, clock: ManualClock
) -> None:
    if kind == "swap_node":
        cluster.by_hand("node-1", NodeCondition.CORDONED, owner="gpumedic")
    started_s = NOW_S
    before = CATALOG[kind].done(EVERY[kind], await cluster.state(), started_s)

    await cluster.perform(EVERY[kind])
    for _ in range(2):
        await clock.advance(60)
        await cluster.state()

    assert not before
    assert CATALOG[kind].done(EVERY[kind], await cluster.state(), started_s)


@pytest.mark.parametrize("kind", ["cordon", "uncordon", "reboot_node"])
async def test_nothing_is_done_on_a_node_that_is_gone(kind: str, cluster: FakeCluster) -> None:
    del cluster.nodes["node-1"]
    with_job(cluster, nodes=())

    assert not CATALOG[kind].done(EVERY[kind], await cluster.state(), NOW_S)


async def test_a_reboot_is_done_when_the_node_is_up_since(cluster: FakeCluster) -> None:
    done, node = CATALOG["reboot_node"].done, cluster.nodes["node-1"]

    found = []
    for condition, since_s in (("down", 5.0), ("drained", -5.0), ("drained", 5.0)):
        cluster.nodes["node-1"] = replace(
            node, condition=NodeCondition(condition), since_s=NOW_S + since_s
        )
        found.append(done(EVERY["reboot_node"], await cluster.state(), NOW_S))

    assert found == [False, False, True]


def test_a_restart_takes_what_was_published() -> None:
    """200 s at 16k GPUs and 900 s at 98k, within 10 % (FT-HSDP, arXiv:2602.00277)."""
    assert restart_s(16_384) == pytest.approx(200, rel=0.1)
    assert restart_s(98_304) == pytest.approx(900, rel=0.1)


async def test_costs_are_gpus_times_lost_time(cluster: FakeCluster) -> None:
    """32 GPUs and a checkpoint 600 s old."""
    state = await cluster.state()
    restart = 32 * (50 + 0.009 * 32 + 600)

    assert CATALOG["cordon"].cost(EVERY["cordon"], state) == 0
    assert CATALOG["checkpoint_now"].cost(EVERY["checkpoint_now"], state) == 32 * 13
    assert CATALOG["restart_job"].cost(EVERY["restart_job"], state) == pytest.approx(restart)
    swap = CATALOG["swap_node"].cost(EVERY["swap_node"], state)
    assert swap == pytest.approx(restart + 32 * 120)
    assert CATALOG["reboot_node"].cost(EVERY["reboot_node"], state) == 8 * 720


async def test_costs_of_stopping_in_order_and_of_idle_machines(cluster: FakeCluster) -> None:
    """A stall of 13 s, 51 s of writing and a restart, or less; a lender pays for itself."""
    state = await cluster.state()
    small = replace(cluster.jobs["train"], id="small", nodes=("node-8",), gpus=8)
    both = replace(state, jobs=(*state.jobs, small))
    restart, orderly = 50 + 0.009 * 32, 13 + 51 + 50 + 0.009 * 32
    lender = 8 * (13 + 51 + 50 + 0.009 * 8)
    swap = CATALOG["swap_node"].cost(EVERY["swap_node"], state)

    def cost(kind: str, seen: ClusterState = state) -> float:
        return CATALOG[kind].cost(EVERY[kind], seen)

    assert cost("restart_in_place") == pytest.approx(32 * (0.6 * restart + 600))
    assert cost("shrink_job") == cost("set_compression") == pytest.approx(32 * orderly)
    assert cost("grow_job") == cost("drain") == pytest.approx(32 * (orderly + 120))
    assert cost("reboot_under_job") == pytest.approx(32 * (orderly + 720))
    assert cost("swap_nodes") == cost("evict_rank") == swap
    assert cost("borrow_node", both) == pytest.approx(swap + lender)
    assert cost("validate_node") == 8 * 1800
    assert cost("limit_clocks") == pytest.approx(32 * 3600 * (1 - 1 / (0.3 + 0.7 / 0.9)))
    cache = action("tune_job", JOB, cache=0.5, prior_cache=0.0)
    assert CATALOG["tune_job"].cost(cache, state) == 0


@pytest.mark.parametrize("kind", sorted(CATALOG))
async def test_every_kind_costs_something_finite_and_keeps_all_nodes_and_jobs(
    kind: str, cluster: FakeCluster
) -> None:
    with_job(cluster, service=ServiceState(2, 2, 1, 4, 32.0))
    state = await cluster.state()
    after = CATALOG[kind].project(EVERY[kind], state)

    assert 0 <= CATALOG[kind].cost(EVERY[kind], state) < 1e9
    assert [node.name for node in after.nodes] == [node.name for node in state.nodes]
    assert [job.id for job in after.jobs] == [job.id for job in state.jobs]


@pytest.mark.parametrize(
    "kind",
    [
        *(kind for kind in sorted(CATALOG) if CATALOG[kind].restores),
        *("cordon", "uncordon", "validate_node", "keep_as_spare", "release_spare", "drain"),
    ],
)
async def test_the_state_that_is_expected_after_it_shows_it_done(
    kind: str, cluster: FakeCluster
) -> None:
    with_job(cluster, service=ServiceState(2, 3, 1, 4, 32.0), interval_s=600.0)
    after = CATALOG[kind].project(EVERY[kind], await cluster.state())

    assert CATALOG[kind].done(EVERY[kind], after, NOW_S - 1e6)


async def test_a_job_that_is_gone_costs_and_changes_nothing(cluster: FakeCluster) -> None:
    cluster.jobs = {}
    state = await cluster.state()

    for kind in ("checkpoint_now", "restart_job", "swap_node"):
        assert CATALOG[kind].cost(EVERY[kind], state) == 0
        assert CATALOG[kind].project(EVERY[kind], state) is state
        assert not CATALOG[kind].done(EVERY[kind], state, NOW_S)


def test_without_a_checkpoint_all_work_is_lost(cluster: FakeCluster) -> None:
    never = with_job(cluster, checkpoint_s=None)

    assert recompute_s(never, now_s=NOW_S) == 3600
    assert recompute_s(with_job(cluster, checkpoint_s=NOW_S + 5), now_s=NOW_S) == 0
