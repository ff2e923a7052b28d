"""A plan goes its way: journaled before each effect, verified, taken back when it did not help."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.database import Database
from agent.store import SqliteStore
from core.clock import ManualClock
from core.cluster import ClusterState, JobPhase, NodeCondition
from core.errors import InputError
from core.target import Target
from core.types import (
    Autonomy,
    Incident,
    IncidentState,
    OutcomeStatus,
    PlanRecord,
    PlanState,
)
from remediation.running.run import RunSettings
from tests.fakes import Answer, FakeCluster, MemoryStore
from tests.healing import (
    Bench,
    breach,
    cordon,
    guards,
    never_better,
    not_seen_again,
    plan_of,
    swap,
    xid,
)


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    settings = RunSettings(guards=guards())
    return Bench(clock, FakeCluster(clock), MemoryStore(), settings=settings)


def statuses(record: PlanRecord) -> list[str]:
    return [str(outcome.status) for outcome in record.outcomes]


async def test_a_hot_node_is_swapped_and_the_job_verified(bench: Bench) -> None:
    record = await bench.until_final(await bench.propose())

    assert record.state is PlanState.DONE
    assert bench.cluster.effects == ["p1:0:cordon", "p1:1:checkpoint_now", "p1:2:swap_node"]
    assert statuses(record) == ["succeeded"] * 3
    last = record.outcomes[-1]
    assert (last.verified, last.symptom_before, last.symptom_after) == (True, 2.0, 0.0)
    assert bench.cluster.jobs["train"].nodes == ("node-0", "node-10", "node-2", "node-3")
    assert bench.cluster.out_by_us() == {"node-1"}


async def test_what_a_restart_cost_is_measured(bench: Bench) -> None:
    """65 s of standing still and the seconds since the checkpoint, on 32 GPUs."""
    record = await bench.until_final(await bench.propose())

    assert record.outcomes[-1].lost_gpu_s == pytest.approx(32 * (65 + 10), abs=32 * 15)
    assert record.outcomes[0].lost_gpu_s is None


async def test_the_same_is_kept_by_the_real_store(clock: ManualClock, tmp_path: Path) -> None:
    database = Database.open(tmp_path, owner="test")
    store = SqliteStore(database)
    bench = Bench(clock, FakeCluster(clock), store, settings=RunSettings(guards=guards()))

    record = await bench.until_final(await bench.propose())

    assert record.state is PlanState.DONE
    assert await store.get(PlanRecord, "p1") == record
    assert len(await store.entries("i1")) >= 10
    database.close()


async def test_each_effect_is_in_the_journal_before_it_is_ordered(bench: Bench) -> None:
    store = bench.store
    assert isinstance(store, MemoryStore)
    perform, missing = bench.cluster.perform, []

    async def watched(action: object) -> None:
        written = [line.text for line in store.lines]
        kept = await store.get(PlanRecord, "p1")
        if not any(f"[{action.key}]: ordered" in text for text in written):  # type: ignore[attr-defined]
            missing.append(action)
        assert kept is not None
        assert kept.step == len(kept.outcomes) + 1
        await perform(action)  # type: ignore[arg-type]

    bench.cluster.perform = watched  # type: ignore[method-assign]
    await bench.until_final(await bench.propose())

    assert bench.cluster.effects
    assert missing == []


async def test_a_leak_seen_ahead_is_stopped_by_a_restart(bench: Bench) -> None:
    """The forecast's breach is the symptom; a forecast made after the restart shows it no more."""
    bench.heal = not_seen_again
    now_s = bench.clock.now_s()
    bench.incident = replace(bench.incident, anomalies=(), breaches=(breach(now_s=now_s),))
    job = Target(job="train")
    plan = plan_of(("checkpoint_now", job, {}), ("restart_job", job, {}))

    record = await bench.until_final(await bench.propose(plan))

    assert (record.state, statuses(record)) == (PlanState.DONE, ["succeeded"] * 2)
    assert record.outcomes[1].symptom_before == 1
    assert bench.cluster.out_by_us() == set()


