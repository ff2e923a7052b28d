"""Whatever fails, hangs, crashes or is changed by hand: one effect a key, bounds kept, an end."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.clock import ManualClock
from core.cluster import NodeCondition
from core.target import Target
from core.types import PlanRecord, PlanState, Scalar
from remediation.running.run import RunSettings
from tests.fakes import Answer, Crash, CrashingStore, FakeCluster, MemoryStore
from tests.healing import (
    Bench,
    cordon,
    fresh_until_swapped,
    guards,
    incident,
    never_better,
    not_seen_again,
    plan_of,
    swap,
)

Step = tuple[str, Target, dict[str, Scalar]]
KINDS = ("cordon", "checkpoint_now", "swap_node", "uncordon")
# Every write of the longest course: two for each of some twelve transitions.
LAST_WRITE = 30


def new_bench(*, better: bool = True) -> Bench:
    clock = ManualClock()
    return Bench(
        clock,
        FakeCluster(clock),
        MemoryStore(),
        settings=RunSettings(guards=guards()),
        heal=fresh_until_swapped if better else never_better,
    )


def reboot(node: str) -> Step:
    return ("reboot_node", Target(node=node), {})


def validate(node: str) -> Step:
    return ("validate_node", Target(node=node), {})


def uncordon(node: str) -> Step:
    return ("uncordon", Target(node=node), {})


def assert_each_key_once(bench: Bench) -> None:
    assert len(bench.cluster.effects) == len(set(bench.cluster.effects))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("better", [True, False], ids=["heals", "does not"])
@pytest.mark.parametrize("write", range(1, LAST_WRITE))
async def test_a_crash_at_any_write_changes_nothing_about_the_end(
    write: int, better: bool, after: bool
) -> None:
    """The process dies at the n-th write and a new one goes on: same end, no effect twice."""
    bench = new_bench(better=better)
    crashing = CrashingStore(bench.store, writes=write, after=after)
    bench.restart(crashing)
    record: PlanRecord | None = None

    try:
        record = await bench.until_final(await bench.propose())
    except Crash:
        bench.restart()
        kept = await bench.store.get(PlanRecord, "p1")
        record = await bench.until_final(kept or await bench.propose())

    assert record.state is (PlanState.DONE if better else PlanState.ROLLED_BACK)
    assert_each_key_once(bench)
    assert bench.cluster.out_by_us() == ({"node-1"} if better else set())


SWAP: tuple[Step, ...] = (
    cordon("node-1"),
    ("checkpoint_now", Target(job="train"), {}),
    swap("node-1"),
)
REPAIR = (cordon("node-1"), swap("node-1"), reboot("node-1"), uncordon("node-1"))
SMALLER: tuple[Step, ...] = (
    ("shrink_job", Target(job="train"), {"nodes": 3, "leave": "node-1"}),
    ("limit_clocks", Target(node="node-2"), {"share": 0.95}),
)
CHECKED = (validate("node-6"), uncordon("node-6"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 11))
async def test_a_crash_at_any_write_of_a_plan_in_vain_has_it_verified_by_nobody(
    write: int, after: bool
) -> None:
    bench, plan = new_bench(), plan_of(("checkpoint_now", Target(job="train"), {}))
    bench.cluster.answers = {"checkpoint_now": Answer.REFUSE}
    bench.restart(CrashingStore(bench.store, writes=write, after=after))

    try:
        record = await bench.until_final(await bench.propose(plan))
    except Crash:
        bench.restart()
        kept = await bench.store.get(PlanRecord, "p1")
        record = await bench.until_final(kept or await bench.propose(plan))

    assert record.state is PlanState.FAILED
    assert "plan.verifying" not in {line.kind for line in await bench.store.entries("i1")}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, LAST_WRITE, 2))
@pytest.mark.parametrize(
    ("steps", "better", "end", "out"),
    [
        (REPAIR, True, PlanState.DONE, set()),
        (REPAIR, False, PlanState.FAILED, set()),
        (SMALLER, True, PlanState.DONE, set()),
        (SMALLER, False, PlanState.ROLLED_BACK, set()),
        (CHECKED, True, PlanState.DONE, set()),
    ],
    ids=["repaired", "repaired in vain", "smaller", "smaller in vain", "put back"],
)
async def test_a_crash_at_any_write_of_other_plans_changes_nothing_either(
    *, steps: tuple[Step, ...], better: bool, end: PlanState, out: set[str], write: int, after: bool
) -> None:
    bench = new_bench(better=better)
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, kind="elastic", least_nodes=1, most_nodes=4)
    if steps is CHECKED:
        bench.cluster.by_hand("node-6", NodeCondition.CORDONED, owner="gpumedic")
        bench.heal = not_seen_again
    bench.restart(CrashingStore(bench.store, writes=write, after=after))
    record: PlanRecord | None = None

    try:
        record = await bench.until_final(await bench.propose(plan_of(*steps)))
    except Crash:
        bench.restart()
        kept = await bench.store.get(PlanRecord, "p1")
        record = await bench.until_final(kept or await bench.propose(plan_of(*steps)))

    assert record.state is end
    assert_each_key_once(bench)
    assert bench.cluster.out_by_us() == out
    assert bench.cluster.nodes["node-2"].clocks == (0.95 if steps is SMALLER and better else 1.0)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    answers=st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(Answer)), max_size=3),
    human=st.one_of(
        st.none(),
        st.tuples(
            st.integers(0, 12),
            st.sampled_from(["node-1", "node-10", "node-2"]),
            st.sampled_from(["READY", "DRAINED", "DOWN"]),
            st.sampled_from(["", "ada"]),
        ),
    ),
    crash=st.one_of(st.none(), st.tuples(st.integers(1, LAST_WRITE), st.booleans())),
    clock_step=st.one_of(st.none(), st.tuples(st.integers(0, 12), st.floats(-7200, 7200))),
    better=st.booleans(),
    delay_s=st.floats(0, 200),
)
async def test_a_plan_always_ends_and_never_acts_twice(
    *,
    answers: list[tuple[str, Answer]],
    human: tuple[int, str, str, str] | None,
    crash: tuple[int, bool] | None,
    clock_step: tuple[int, float] | None,
    better: bool,
    delay_s: float,
) -> None:
    bench = new_bench(better=better)
    bench.cluster.answers = dict(answers)
    bench.cluster.delay_s = delay_s
    if crash is not None:
        bench.restart(CrashingStore(bench.store, writes=crash[0], after=crash[1]))
    record: PlanRecord | None = None
    cycle = 0
    for cycle in range(500):
        if human is not None and cycle == human[0]:
            _, node, condition, owner = human
            bench.cluster.by_hand(node, NodeCondition[condition], owner=owner)
        if clock_step is not None and cycle == clock_step[0]:
            bench.clock.step(clock_step[1])
        try:
            record = await (
                bench.propose(plan_of(*SWAP)) if record is None else bench.cycle(record)
            )
        except Crash:
            bench.restart()
            record = await bench.store.get(PlanRecord, "p1")
        except ZeroDivisionError:
            record = await bench.store.get(PlanRecord, "p1")
        if record is not None and record.state.final:
            break

    assert record is not None
    assert record.state.final
    assert_each_key_once(bench)
    if human is not None and human[3] == "ada" and human[0] <= cycle:
        assert bench.cluster.nodes[human[1]].owner == "ada"


# Bounds are only under strain where most orders are carried out, if late or unheard.
OFTEN_TAKEN = (Answer.TAKE,) * 6 + (Answer.LATE, Answer.HANG_AND_DO) * 2 + tuple(Answer)
Turn = tuple[int, Answer, bool]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    plans=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(OFTEN_TAKEN), st.booleans()),
        min_size=4,
        max_size=8,
    ),
    limit=st.integers(1, 5),
    per_rack=st.integers(1, 2),
    cooldown_s=st.sampled_from([0.0, 600.0, 1800.0]),
)
async def test_no_sequence_of_plans_exceeds_the_bounds(
    plans: list[Turn], limit: int, per_rack: int, cooldown_s: float
) -> None:
    """Orders that arrive late or without an answer count too, as long as they may arrive."""
    clock = ManualClock()
    bench = Bench(clock, FakeCluster(clock), MemoryStore())
    bench.settings = RunSettings(
        guards=guards(
            max_nodes_out=limit,
            max_nodes_out_per_rack=per_rack,
            cooldown_s=cooldown_s,
            max_actions_per_hour=1000,
        )
    )
    bench.cluster.late_s = min(cooldown_s, 400.0)
    bench.heal = never_better
    bench.restart()
    live: dict[str, PlanRecord] = {}
    for number, (node, answer, with_swap) in enumerate(plans):
        name = f"node-{node}"
        bench.cluster.answers = {"cordon": answer}
        bench.incident = incident(name, id=f"i{number}", now_s=clock.now_s())
        steps = [cordon(name), *([swap(name)] if with_swap and node < 4 else [])]
        plan = plan_of(*steps, id=f"p{number}", incident_id=f"i{number}")
        live[plan.id] = await bench.propose(plan)
        for record in list(live.values()) * 3:
            await one_cycle(bench, live, record)
            assert_within(bench, limit, per_rack)
    for _ in range(80):
        for record in list(live.values()):
            await one_cycle(bench, live, record)
            assert_within(bench, limit, per_rack)

    assert all(record.state.final for record in live.values())
    assert_each_key_once(bench)


async def one_cycle(bench: Bench, live: dict[str, PlanRecord], record: PlanRecord) -> None:
    plan_id = record.plan.id
    kept = await bench.store.get(type(bench.incident), record.plan.incident_id)
    assert kept is not None
    bench.incident = kept
    if live[plan_id].state.final:
        return
    try:
        live[plan_id] = await bench.cycle(live[plan_id])
    except ZeroDivisionError:
        found = await bench.store.get(PlanRecord, plan_id)
        assert found is not None
        live[plan_id] = found


def assert_within(bench: Bench, limit: int, per_rack: int) -> None:
    out = bench.cluster.out_by_us()
    racks = [int(name.split("-")[1]) // 4 for name in out]
    assert len(out) <= limit
    assert all(racks.count(rack) <= per_rack for rack in racks)
