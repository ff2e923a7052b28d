"""The world is read whole where it can be, and what is missing is named and hides nothing else."""

import asyncio
import math
from collections.abc import Sequence

import numpy as np

from agent.gather import CATCH_UP_S, OVERLAP_STEPS, UNAVAILABLE, Gatherer
from agent.history import History
from core.clock import ManualClock
from core.cluster import ClusterState
from core.errors import StoreError
from core.ports import Cluster, Collected, EventSource, MetricSource, Query
from core.target import Target
from core.types import Event, Window
from tests.fakes import FakeCluster
from tests.loop import ScriptedEvents, ScriptedSource, xid

STEP_S, SPAN_S = 15.0, 3600.0
METRIC = "node_memory_used_ratio"


class Hanging:
    """Never answers: as a source, an event source and a scheduler."""

    name = "hanging"

    async def read(self, query: Query) -> Collected:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def events(self) -> tuple[Event, ...]:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def state(self) -> ClusterState:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def perform(self, action: object) -> None:
        raise AssertionError("gathering performs nothing")


class FullHistory(History):
    """A history whose disk has just become full."""

    def merge(self, window: Window, *, now_s: float) -> tuple[()]:
        super().merge(window, now_s=now_s)
        raise StoreError("keeping the history: the disk is full. Make room.")


def steady(name: str, node: str) -> ScriptedSource:
    return ScriptedSource({(METRIC, Target(node=node)): lambda at: 0.5}, name=name)


def gatherer(
    clock: ManualClock,
    sources: Sequence[MetricSource] = (),
    *,
    events: Sequence[EventSource] = (),
    cluster: Cluster | None = None,
    history: History | None = None,
) -> Gatherer:
    return Gatherer(
        metrics=(METRIC,),
        history=history or History(None, step_s=STEP_S, span_s=SPAN_S),
        sources=sources,
        event_sources=events,
        cluster=cluster,
        clock=clock,
        step_s=STEP_S,
        span_s=SPAN_S,
        deadline_s=0.05,
    )


async def test_readings_of_all_sources_meet_in_the_history(clock: ManualClock) -> None:
    given = gatherer(clock, [steady("a", "node-1"), steady("b", "node-2")])

    world = await given.gather()

    assert set(given.history.targets(METRIC)) == {Target(node="node-1"), Target(node="node-2")}
    assert world.problems == ()
    assert all(0 <= lag_s < STEP_S for lag_s in world.lag_s.values())


async def test_a_source_that_hangs_hides_no_other(clock: ManualClock) -> None:
    given = gatherer(
        clock,
        [Hanging(), steady("b", "node-2")],
        events=[Hanging(), ScriptedEvents([xid("n", "g", time_s=clock.now_s())])],
        cluster=Hanging(),
    )

    world = await given.gather()

    assert given.history.targets(METRIC) == (Target(node="node-2"),)
    assert [event.code for event in world.events] == ["79"]
    assert world.state is None
    assert {(p.source, p.code) for p in world.problems} == {("hanging", UNAVAILABLE)}
    assert all("no answer within 0.05 s" in problem.text for problem in world.problems)
    assert math.isnan(world.lag_s["hanging"])
    assert world.lag_s["b"] < STEP_S


async def test_the_next_look_asks_for_little_more_than_is_new(clock: ManualClock) -> None:
    source = steady("a", "node-1")
    given = gatherer(clock, [source])

    await given.gather()
    await clock.advance(STEP_S)
    await given.gather()

    first, second = source.queries
    assert first.end_s - first.start_s == CATCH_UP_S
    assert second.end_s - second.start_s <= (OVERLAP_STEPS + 2) * STEP_S


async def test_after_an_outage_all_that_was_missed_is_asked_for(clock: ManualClock) -> None:
    source = steady("a", "node-1")
    given = gatherer(clock, [source])
    await given.gather()
    before_s = clock.now_s()
    source.away = True
    for _ in range(40):
        await clock.advance(STEP_S)
        world = await given.gather()
    source.away = False
    await given.gather()

    assert math.isnan(world.lag_s["a"])
    window = given.history.window(METRIC, start_s=before_s, end_s=clock.now_s())
    assert np.isfinite(window.value).all()
    assert window.value.shape[1] >= 40