async def test_a_leak_that_goes_on_is_not_called_healed(bench: Bench) -> None:
    """A restart cannot be taken back: the plan has failed and says so."""

    def forecast_again(incident: Incident, state: ClusterState) -> Incident:
        return replace(
            incident, updated_s=state.observed_s, breaches=(breach(now_s=state.observed_s),)
        )

    bench.heal = forecast_again
    plan = plan_of(("restart_job", Target(job="train"), {}))

    record = await bench.until_final(await bench.propose(plan))

    assert record.state is PlanState.FAILED
    assert record.outcomes[0].verified is False
    journal = " ".join(line.text for line in await bench.store.entries("i1"))
    assert "node_memory_used_ratio is expected to cross 0.95 on node-1 is still seen" in journal


async def test_a_job_that_ends_while_it_is_watched_is_fine(bench: Bench) -> None:
    record = await bench.propose()
    while record.state is not PlanState.VERIFYING:
        record = await bench.cycle(record)
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, phase=JobPhase.COMPLETED)

    assert (await bench.until_final(record)).state is PlanState.DONE


async def test_a_job_that_stops_while_it_is_watched_is_not_fine(bench: Bench) -> None:
    record = await bench.propose()
    while record.state is not PlanState.VERIFYING:
        record = await bench.cycle(record)
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, phase=JobPhase.STOPPED)

    assert (await bench.until_final(record)).state is PlanState.ROLLED_BACK


async def test_people_are_told_each_turn(bench: Bench) -> None:
    await bench.until_final(await bench.propose())

    told = bench.announcer.words()
    assert told[:3] == ["plan.proposed", "plan.approved", "action.started"]
    assert told.count("action.started") == told.count("action.succeeded") == 3
    assert told[-1] == "incident.updated"


@pytest.mark.parametrize("mode", [Autonomy.OBSERVE, Autonomy.SUGGEST])
async def test_watching_modes_say_what_they_would_do_only(bench: Bench, mode: Autonomy) -> None:
    record = await bench.propose(mode=mode)

    assert statuses(record) == ["would_do"] * 3
    assert record.outcomes[0].text == "would keep new jobs off the node; the job on it stays"
    with pytest.raises(InputError, match=f"mode {mode}.*does not act"):
        await bench.runner.approve("p1", by="ada")
    record = await bench.until_final(record)
    assert record.state is PlanState.EXPIRED
    assert bench.cluster.orders == []


async def test_approval_is_waited_for_and_then_carried_out(bench: Bench) -> None:
    record = await bench.propose(mode=Autonomy.APPROVE)
    for _ in range(4):
        record = await bench.cycle(record)
    assert (record.state, bench.cluster.orders) == (PlanState.PROPOSED, [])

    await bench.runner.approve("p1", by="ada")
    record = await bench.until_final(record)

    assert (record.state, record.decided_by) == (PlanState.DONE, "ada")


async def test_without_an_answer_a_proposal_expires_closed(bench: Bench) -> None:
    record = await bench.until_final(await bench.propose(mode=Autonomy.APPROVE))

    assert (record.state, bench.cluster.orders) == (PlanState.EXPIRED, [])
    with pytest.raises(InputError, match="it is expired already"):
        await bench.runner.approve("p1", by="ada")


async def test_an_approval_after_the_end_of_its_time_is_refused(bench: Bench) -> None:
    await bench.propose(mode=Autonomy.APPROVE)
    await bench.clock.advance(4000)

    with pytest.raises(InputError, match="it expired and its evidence is old"):
        await bench.runner.approve("p1", by="ada")


async def test_a_denied_plan_is_final_and_not_made_again(bench: Bench) -> None:
    record = await bench.propose(mode=Autonomy.APPROVE)
    await bench.runner.deny("p1", by="ada", because="a paper deadline")

    record = await bench.cycle(record)
    again = await bench.propose(plan_of(cordon("node-1"), id="p2"))

    assert (record.state, record.decided_by) == (PlanState.DENIED, "ada")
    assert [refusal.guard for refusal in again.refusals] == ["human"]
    assert "a paper deadline" in (await bench.store.entries("i1"))[-2].text


