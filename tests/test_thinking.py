"""What takes long is thought about in a process of its own; what becomes of it stops nothing."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.assembly import Assembly
from agent.thinking import Apart, Thinker
from core.choice import Choice
from core.clock import ManualClock
from core.types import PlanState
from remediation.deciding.chooser import Moment, Thought
from remediation.deciding.choosing import ChoosingPolicy
from remediation.deciding.decided import Decided, read
from remediation.policies.greedy import Greedy
from tests.choosing import PAST
from tests.fakes import FakeCluster
from tests.healing import NOW_S, diagnosis, incident
from tests.loop import ScriptedEvents, cycles, loop, xid
from tests.test_workers import pids_in

QUICK = {"warm": "tests.worker_tasks:nothing", "think": "tests.worker_tasks:swap"}
HANGS = QUICK | {"think": "tests.worker_tasks:hang_first"}
BREAKS = QUICK | {"think": "tests.worker_tasks:break_down"}
LONG_S, SHORT_S = 60.0, 0.2


async def moment() -> Moment:
    cluster = FakeCluster(ManualClock(NOW_S))
    policy = ChoosingPolicy(Greedy())
    about = (incident(), diagnosis(), await cluster.state())
    return policy.moment(*about, now_s=NOW_S, plan_id="p1", past=PAST)


@pytest.fixture
async def thinkers() -> AsyncIterator[list[Thinker]]:
    made: list[Thinker] = []
    yield made
    for each in made:
        await each.close()


async def ready(made: list[Thinker], limit_s: float, functions: dict[str, str]) -> Thinker:
    thinker = Thinker(("some",), limit_s=limit_s, **functions)  # type: ignore[arg-type]
    made.append(thinker)
    thinker.start()
    assert await thinker.made_ready()
    return thinker


async def pid_in(note: Path) -> int:
    (pid,) = await pids_in(note)
    return pid


async def test_an_answer_comes_from_another_process(thinkers: list[Thinker]) -> None:
    thinker = await ready(thinkers, LONG_S, QUICK)

    assert await thinker.ask("some", await moment()) == Thought(Choice.SWAP, "quick", "1")
    assert thinker.problems == ()


async def test_before_it_is_ready_nobody_waits_for_it(thinkers: list[Thinker]) -> None:
    thinker = Thinker(("some",), limit_s=LONG_S, **QUICK)  # type: ignore[arg-type]
    thinkers.append(thinker)
    thinker.start()

    said = await thinker.ask("some", await moment())

    assert said == "some could not be asked: its process is being made ready"
    assert [each.source for each in thinker.problems] == ["policy"]


async def test_a_process_that_is_killed_half_way_is_replaced(
    thinkers: list[Thinker], tmp_path: Path
) -> None:
    thinker, note = await ready(thinkers, LONG_S, HANGS), tmp_path / "pid"
    asking = asyncio.create_task(thinker.ask(str(note), await moment()))
    os.kill(await pid_in(note), signal.SIGKILL)

    said = await asking

    assert isinstance(said, str)
    assert "signal SIGKILL" in said
    assert await thinker.made_ready()
    assert isinstance(await thinker.ask(str(note), await moment()), Thought)


async def test_an_end_in_the_middle_of_a_thought_is_no_failure(
    thinkers: list[Thinker], tmp_path: Path
) -> None:
    thinker, note = await ready(thinkers, LONG_S, HANGS), tmp_path / "pid"
    asking = asyncio.create_task(thinker.ask(str(note), await moment()))
    await pid_in(note)

    await thinker.close()

    assert await asking == f"{note} could not be asked: the controller is ending"


async def test_a_thought_that_takes_too_long_is_ended_and_its_process_replaced(
    thinkers: list[Thinker], tmp_path: Path
) -> None:
    thinker, note = await ready(thinkers, SHORT_S, HANGS), tmp_path / "pid"

    said = await thinker.ask(str(note), await moment())

    assert isinstance(said, str)
    assert said.endswith("took longer than 0.2 s (policy.time_limit)")
    assert await thinker.made_ready()


async def test_a_policy_that_breaks_leaves_its_process_ready(thinkers: list[Thinker]) -> None:
    thinker = await ready(thinkers, LONG_S, BREAKS)

    said = await thinker.ask("some", await moment())

    assert isinstance(said, str)
    assert "ValueError: nobody foresaw this" in said
    assert thinker.ready


async def test_a_process_that_cannot_be_made_ready_is_a_problem(thinkers: list[Thinker]) -> None:
    thinker = Thinker(("some",), limit_s=LONG_S, warm="tests.worker_tasks:raise_value_error")
    thinkers.append(thinker)
    thinker.start()

    assert not await thinker.made_ready()
    assert "could not be made ready" in thinker.problems[0].text


@pytest.mark.timeout(900)
async def test_the_twin_thinks_there_and_is_compiled_there(thinkers: list[Thinker]) -> None:
    thinker = Thinker(("twin",), limit_s=LONG_S)
    thinkers.append(thinker)
    thinker.start()
    assert await thinker.made_ready(), thinker.problems

    first = await thinker.ask("twin", await moment())
    explored = await thinker.ask("twin", await moment(), explore=0.1)

    assert isinstance(first, Thought)
    assert isinstance(explored, Thought)
    assert (first.name, first.chances) == ("twin", ())
    assert sum(explored.chances) == pytest.approx(1.0)
    assert first.losses[first.choice] >= 0  # and it says what it expects each choice to lose


# In the loop


async def troubled(
    folder: Path, clock: ManualClock, cluster: FakeCluster, **policy: object
) -> Assembly:
    events = ScriptedEvents([xid("node-1", "GPU-8", time_s=clock.now_s())])
    chosen = {"autonomy": [{"mode": "auto"}], "policy": policy}
    return await loop(folder, clock, events=[events], cluster=cluster, **chosen)  # type: ignore[arg-type]


async def decided_in(app: Assembly) -> Decided:
    (only,) = app.controller.watch.recent()
    return read(await app.controller.store.entries(only.id))[0]


async def test_a_limit_of_nothing_lets_the_policy_within_decide_and_says_so(
    tmp_path: Path, clock: ManualClock
) -> None:
    app = await troubled(tmp_path, clock, FakeCluster(clock), use="twin", time_limit="0s")

    await cycles(app, clock, 1)

    found = await decided_in(app)
    (record,) = app.controller.heal.recent()
    assert found.policy == record.plan.policy == "greedy"
    assert found.note == "twin is not asked: policy.time_limit is 0"
    assert record.plan.rationale.endswith(f"It decided because {found.note}.")
    await app.close()


async def test_the_loop_goes_on_while_a_thought_hangs_and_decides_without_it(
    tmp_path: Path, clock: ManualClock, thinkers: list[Thinker]
) -> None:
    cluster, note = FakeCluster(clock), tmp_path / "pid"
    app = await troubled(tmp_path / "state", clock, cluster, use="greedy")
    app.controller.heal.apart = Apart(await ready(thinkers, LONG_S, HANGS), str(note))
    cycle = asyncio.create_task(app.controller.cycle())
    thinking = await pid_in(note)

    await app.controller.pause(by="ada", because="to see whether it listens", for_s=None)
    view = app.controller.view()
    assert not cycle.done()
    os.kill(thinking, signal.SIGKILL)
    await cycle

    assert view.pause is not None
    found = await decided_in(app)
    assert found.policy == "greedy"
    assert "signal SIGKILL" in found.note
    app.controller.heal.apart = None
    await app.close()


async def test_what_was_thought_is_done_under_the_name_of_who_thought_it(
    tmp_path: Path, clock: ManualClock, thinkers: list[Thinker]
) -> None:
    cluster = FakeCluster(clock)
    app = await troubled(tmp_path, clock, cluster, use="greedy")
    thinker = await ready(thinkers, LONG_S, QUICK)
    app.controller.heal.apart = Apart(thinker, "some", "some")

    await cycles(app, clock, 30)

    record = app.controller.heal.recent()[-1]
    found = await decided_in(app)
    assert (record.plan.policy, found.policy, found.note) == ("quick", "quick", "")
    assert (found.shadow, found.shadow_choice) == ("quick", Choice.SWAP)
    assert record.state is PlanState.DONE
    assert "swap_node" in [action.kind for action in cluster.orders]
    app.controller.heal.apart = None
    await app.close()


async def test_a_reload_starts_and_ends_the_process(tmp_path: Path, clock: ManualClock) -> None:
    app = await troubled(tmp_path, clock, FakeCluster(clock), use="runbook")
    settings = app.settings
    twin = settings.policy.model_copy(update={"use": "twin", "time_limit": 0.0})
    assert app.controller.heal.apart is None

    app.apply(settings.model_copy(update={"policy": twin}))
    started = app.controller.heal.apart
    app.apply(settings.model_copy(update={"policy": twin}))
    kept = app.controller.heal.apart
    app.apply(settings)

    assert started is not None
    assert kept is not None
    assert kept.thinker is started.thinker
    assert (started.thinker.policies, started.policy) == (("twin",), "twin")
    assert app.controller.heal.apart is None
    await app.close()
