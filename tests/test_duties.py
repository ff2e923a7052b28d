"""What a plan took is put back once all is sound, whichever process runs then."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.assembly import Assembly
from core.clock import ManualClock
from core.cluster import ClusterState, NodeCondition
from core.target import Target
from core.types import OutcomeStatus, Plan, PlanRecord, PlanState
from remediation.guards import GuardContext, check
from remediation.running.duties import RETRY_S, Look, due, duties
from remediation.running.follow_up import REPAIR, is_follow_up
from tests.fakes import FakeCluster
from tests.healing import NOW_S, cordon, ended, guards, incident, plan_of, record_of, seen_now, swap
from tests.loop import CYCLE_S, ScriptedEvents, cycles, loop
from tests.loop import xid as xid_event

QUIET_S = 1800.0
QUIET_CYCLES = int((QUIET_S + 900) / CYCLE_S)
AWAY = plan_of(cordon("node-1"), swap("node-1"))


def done(plan: Plan = AWAY, *, state: PlanState = PlanState.DONE) -> PlanRecord:
    """Return a plan whose actions were all done an hour ago."""
    at_s = NOW_S - 3600
    outcomes = [ended(action, OutcomeStatus.SUCCEEDED, at_s=at_s) for action in plan.actions]
    return record_of(plan, state, *outcomes, since_s=at_s)


async def state_of(*out: str, owner: str = "gpumedic") -> ClusterState:
    cluster = FakeCluster(ManualClock(NOW_S))
    for node in out:
        cluster.by_hand(node, NodeCondition.CORDONED, owner=owner)
    moved = replace(cluster.jobs["train"], nodes=("node-0", "node-10", "node-2", "node-3"))
    cluster.jobs["train"] = moved
    return await cluster.state()


async def look(*records: PlanRecord, out: tuple[str, ...] = ("node-1",), **changes: object) -> Look:
    found = Look(await state_of(*out), records, (), guards(), NOW_S)
    return replace(found, **changes)  # type: ignore[arg-type]


def steps(found: Look) -> list[str]:
    plan = due(found, new_id="f1")
    return [] if plan is None else [f"{action.kind} {action.target}" for action in plan.actions]


async def test_a_node_that_was_taken_out_is_checked_and_put_back() -> None:
    found = await look(done())

    assert steps(found) == ["validate_node node-1", "uncordon node-1"]
    plan = due(found, new_id="f1")
    assert plan is not None
    assert is_follow_up(plan)
    assert plan.incident_id == AWAY.incident_id


async def test_checks_that_were_done_since_are_not_done_again() -> None:
    found = await look(done())
    node = replace(found.state.nodes[1], checked_s=NOW_S - 60)
    nodes = (found.state.nodes[0], node, *found.state.nodes[2:])

    assert steps(replace(found, state=replace(found.state, nodes=nodes))) == ["uncordon node-1"]


async def test_a_node_that_a_reboot_may_mend_is_rebooted_at_once_and_only_once() -> None:
    kind, target, params = swap("node-1")
    away = plan_of(cordon("node-1"), (kind, target, {**params, REPAIR: True}))
    trouble = seen_now(incident(now_s=NOW_S), NOW_S)
    found = await look(done(away), incidents=(trouble,))

    assert steps(found) == ["reboot_node node-1", "validate_node node-1", "uncordon node-1"]

    plan = due(found, new_id="f1")
    assert plan is not None
    failed = ended(plan.actions[0], OutcomeStatus.TIMED_OUT, at_s=NOW_S - RETRY_S)
    tried = record_of(plan, PlanState.FAILED, failed, since_s=NOW_S - RETRY_S)
    again = replace(found, records=(done(away), tried), incidents=())
    assert steps(again) == ["validate_node node-1", "uncordon node-1"]


@pytest.mark.parametrize(("ago_s", "ready"), [(QUIET_S - 1, False), (QUIET_S, True)])
async def test_nothing_is_put_back_while_there_is_trouble(ago_s: float, ready: bool) -> None:
    trouble = seen_now(incident(now_s=NOW_S - ago_s), NOW_S - ago_s)

    assert bool(steps(await look(done(), incidents=(trouble,)))) == ready
    elsewhere = seen_now(incident("node-7", now_s=NOW_S), NOW_S)
    away = tuple(one for one in elsewhere.anomalies if one.target.node)
    assert steps(await look(done(), incidents=(replace(elsewhere, anomalies=away),)))


async def test_how_long_all_must_be_well_first_is_the_sites_to_say() -> None:
    trouble = seen_now(incident(now_s=NOW_S - 60.0), NOW_S - 60.0)
    found = await look(done(), incidents=(trouble,))

    soon = replace(found, guards=replace(found.guards, quiet_s=60.0))

    assert (steps(found), steps(soon)) == ([], ["validate_node node-1", "uncordon node-1"])


async def test_what_is_not_ours_is_nobodys_duty() -> None:
    """Put back by people, taken over by people, out without a plan of ours, turned down."""
    theirs = await look(done(), state=await state_of("node-1", owner="ada"))
    back = await look(done(), out=())
    unknown = await look(out=("node-5",))
    overridden = await look(done(state=PlanState.OVERRIDDEN))
    denied_plan = plan_of(("uncordon", Target(node="node-1"), {}), id="f0")
    denied = await look(done(), record_of(denied_plan, PlanState.DENIED))

    for found in (theirs, back, unknown, overridden, denied):
        assert duties(found) == ()


async def test_a_lemon_is_handed_to_people_at_once_and_then_it_is_theirs() -> None:
    thrice = [done(replace(AWAY, id=f"p{number}")) for number in range(3)]
    trouble = seen_now(incident(now_s=NOW_S), NOW_S)
    found = await look(*thrice, incidents=(trouble,))

    assert steps(await look(*thrice[:2])) == ["validate_node node-1", "uncordon node-1"]
    assert steps(found) == ["quarantine node-1"]
    plan = due(found, new_id="f1")
    assert plan is not None
    context = GuardContext(found.state, incident(now_s=NOW_S), NOW_S, records=tuple(found.records))
    assert check(plan, context, guards()) == ()
    marked = replace(found.state.nodes[1], mark="lemon")
    nodes = (found.state.nodes[0], marked, *found.state.nodes[2:])
    assert duties(replace(found, state=replace(found.state, nodes=nodes))) == ()


def reset_or_rebooted(fault: str, target: Target) -> Plan:
    kind, at, params = swap("node-1")
    plan = plan_of(cordon("node-1"), (kind, at, {**params, REPAIR: True}))
    return replace(plan, cause=replace(plan.cause, fault=fault, target=target))


async def test_a_gpu_that_a_reset_clears_is_reset_before_its_node_is_rebooted() -> None:
    state = await state_of("node-1")
    gpu = Target(node="node-1", gpu=state.topology.gpus_of_node("node-1")[0])
    away = reset_or_rebooted("gpu_ecc_uncorrectable", gpu)
    found = await look(done(away))
    back = ["validate_node node-1", "uncordon node-1"]
    assert steps(found) == [f"reset_gpu {gpu}", *back]

    plan = due(found, new_id="f1")
    assert plan is not None
    for status, then in (
        (OutcomeStatus.FAILED, ["reboot_node node-1", *back]),
        (OutcomeStatus.SUCCEEDED, back),
    ):
        came = ended(plan.actions[0], status, at_s=NOW_S - RETRY_S)
        tried = record_of(plan, PlanState.FAILED, came, since_s=NOW_S - RETRY_S)
        assert steps(replace(found, records=(done(away), tried))) == then


@pytest.mark.parametrize(
    ("fault", "gpu"), [("gpu_fallen_off_bus", True), ("gpu_hang", False)], ids=["off bus", "no GPU"]
)
async def test_what_a_reset_does_not_clear_is_rebooted(fault: str, gpu: bool) -> None:
    names = (await state_of("node-1")).topology.gpus_of_node("node-1")
    target = Target(node="node-1", gpu=names[0]) if gpu else Target(node="node-1")
    found = await look(done(reset_or_rebooted(fault, target)))

    assert steps(found)[0] == "reboot_node node-1"


async def test_a_node_that_is_down_or_being_handled_waits() -> None:
    found = await look(done())
    down = replace(found.state.nodes[1], condition=NodeCondition.DOWN)
    nodes = (found.state.nodes[0], down, *found.state.nodes[2:])
    busy = record_of(plan_of(("reboot_node", Target(node="node-1"), {}), id="p2"), PlanState.ACTING)

    assert steps(replace(found, state=replace(found.state, nodes=nodes))) == []
    assert steps(await look(done(), busy)) == []


async def test_a_try_that_failed_is_repeated_ever_more_seldom() -> None:
    tries = []
    for number, ago_s in enumerate((RETRY_S * 3, RETRY_S * 1.5)):
        plan = due(await look(done()), new_id=f"f{number}")
        assert plan is not None
        tries.append(record_of(plan, PlanState.FAILED, since_s=NOW_S - ago_s))

    assert steps(await look(done(), tries[1]))
    assert steps(await look(done(), *tries)) == []


async def test_a_job_grows_again_and_clocks_are_freed_as_they_were() -> None:
    """What is put back is the state before, as it was kept with the order."""
    shrunk = plan_of(
        ("shrink_job", Target(job="train"), {"nodes": 3, "leave": "node-1", "prior_nodes": 4})
    )
    slowed = plan_of(
        ("limit_clocks", Target(node="node-2"), {"share": 0.95, "prior_share": 0.98}), id="p2"
    )
    found = await look(done(shrunk), done(slowed), out=())
    train = replace(
        found.state.jobs[0],
        nodes=("node-0", "node-2", "node-3"),
        kind="elastic",
        least_nodes=1,
        most_nodes=4,
        asked_nodes=4,
    )
    slow = replace(found.state.nodes[2], clocks=0.95)
    nodes = (*found.state.nodes[:2], slow, *found.state.nodes[3:])
    found = replace(found, state=replace(found.state, jobs=(train,), nodes=nodes))

    owed = {duty.action.kind: duty.action for duty in duties(found)}

    assert owed["grow_job"].param("nodes") == 4
    assert owed["limit_clocks"].param("share") == 0.98
    assert steps(found) == ["grow_job job train"]


async def healing(folder: Path, clock: ManualClock, cluster: FakeCluster) -> Assembly:
    events = ScriptedEvents([xid_event("node-1", "GPU-8", time_s=clock.now_s())])
    return await loop(folder, clock, events=[events], cluster=cluster, autonomy=[{"mode": "auto"}])


async def until_out(app: Assembly, clock: ManualClock, cluster: FakeCluster) -> None:
    """Let the controller take the node away."""
    await cycles(app, clock, 10)
    assert cluster.out_by_us() == {"node-1"}


@pytest.mark.parametrize("restart", [False, True], ids=["same process", "new process"])
async def test_the_controller_puts_the_node_back(
    restart: bool, tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    app = await healing(tmp_path, clock, cluster)
    await until_out(app, clock, cluster)
    if restart:
        await app.close()
        app = await loop(tmp_path, clock, cluster=cluster, autonomy=[{"mode": "auto"}])

    await cycles(app, clock, QUIET_CYCLES)

    follow_ups = [r for r in app.controller.heal.recent() if is_follow_up(r.plan)]
    assert [record.state for record in follow_ups] == [PlanState.DONE]
    assert cluster.out_by_us() == set()
    assert cluster.nodes["node-1"].checked_s is not None
    await app.close()


async def test_a_node_whose_checks_find_something_stays_out(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    cluster.broken = {"node-1"}
    app = await healing(tmp_path, clock, cluster)
    await until_out(app, clock, cluster)

    await cycles(app, clock, QUIET_CYCLES)

    assert cluster.out_by_us() == {"node-1"}
    assert all(order.kind != "uncordon" for order in cluster.orders)
    await app.close()


async def test_a_person_who_takes_the_node_over_keeps_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    app = await healing(tmp_path, clock, cluster)
    await until_out(app, clock, cluster)
    cluster.by_hand("node-1", NodeCondition.DRAINED, owner="ada", why="new fans")

    await cycles(app, clock, QUIET_CYCLES)

    assert cluster.nodes["node-1"].owner == "ada"
    assert not any(is_follow_up(record.plan) for record in app.controller.heal.recent())
    await app.close()