async def test_a_plan_nobody_made_cannot_be_decided(bench: Bench) -> None:
    with pytest.raises(InputError, match="there is none of that id"):
        await bench.runner.deny("p9", by="ada", because="")
    await bench.propose(plan_of(cordon("node-1"), incident_id="i9"), mode=Autonomy.APPROVE)
    with pytest.raises(InputError, match="incident i9 is not in the store"):
        await bench.runner.approve("p1", by="ada")


async def test_a_proposal_ends_with_its_incident(bench: Bench) -> None:
    record = await bench.propose(mode=Autonomy.APPROVE)
    bench.heal = lambda incident, _: replace(incident, state=IncidentState.RESOLVED)

    record = await bench.cycle(record)

    assert record.state is PlanState.EXPIRED


async def test_a_refused_plan_is_written_once_while_nothing_changes(bench: Bench) -> None:
    bench.settings = RunSettings(guards=guards(min_probability=0.95))
    bench.restart()

    first = await bench.propose()
    again = await bench.propose(plan_of(cordon("node-1"), id="p2"))
    await bench.clock.advance(601)
    bench.incident = bench.heal(bench.incident, await bench.cluster.state())
    later = await bench.propose(plan_of(cordon("node-1"), id="p3"))

    assert (first.state, again.plan.id, later.plan.id) == (PlanState.REFUSED, "p1", "p3")
    assert bench.announcer.words() == ["plan.refused"] * 2


async def test_what_did_not_help_is_taken_back(bench: Bench) -> None:
    """The job is still slow on the spare: the node was innocent and goes back into service."""
    bench.heal = never_better

    record = await bench.until_final(await bench.propose())

    assert record.state is PlanState.ROLLED_BACK
    assert statuses(record)[-2:] == ["reverted", "reverted"]
    assert record.outcomes[2].verified is False
    assert bench.cluster.out_by_us() == set()


async def test_a_broken_node_is_not_put_back(bench: Bench) -> None:
    bench.heal = never_better
    bench.incident = replace(bench.incident, events=(xid("node-1", now_s=bench.clock.now_s()),))

    record = await bench.until_final(await bench.propose())

    assert record.state is PlanState.FAILED
    assert record.refusals[0].guard == "broken"
    assert "fallen off the bus" in record.outcomes[-1].text
    assert bench.cluster.out_by_us() == {"node-1"}


async def test_a_swap_that_fails_gives_the_node_back(bench: Bench) -> None:
    bench.cluster.answers = {"swap_node": Answer.REFUSE}

    record = await bench.until_final(await bench.propose())

    assert record.state is PlanState.ROLLED_BACK
    assert statuses(record) == ["succeeded", "succeeded", "failed", "reverted", "reverted"]
    assert bench.cluster.out_by_us() == set()
    assert "the fake says no" in record.outcomes[2].text


async def test_a_checkpoint_that_fails_does_not_stop_the_rescue(bench: Bench) -> None:
    bench.cluster.answers = {"checkpoint_now": Answer.REFUSE}

    record = await bench.until_final(await bench.propose())

    assert record.state is PlanState.DONE
    assert statuses(record) == ["succeeded", "failed", "succeeded"]


async def test_a_job_that_stops_meanwhile_needs_no_checkpoint(bench: Bench) -> None:
    record = await bench.cycle(await bench.propose())
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, phase=JobPhase.STOPPED)

    record = await bench.until_final(record)

    assert record.state is PlanState.DONE
    assert statuses(record) == ["succeeded", "refused", "succeeded"]


async def test_a_human_who_takes_the_node_wins(bench: Bench) -> None:
    record = await bench.cycle(await bench.propose())
    bench.cluster.by_hand("node-1", NodeCondition.DRAINED, owner="ada", why="fan")

    record = await bench.until_final(record)

    assert record.state is PlanState.OVERRIDDEN
    assert bench.cluster.nodes["node-1"].owner == "ada"
    assert all(order.kind != "uncordon" for order in bench.cluster.orders)


async def test_a_human_who_puts_the_node_back_wins(bench: Bench) -> None:
    record = await bench.cycle(await bench.cycle(await bench.propose()))
    bench.cluster.by_hand("node-1", NodeCondition.READY)

    record = await bench.until_final(record)

    assert record.state is PlanState.OVERRIDDEN
    assert bench.cluster.nodes["node-1"].condition is NodeCondition.READY


