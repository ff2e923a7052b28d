"""Orders on their way: unheard, slow, given again or wanted no more, each with one effect."""

import pytest

from core.clock import ManualClock
from core.cluster import NodeCondition
from core.types import Action, OutcomeStatus, PlanState
from remediation.running.run import RunSettings
from tests.fakes import Answer, FakeCluster, MemoryStore
from tests.healing import Bench, cordon, guards, plan_of, swap


@pytest.fixture
def bench(clock: ManualClock) -> Bench:
    settings = RunSettings(guards=guards())
    return Bench(clock, FakeCluster(clock), MemoryStore(), settings=settings)


@pytest.mark.parametrize("answer", [Answer.HANG, Answer.LOSE, Answer.AWAY])
async def test_an_order_without_effect_ends_at_its_deadline(bench: Bench, answer: Answer) -> None:
    bench.cluster.answers = {"cordon": answer}

    record = await bench.until_final(await bench.propose())

    assert record.outcomes[0].status is OutcomeStatus.TIMED_OUT
    assert record.outcomes[0].ended_s - record.outcomes[0].started_s >= 120
    assert record.state is PlanState.ROLLED_BACK
    assert bench.cluster.effects == []


async def test_an_answer_that_got_lost_is_asked_for_again(bench: Bench) -> None:
    """The order was carried out, its answer was not heard: the same key does nothing again."""
    bench.cluster.answers = {"cordon": Answer.HANG_AND_DO}
    bench.cluster.delay_s = 80.0
    record = await bench.cycle(await bench.cycle(await bench.propose()))
    assert [order.key for order in bench.cluster.orders] == ["p1:0:cordon"]
    bench.restart()

    record = await bench.until_final(record)

    assert record.state is PlanState.DONE
    assert [order.key for order in bench.cluster.orders].count("p1:0:cordon") == 2
    assert bench.cluster.effects.count("p1:0:cordon") == 1


async def test_an_order_that_takes_long_is_not_cut_off_and_not_given_twice(bench: Bench) -> None:
    """A look, a reservation and a requeue at a slow scheduler, each in its time."""
    parts, perform = [], bench.cluster.perform

    async def slow(action: Action) -> None:
        for part in ("looked", "reserved", "requeued"):
            await bench.clock.sleep(20.0)
            parts.append(part)
        await perform(action)

    bench.cluster.perform = slow  # type: ignore[method-assign]

    record = await bench.until_final(await bench.propose(plan_of(cordon("node-1"), swap("node-1"))))

    assert record.state is PlanState.DONE
    assert parts == ["looked", "reserved", "requeued"] * 2
    lines = [line.kind for line in await bench.store.entries("i1")]
    assert lines.count("action.unheard") == 2
    assert "action.again" not in lines


async def test_what_is_under_way_ends_where_a_person_takes_over(bench: Bench) -> None:
    bench.cluster.answers = {"cordon": Answer.HANG}
    record = await bench.cycle(await bench.propose())
    bench.cluster.by_hand("node-1", NodeCondition.DRAINED, owner="ada")

    record = await bench.cycle(record)
    bench.cluster.answers = {}
    await bench.clock.advance(1e9)

    assert record.state is PlanState.OVERRIDDEN
    assert bench.cluster.effects == []


async def test_a_scheduler_that_comes_back_is_asked_again(bench: Bench) -> None:
    bench.cluster.answers = {"cordon": Answer.AWAY}
    record = await bench.cycle(await bench.propose())
    record = await bench.cycle(await bench.cycle(record))
    bench.cluster.answers = {}

    record = await bench.until_final(record)

    assert record.state is PlanState.DONE
    lines = [line.kind for line in await bench.store.entries("i1")]
    assert [lines.count(kind) for kind in ("action.unheard", "action.again")] == [1, 1]


async def test_an_unforeseen_error_is_not_swallowed(bench: Bench) -> None:
    bench.cluster.answers = {"cordon": Answer.BREAK}
    record = await bench.propose()

    with pytest.raises(ZeroDivisionError):
        await bench.cycle(record)

    bench.cluster.answers = {}
    assert (await bench.until_final(record)).state is PlanState.DONE
