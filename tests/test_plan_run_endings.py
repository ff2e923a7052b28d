"""How plans end that do not go through: nothing is waited for in vain, what was is restored."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import JobPhase, NodeCondition
from core.target import Target
from core.types import Anomaly, Autonomy, OutcomeStatus, PlanRecord, PlanState, Scalar, Severity
from remediation.running.run import RunSettings
from tests.fakes import Answer, FakeCluster, MemoryStore
from tests.healing import (
    CYCLE_S,
    NOW_S,
    Bench,
    anomaly,
    cordon,
    guards,
    incident,
    never_better,
    not_seen_again,
    plan_of,
    swap,
)

Step = tuple[str, Target, dict[str, Scalar]]
SAVE: Step = ("checkpoint_now", Target(job="train"), {})
RESTART: Step = ("restart_job", Target(job="train"), {})


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    settings = RunSettings(guards=guards())
    return Bench(clock, FakeCluster(clock), MemoryStore(), settings=settings)


async def journal(bench: Bench) -> str:
    return " ".join(line.text for line in await bench.store.entries("i1"))


def statuses(record: PlanRecord) -> list[str]:
    return [str(outcome.status) for outcome in record.outcomes]


async def test_a_job_that_stops_again_ends_the_wait_for_it(bench: Bench) -> None:
    """The swap may take 1200 s; its job is up after 60 s and stops again: that is seen at once."""
    bench.cluster.starts = {"train": 1}

    record = await bench.until_final(await bench.propose())

    failed = record.outcomes[2]
    assert failed.status is OutcomeStatus.FAILED
    assert failed.ended_s - failed.started_s < 120
    assert "job train was started anew and has stopped again" in failed.text
    assert record.state is PlanState.ROLLED_BACK


async def test_a_job_that_has_ended_is_not_waited_for(bench: Bench) -> None:
    record = await bench.cycle(await bench.cycle(await bench.propose()))
    bench.cluster.answers = {"swap_node": Answer.LOSE}
    while record.step < 3:
        record = await bench.cycle(record)
    now_s = bench.clock.now_s() + 1
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, phase=JobPhase.COMPLETED, since_s=now_s)

    record = await bench.until_final(record)

    assert record.outcomes[2].ended_s - record.outcomes[2].started_s < 120
    assert "job train has ended" in record.outcomes[2].text


def hang(*, start_s: float, end_s: float) -> Anomaly:
    """Return what says that the job makes no step since then."""
    found = anomaly(Target(job="train"), now_s=end_s, severity=Severity.CRITICAL)
    return replace(found, detector="hang", start_s=start_s)


async def test_a_plan_without_any_effect_is_not_verified(bench: Bench) -> None:
    """There is nothing to look at; a save is the one step whose failure alone stops no plan."""
    bench.cluster.answers = {"checkpoint_now": Answer.REFUSE}

    record = await bench.until_final(await bench.propose(plan_of(SAVE)))

    assert (record.state, statuses(record)) == (PlanState.FAILED, ["failed"])
    assert record.since_s - NOW_S <= 2 * CYCLE_S
    kinds = [line.kind for line in await bench.store.entries("i1")]
    assert "plan.verifying" not in kinds
    assert "none of its steps took effect: checkpoint_now job train failed: " in await journal(
        bench
    )


async def test_a_plan_whose_first_step_fails_says_why_it_ended(bench: Bench) -> None:
    bench.cluster.answers = {"restart_job": Answer.REFUSE}

    record = await bench.until_final(await bench.propose(plan_of(RESTART)))

    assert record.state is PlanState.FAILED
    assert "failed: none of its steps took effect: restart_job job train failed: " in (
        await journal(bench)
    )


async def test_what_a_job_that_stops_would_have_saved_is_not_waited_for(bench: Bench) -> None:
    bench.cluster.answers = {"checkpoint_now": Answer.LOSE}
    record = await bench.cycle(await bench.propose(plan_of(SAVE)))
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, phase=JobPhase.STOPPED)

    record = await bench.until_final(record)

    assert record.outcomes[0].ended_s - record.outcomes[0].started_s <= CYCLE_S
    assert "its effect will not come: job train is stopped by now" in await journal(bench)


@pytest.mark.parametrize(("stood_s", "waits"), [(-20.0, False), (5.0, True)])
async def test_a_save_that_the_job_hung_before_is_not_waited_for(
    bench: Bench, stood_s: float, waits: bool
) -> None:
    """A job that stands since it was asked to save may be saving: that is waited for."""
    bench.cluster.answers = {"checkpoint_now": Answer.LOSE}
    record = await bench.cycle(await bench.propose(plan_of(SAVE)))
    ordered_s = record.since_s
    bench.heal = lambda incident, state: replace(
        incident, anomalies=(hang(start_s=ordered_s + stood_s, end_s=state.observed_s),)
    )

    record = await bench.until_final(record)

    took_s = record.outcomes[0].ended_s - record.outcomes[0].started_s
    assert record.state is PlanState.FAILED
    assert took_s == (300.0 if waits else CYCLE_S)


async def test_a_job_that_hangs_is_not_asked_to_save_before_it_is_started_anew(
    bench: Bench,
) -> None:
    now_s = bench.clock.now_s()
    bench.incident = replace(bench.incident, anomalies=(hang(start_s=now_s - 60, end_s=now_s),))
    bench.heal = not_seen_again

    record = await bench.until_final(await bench.propose(plan_of(SAVE, RESTART)))

    assert (record.state, statuses(record)) == (PlanState.DONE, ["refused", "succeeded"])
    assert bench.cluster.effects == ["p1:1:restart_job"]
    assert "Not doing checkpoint_now for job train: it makes no steps." in await journal(bench)
    assert "plan.refused" not in bench.announcer.words()


async def test_a_node_that_the_site_holds_is_left_by_the_job_at_once(bench: Bench) -> None:
    """The site's checks were first: nothing waits for a hold of ours, and theirs stays."""
    bench.cluster.by_hand("node-1", NodeCondition.CORDONED, owner="site", why="a check")

    record = await bench.until_final(await bench.propose())

    took_s = record.outcomes[0].ended_s - record.outcomes[0].started_s
    assert (record.state, took_s < 60) == (PlanState.DONE, True)
    assert "node-1" not in bench.cluster.jobs["train"].nodes
    assert bench.cluster.nodes["node-1"].owner == "site"