async def test_a_job_somebody_requeued_is_left_alone(bench: Bench) -> None:
    record = await bench.cycle(await bench.propose())
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, phase=JobPhase.PENDING)

    record = await bench.until_final(record)

    assert record.state is PlanState.OVERRIDDEN
    assert "requeued" in (await bench.store.entries("i1"))[-1].text


async def test_a_node_that_left_the_scheduler_ends_the_plan(bench: Bench) -> None:
    record = await bench.cycle(await bench.cycle(await bench.propose()))
    del bench.cluster.nodes["node-1"]
    bench.cluster.jobs["train"] = replace(bench.cluster.jobs["train"], nodes=("node-0",))

    record = await bench.until_final(record)

    assert record.state is PlanState.OVERRIDDEN


async def test_a_pause_stops_before_the_next_action(bench: Bench) -> None:
    bench.paused = True
    record = await bench.propose()
    for _ in range(5):
        record = await bench.cycle(record)
    assert (record.state, bench.cluster.orders) == (PlanState.APPROVED, [])

    bench.paused = False
    assert (await bench.until_final(record)).state is PlanState.DONE


async def test_a_pause_does_not_keep_a_node_from_going_back(bench: Bench) -> None:
    bench.cluster.answers = {"swap_node": Answer.REFUSE}
    record = await bench.propose()
    while OutcomeStatus.FAILED not in {outcome.status for outcome in record.outcomes}:
        record = await bench.cycle(record)
    bench.paused = True

    record = await bench.until_final(record)

    assert record.state is PlanState.ROLLED_BACK
    assert bench.cluster.out_by_us() == set()


async def test_a_plan_paused_past_its_time_expires(bench: Bench) -> None:
    bench.paused = True

    record = await bench.until_final(await bench.propose())

    assert (record.state, bench.cluster.orders) == (PlanState.EXPIRED, [])


async def test_a_guard_that_trips_half_way_puts_the_node_back(bench: Bench) -> None:
    """The only spare is taken by somebody between the cordon and the swap."""
    record = await bench.cycle(await bench.propose())
    for spare in ("node-10", "node-11"):
        held = bench.cluster.nodes[spare]
        bench.cluster.nodes[spare] = replace(held, spare=False)

    record = await bench.until_final(record)

    assert record.state is PlanState.ROLLED_BACK
    assert statuses(record)[2:] == ["refused", "reverted"]
    assert bench.cluster.out_by_us() == set()


async def test_a_guard_that_trips_before_anything_refuses(bench: Bench) -> None:
    record = await bench.propose()
    bench.heal = lambda incident, _: replace(incident, state=IncidentState.RESOLVED)

    record = await bench.cycle(record)

    assert (record.state, bench.cluster.orders) == (PlanState.REFUSED, [])
    assert record.refusals[0].guard == "incident_over"


async def test_nothing_is_done_on_an_old_look_at_the_cluster(bench: Bench) -> None:
    record = await bench.propose()
    state = await bench.cluster.state()
    await bench.clock.advance(301)

    after = await bench.runner.step(record, bench.incident, state, paused=False)

    assert (after.state, bench.cluster.orders) == (PlanState.APPROVED, [])


async def test_a_clock_set_back_does_not_stretch_a_deadline(bench: Bench) -> None:
    bench.cluster.answers = {"cordon": Answer.LOSE}
    record = await bench.cycle(await bench.propose())
    bench.clock.step(-3600)

    record = await bench.until_final(record, cycles=40)

    assert record.outcomes[0].status is OutcomeStatus.TIMED_OUT


async def test_an_approval_lost_in_a_crash_is_made_up_for(bench: Bench) -> None:
    record = await bench.propose()
    await bench.store.put(replace(record, state=PlanState.PROPOSED, decided_by=""))

    record = await bench.until_final(record)

    assert record.state is PlanState.DONE


async def test_two_plans_never_handle_one_node_at_once(bench: Bench) -> None:
    record = await bench.cycle(await bench.propose())

    other = await bench.propose(plan_of(cordon("node-1"), swap("node-1", "node-11"), id="p2"))

    assert record.state is PlanState.ACTING
    assert "live_plan" in {refusal.guard for refusal in other.refusals}
