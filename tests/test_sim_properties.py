"""What the simulator's numbers rest on: conservation, exact books, paired luck, complete truth."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ActionFailed
from sim.engine.draws import uniform
from sim.engine.words import Hold, Phase, Purpose, Said, Scope
from sim.library import scenario
from sim.orders import KINDS
from sim.scenario import JobSpec, Scenario, Site, Workload
from sim.world import World
from tests.contract import about_nodes, plain
from tests.worlds import BUSY, DAY_S, HOUR_S, action, after, audit, busy

sites = st.builds(
    Site,
    requeue=st.booleans(),
    drain=st.booleans(),
    check_s=st.sampled_from([0.0, 300.0]),
    preempt_after_s=st.sampled_from([math.inf, 600.0]),
    backfill=st.sampled_from([0, 32]),
)
clusters = st.builds(
    replace,
    st.just(BUSY),
    site=sites,
    nodes=st.integers(8, 24),
    racks=st.integers(1, 8),
    spares=st.integers(0, 2),
    rate_scale=st.sampled_from([0.0, 1.0, 10.0, 40.0]),
    workload=st.sampled_from(
        [None, Workload(jobs_per_day=100), Workload(jobs_per_day=2000, daily=0.5)]
    ),
    start_s=st.floats(1.6e9, 1.8e9),
    history_s=st.floats(0, 7200),
)


def order_something(world: World, turn: int) -> None:
    """Order something possible or not; what, follows from the turn alone."""
    names, jobs = world.names.nodes, [job.id for job in world.state().jobs]
    lots = [uniform(1, int(Purpose.SHAPE), 0, 4 * turn + lot) for lot in range(3)]
    kind = tuple(KINDS)[int(lots[0] * len(KINDS))]
    node = names[int(lots[1] * len(names))]
    job = jobs[int(lots[2] * len(jobs))] if jobs else "none"
    on_node = about_nodes(kind)
    whom = {"node": node} if on_node else {"job": job}
    try:
        asked = action(kind, key=f"{turn}", **whom)
        world.perform(replace(asked, params=(*asked.params, *plain(kind))))
    except ActionFailed:
        return


@settings(max_examples=30, deadline=None)
@given(
    cluster=clusters,
    seed=st.integers(0, 2**64 - 1),
    waits=st.lists(st.floats(0.01, 4 * HOUR_S), max_size=12),
)
def test_gpus_and_their_time_are_conserved_to_the_last_bit(
    cluster: Scenario, seed: int, waits: list[float]
) -> None:
    """Idle + held + down + repair is capacity x time, and good + lost is held: both exactly."""
    world = World.build(cluster, seed=seed)
    audit(world.inner)
    for turn, wait_s in enumerate(waits):
        order_something(world, turn)
        audit(world.inner)
        world.advance(world.now_s + wait_s)
        audit(world.inner)
    jobs = world.jobs()
    np.testing.assert_array_equal(
        jobs["good_gpu_s"] + jobs["lost_gpu_s"].sum(axis=1), jobs["held_gpu_s"]
    )
    gained = world.sums()
    gpus = int(world.inner.nodes["gpus"].sum())
    assert gained.use.sum() == gpus * (world.now_s - float(world.inner.core[0]["start_s"]))
    assert gained.good + gained.lost.sum() == gained.held == gained.use[1]


@pytest.mark.parametrize("seed", range(3))
def test_a_job_starts_only_on_nodes_that_are_up_and_in_service(seed: int) -> None:
    """Looked at after every instant: who begins to start then has sound nodes, whatever breaks."""
    world = busy(seed=seed, rate_scale=15.0, history_s=0.0)
    turn, starts, last_s = 0, 0, world.now_s
    before = started(world)
    while world.now_s < world.scenario.start_s + 12 * HOUR_S:
        instant_s = float(world.inner.heap[0]["time_s"])
        world.advance(instant_s)
        assert world.now_s == instant_s >= last_s
        last_s = world.now_s
        now = started(world)
        for job in now - before:
            nodes = world.inner.nodes[(world.inner.nodes["job"] == job[0]).any(axis=1)]
            struck = world.inner.faults["onset_s"][: int(world.inner.core[0]["faults_n"])]
            if world.inner.jobs[job[0]]["since_s"] == instant_s and instant_s not in struck:
                starts += 1
                assert nodes["up"].all()
                assert (nodes["hold"] == Hold.NOBODY).all()
        before = now
        if last_s > world.scenario.start_s + turn * 600:
            order_something(world, turn)
            turn += 1
            before = started(world)
    assert starts > 20


def started(world: World) -> set[tuple[int, int, int]]:
    """Return slot, number and start of the jobs that are starting."""
    jobs = world.inner.jobs[: int(world.inner.core[0]["jobs_n"])]
    found = np.flatnonzero(jobs["phase"] == Phase.STARTING)
    return {(job, int(jobs[job]["number"]), int(jobs[job]["version"])) for job in found.tolist()}


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("requeue", [False, True])
def test_faults_do_not_depend_on_what_the_site_does(requeue: bool, drain: bool) -> None:
    """A policy that restarts more meets no more faults: clocks keep their age over restarts."""
    site = Site(requeue=requeue, drain=drain, check_s=300.0 if drain else 0.0)
    here = after(busy(site=site), 12 * HOUR_S)
    there = after(busy(site=Site(), workload=None), 12 * HOUR_S)

    assert drawn_faults(here) == drawn_faults(there)
    assert len(drawn_faults(here)) > 20
    assert here.handled != there.handled


def drawn_faults(world: World) -> list[tuple[int, int, float, int, float]]:
    """Return class, what was struck, onset, GPU and severity of each fault, in order."""
    rows = world.inner.faults[: int(world.inner.core[0]["faults_n"])]
    scopes = world.inner.classes["scope"][rows["class"]]
    entity = np.where(scopes == Scope.JOB, 0, rows["entity"])
    kept = (rows["class"], entity, rows["onset_s"], rows["gpu"], rows["size"])
    return sorted(zip(*(column.tolist() for column in kept), strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_the_truth_is_complete(seed: int) -> None:
    """Whatever hardware says it is broken, a fault that is on record is behind it."""
    world = after(busy(seed=seed), DAY_S)
    w = world.inner
    said = w.said[: int(w.core[0]["said_n"])]
    broken = said[np.isin(said["said"], HARDWARE) & (said["node"] >= 0)]
    domains = [record for record in world.truth if not record.target.node]

    assert len(broken) > 10
    for line in broken:
        node = world.names.nodes[int(line["node"])]
        mine = [record for record in world.truth if record.target.node == node]
        assert any(
            record.onset_s <= line["time_s"] <= (record.repaired_s or math.inf)
            for record in (*mine, *domains)
        ), (Said(int(line["said"])).name, node, float(line["time_s"]))
    assert world.interruptions == w.jobs["interruptions"][: int(w.core[0]["jobs_n"])].sum() + int(
        w.done["interruptions"][: int(w.core[0]["done_n"])].sum()
    )
    assert all(record.parent is None or record.parent < n for n, record in enumerate(world.truth))


HARDWARE = (
    Said.XID,
    Said.PCIE_ERROR,
    Said.VOLUME_FULL,
    Said.OOM_KILL,
    Said.LINK_DOWN,
    Said.ECC,
    Said.ROW_REMAP,
    Said.THERMAL,
    Said.KERNEL_PANIC,
)


def test_every_planned_fault_is_in_the_truth() -> None:
    for name in ("demo", "two-faults", "rack-power", "leaf-switch-flap", "maintenance"):
        cluster = scenario(name)
        world = after(World.build(cluster, seed=1), cluster.duration_s)
        due = [fault for fault in cluster.faults if fault.onset_s <= cluster.duration_s]

        wanted = sorted((fault.fault, cluster.start_s + fault.onset_s) for fault in due)
        found = sorted((record.fault, record.onset_s) for record in world.truth)
        assert set(wanted) <= set(found), name


def test_the_best_checkpoint_interval_is_young_and_dalys() -> None:
    """sqrt(2 x stall x time between failures); a half and a double of it are worse."""
    stall_s, between_s = 30.0, 4 * HOUR_S
    best_s = math.sqrt(2 * stall_s * between_s)
    goodput = {
        times: np.mean([mean_goodput(times * best_s, stall_s, between_s, seed) for seed in (1, 2)])
        for times in (0.25, 1.0, 4.0)
    }

    assert goodput[1.0] > max(goodput[0.25], goodput[4.0])
    waste = stall_s / best_s + best_s / (2 * between_s) + 60.0 / between_s
    assert goodput[1.0] == pytest.approx(1 - waste, abs=0.01)


def mean_goodput(interval_s: float, stall_s: float, between_s: float, seed: int) -> float:
    """Run a job of four nodes that fails at random, in the mean so often, for 120 days."""
    job = JobSpec(
        "llm",
        nodes=4,
        checkpoint_interval_s=interval_s,
        checkpoint_stall_s=stall_s,
        checkpoint_save_s=0.0,
    )
    cluster = Scenario(
        "daly",
        nodes=4,
        racks=1,
        spares=0,
        jobs=(job,),
        rates=(("code_restart", DAY_S / between_s / 4),),
        site=Site(requeue=True, requeue_s=10.0, restart_s=50.0, restart_s_per_gpu=0.0),
        history_s=0.0,
        telemetry="none",
    )
    return after(World.build(cluster, seed=seed), 120 * DAY_S).goodput()