async def test_a_hold_of_the_site_outlives_a_plan_that_is_taken_back(bench: Bench) -> None:
    bench.cluster.by_hand("node-1", NodeCondition.CORDONED, owner="site")
    bench.heal = never_better

    record = await bench.until_final(await bench.propose())

    assert record.state is not PlanState.DONE
    assert bench.cluster.nodes["node-1"].owner == "site"
    assert all(order.kind != "uncordon" for order in bench.cluster.orders)


async def test_a_node_that_was_out_before_is_out_after(bench: Bench) -> None:
    """What the plan did is taken back, not what it found, which is kept with the order."""
    bench.cluster.by_hand("node-1", NodeCondition.CORDONED, owner="gpumedic", why="earlier")
    bench.cluster.answers = {"swap_node": Answer.REFUSE}
    plan = plan_of(cordon("node-1"), swap("node-1"))

    record = await bench.until_final(await bench.propose(plan))

    assert record.plan.actions[0].param("prior_out") is True
    assert "prior_out=True" in await journal(bench)
    assert bench.cluster.out_by_us() == {"node-1"}


async def test_of_two_nodes_the_one_that_is_done_stays_done(bench: Bench) -> None:
    """The second swap is refused: its node goes back, the first keeps its spare, and it says so."""
    plan = plan_of(cordon("node-1"), swap("node-1"), cordon("node-2"), swap("node-2", "node-11"))
    record = await bench.propose(plan)
    while len(record.outcomes) < 2:
        record = await bench.cycle(record)
    bench.cluster.answers = {"swap_node": Answer.REFUSE}

    record = await bench.until_final(record)

    assert record.state is PlanState.FAILED
    assert bench.cluster.out_by_us() == {"node-1"}
    assert bench.cluster.jobs["train"].nodes == ("node-0", "node-10", "node-2", "node-3")
    assert "done and kept: swap_node node-1" in await journal(bench)


async def test_a_plan_that_did_not_help_keeps_nothing(bench: Bench) -> None:
    bench.heal = never_better
    plan = plan_of(cordon("node-1"), swap("node-1"), cordon("node-2"), swap("node-2", "node-11"))

    record = await bench.until_final(await bench.propose(plan))

    assert record.state is PlanState.ROLLED_BACK
    assert bench.cluster.out_by_us() == set()


@pytest.mark.parametrize(("step_s", "state"), [(5.4, "done"), (5.6, "rolled_back")])
async def test_a_job_has_to_come_back_to_its_own_pace(
    bench: Bench, step_s: float, state: str
) -> None:
    """A tenth more than usual is noise; more is not healed, though it steps and nothing shows."""
    record = await bench.propose()
    while record.state is not PlanState.VERIFYING:
        record = await bench.cycle(record)
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, step_s=step_s, usual_step_s=5.0)

    record = await bench.until_final(record)

    assert record.state == state
    assert ("takes 5.6 s a step, usually 5.0 s" in await journal(bench)) == (step_s == 5.6)


async def test_a_job_that_other_trouble_slows_has_to_be_half_way_back(bench: Bench) -> None:
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, step_s=10.0, usual_step_s=5.0)
    record = await bench.propose()
    while record.state is not PlanState.VERIFYING:
        record = await bench.cycle(record)
    assert record.plan.actions[2].param("prior_step_s") == 10.0
    bench.cluster.jobs["train"] = replace(bench.cluster.jobs["train"], step_s=7.4)

    assert (await bench.until_final(record)).state is PlanState.DONE