async def test_a_clock_set_back_still_asks_for_the_present(clock: ManualClock) -> None:
    source = steady("a", "node-1")
    given = gatherer(clock, [source])
    await given.gather()
    clock.step(-1800.0)

    world = await given.gather()

    assert source.queries[-1].end_s == clock.now_s()
    assert source.queries[-1].start_s < clock.now_s()
    assert 0 <= world.lag_s["a"] < STEP_S


async def test_a_full_disk_under_the_history_is_a_problem_told(clock: ManualClock) -> None:
    """The readings are kept all the same, and the other sources' too."""
    history = FullHistory(None, step_s=STEP_S, span_s=SPAN_S)
    given = gatherer(clock, [steady("a", "node-1"), steady("b", "node-2")], history=history)

    world = await given.gather()

    assert {problem.source for problem in world.problems} == {"history"}
    assert "the disk is full" in world.problems[0].text
    assert len(history.targets(METRIC)) == 2


async def test_the_scheduler_is_part_of_the_world(clock: ManualClock) -> None:
    world = await gatherer(clock, cluster=FakeCluster(clock)).gather()

    assert world.state is not None
    assert len(world.state.nodes) == 12


async def test_what_is_said_while_a_look_goes_on_is_not_after_it(clock: ManualClock) -> None:
    """A diagnosis passes over what lies ahead of its moment."""
    began_s = clock.now_s()

    class Slow:
        name = "slow"

        async def events(self) -> tuple[Event, ...]:
            await clock.advance(2.0)
            times = (began_s - 5.0, clock.now_s(), began_s + 3600.0)
            return tuple(xid("n1", "GPU-1", time_s=time_s) for time_s in times)

    world = await gatherer(clock, events=[Slow()]).gather()
    world = world.as_of_its_moment(clock.now_s())

    assert world.now_s == began_s
    assert [event.time_s - began_s for event in world.events] == [-5.0, 0.0, 3600.0]


async def test_a_source_away_from_the_start_is_down(clock: ManualClock) -> None:
    source = steady("a", "node-1")
    source.away = True

    world = await gatherer(clock, [source]).gather()

    assert math.isnan(world.lag_s["a"])
    assert "it is away" in world.problems[0].text


async def test_a_source_that_breaks_hides_no_other(clock: ManualClock) -> None:
    """A plug-in may raise anything; what it raised is said."""
    broken = steady("a", "node-1")
    broken.broken = [ZeroDivisionError("division by zero in a plug-in")]

    world = await gatherer(clock, [broken, steady("b", "node-2")]).gather()

    assert math.isnan(world.lag_s["a"])
    assert world.lag_s["b"] < STEP_S
    assert "division by zero in a plug-in" in world.problems[0].text


async def test_a_long_outage_is_filled_beside_the_cycle(clock: ManualClock) -> None:
    """No cycle asks for hours at once; what one leaves out, the next fill asks for, once."""
    source = steady("a", "node-1")
    given = gatherer(clock, [source])
    await given.gather()
    await given.fill()
    before_s = clock.now_s()
    source.away = True
    await clock.advance(2400.0)
    await given.gather()
    await given.fill()
    source.away = False
    await given.gather()
    longest_s = max(query.end_s - query.start_s for query in source.queries[-1:])
    problems = await given.fill()
    asked = len(source.queries)
    await given.fill()

    window = given.history.window(METRIC, start_s=before_s, end_s=clock.now_s())
    assert longest_s <= CATCH_UP_S
    assert problems == ()
    assert window.value.shape[1] == 160
    assert np.isfinite(window.value).all()
    assert len(source.queries) == asked


async def test_a_source_away_at_the_start_is_filled_when_it_comes(clock: ManualClock) -> None:
    source = steady("a", "node-1")
    source.away = True
    given = gatherer(clock, [source])
    (problem,) = await given.fill()
    source.away = False

    await given.gather()
    await given.fill()

    assert "it is away" in problem.text
    assert given.history.gaps(clock.now_s() - SPAN_S, clock.now_s()) == ()


async def test_the_lag_is_the_age_of_a_reading_and_not_of_an_answer(clock: ManualClock) -> None:
    """An exporter died ten minutes ago; the answer still reaches up to now, empty."""
    died_s = clock.now_s()
    values = {(METRIC, Target(node="n")): lambda at: 0.5 if at <= died_s else math.nan}
    given = gatherer(clock, [ScriptedSource(values, name="a")])
    await clock.advance(600.0)

    world = await given.gather()

    assert 600.0 <= world.lag_s["a"] < 600.0 + STEP_S