async def test_a_large_job_waits_for_a_person_in_auto_too(bench: Bench) -> None:
    bench.settings = RunSettings(guards=guards(max_job_gpus=16))
    bench.restart()

    record = await bench.propose()
    for _ in range(3):
        record = await bench.cycle(record)
    waits = (record.state, record.mode, list(bench.cluster.orders))
    await bench.runner.approve("p1", by="ada")
    record = await bench.until_final(record)

    assert waits == (PlanState.PROPOSED, Autonomy.APPROVE, [])
    assert "job train has 32 of 96 GPUs" in await journal(bench)
    assert (record.state, record.decided_by) == (PlanState.DONE, "ada")


async def test_an_approved_plan_is_asked_from_end_to_end_before_it_begins(bench: Bench) -> None:
    """While it waited both spares were taken: the node is not even cordoned."""
    await bench.propose(mode=Autonomy.APPROVE)
    record = await bench.runner.approve("p1", by="ada")
    for spare in ("node-10", "node-11"):
        bench.cluster.nodes[spare] = replace(bench.cluster.nodes[spare], spare=False)

    record = await bench.cycle(record)

    assert (record.state, bench.cluster.orders) == (PlanState.REFUSED, [])
    assert record.refusals[0].guard == "precondition"


async def test_a_save_that_a_job_can_no_longer_give_does_not_hold_up_the_swap(
    bench: Bench,
) -> None:
    """It stopped between the approval and the first step, and has to leave the node still."""
    record = await bench.propose(plan_of(cordon("node-1"), SAVE, swap("node-1")))
    train = bench.cluster.jobs["train"]
    bench.cluster.jobs["train"] = replace(train, phase=JobPhase.STOPPED)

    record = await bench.until_final(record)

    assert record.state is PlanState.DONE
    assert statuses(record) == ["succeeded", "refused", "succeeded"]


async def test_of_two_approved_plans_for_one_node_the_older_goes_first(bench: Bench) -> None:
    older = await bench.propose(mode=Autonomy.APPROVE)
    bench.incident = incident(id="i2", now_s=bench.clock.now_s())
    later = plan_of(cordon("node-1"), swap("node-1", "node-11"), id="p2", incident_id="i2")
    newer = await bench.propose(replace(later, made_at_s=older.plan.made_at_s + 1))

    await bench.runner.approve("p1", by="ada")
    newer = await bench.cycle(newer)

    assert newer.state is PlanState.REFUSED
    assert "live_plan" in {refusal.guard for refusal in newer.refusals}
    assert bench.cluster.orders == []


async def test_a_restart_forgets_none_of_what_counts_for_the_guards(bench: Bench) -> None:
    record = await bench.until_final(await bench.propose(plan_of(cordon("node-6"))))
    bench.restart()

    again = await bench.propose(plan_of(("reboot_node", Target(node="node-6"), {}), id="p2"))

    assert record.state.final
    assert "cooldown" in {refusal.guard for refusal in again.refusals}


async def test_a_job_that_makes_no_step_is_not_verified(bench: Bench) -> None:
    """Silence after the swap is no success: no symptom is seen, and no progress either."""
    record = await bench.propose()
    while record.state is not PlanState.VERIFYING:
        record = await bench.cycle(record)
    hung = replace(bench.cluster.jobs["train"], step=950.0)

    for _ in range(70):
        bench.cluster.jobs["train"] = hung
        if not record.state.final:
            record = await bench.cycle(record)

    assert record.state is PlanState.ROLLED_BACK
    journal = " ".join(line.text for line in await bench.store.entries("i1"))
    assert "job train makes no progress after 900 s" in journal


async def test_a_job_that_reports_no_steps_is_verified_by_running(bench: Bench) -> None:
    bench.cluster.jobs["train"] = replace(bench.cluster.jobs["train"], step=None)
    bench.cluster.steps_from = None

    record = await bench.until_final(await bench.propose())

    assert record.state is PlanState.DONE


async def test_a_plan_that_only_takes_a_free_node_out_is_verified(bench: Bench) -> None:
    bench.heal = not_seen_again

    record = await bench.until_final(await bench.propose(plan_of(cordon("node-6"))))

    assert record.state is PlanState.DONE
    assert bench.cluster.out_by_us() == {"node-6"}


async def test_a_node_in_service_counts_as_put_back(bench: Bench) -> None:
    bench.heal = not_seen_again
    record = await bench.propose(plan_of(("uncordon", Target(node="node-6"), {})))
    assert record.state is PlanState.APPROVED

    record = await bench.until_final(record)

    assert (record.state, statuses(record)) == (PlanState.DONE, ["succeeded"])
    assert bench.cluster.orders == []
