"""A person is called once, by a message that says why; what they take over is left to them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.assembly import Assembly
from agent.history import History
from agent.observed_cluster import ObservedCluster
from agent.outcomes import upshot_of
from core.choice import Choice
from core.clock import ManualClock
from core.errors import ActionFailed, InputError
from core.ports import Cluster
from core.target import Target
from core.types import Event, PlanRecord, PlanState, Severity
from remediation.catalogue import make
from remediation.deciding.choosing import ChoosingPolicy
from remediation.policies.thumb import THUMBS, Thumb
from remediation.running.page import is_page
from tests.contract import Ward, over_http, simulated
from tests.fakes import Answer, FakeCluster
from tests.loop import CYCLE_S, ScriptedEvents, cycles, loop, xid
from tests.receivers import Receiver, receiving, response

AUTO = [{"mode": "auto"}]
HOUR = int(3600 / CYCLE_S)


def escalating() -> ChoosingPolicy:
    return ChoosingPolicy(THUMBS["always_escalate"]())


def paging_then_restarting() -> ChoosingPolicy:
    return ChoosingPolicy(Thumb("both", Choice.ESCALATE, Choice.RESTART))


class Trouble:
    """A GPU off the bus under a job, told of again at every cycle, and the controller's answer."""

    def __init__(self, app: Assembly, clock: ManualClock, events: ScriptedEvents) -> None:
        self.app, self.clock, self.events = app, clock, events

    async def goes_on(self, count: int) -> None:
        for _ in range(count):
            self.events.next = [xid("node-1", "GPU-8", time_s=self.clock.now_s())]
            await cycles(self.app, self.clock, 1)

    def pages(self) -> list[PlanRecord]:
        found = [each for each in self.app.controller.heal.recent() if is_page(each.plan)]
        return sorted(found, key=lambda each: each.plan.made_at_s)


async def trouble(
    folder: Path,
    clock: ManualClock,
    cluster: Cluster,
    policy: ChoosingPolicy,
    *,
    sink: Receiver | None = None,
) -> Trouble:
    events = ScriptedEvents()
    hooks = [] if sink is None else [{"name": "ops", "url": f"http://127.0.0.1:{sink.port}/"}]
    app = await loop(folder, clock, events=[events], cluster=cluster, autonomy=AUTO, webhooks=hooks)
    app.controller.heal.policy = policy
    return Trouble(app, clock, events)


async def test_a_person_is_called_by_a_message_and_once_an_hour(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    async with receiving(lambda _: response("200 OK")) as sink:
        seen = await trouble(tmp_path, clock, cluster, escalating(), sink=sink)

        await seen.goes_on(HOUR // 2)
        await seen.app.outbox.pump()

        (page,) = seen.pages()
        told = [json.loads(each.body) for each in sink.got]
        called = [each for each in told if each["gpumedic"]["event"] == "person.paged"]
    (message,) = called
    assert page.state is PlanState.DONE
    assert [action.kind for action in cluster.orders] == ["page_person"]
    assert message["commonAnnotations"]["summary"].startswith("please come: page_person job train")
    assert page.plan.cause.fault.replace("_", " ") in message["commonAnnotations"]["summary"]
    assert message["gpumedic"]["links"]["acknowledge"].endswith(f"{page.plan.id}/acknowledge")

    await seen.goes_on(HOUR)

    assert [each.state for each in seen.pages()] == [PlanState.DONE] * 2
    await seen.app.close()


async def test_it_is_journaled_before_anybody_is_called(tmp_path: Path, clock: ManualClock) -> None:
    seen = await trouble(tmp_path, clock, FakeCluster(clock), escalating())
    await seen.goes_on(5)

    (page,) = seen.pages()
    entries = await seen.app.controller.store.entries(page.plan.incident_id)
    kinds = [each.kind for each in entries if each.plan_id == page.plan.id]
    assert kinds[:3] == ["policy.decision", "plan.proposed", "plan.approved"]
    assert kinds[-1] == "plan.done"
    assert any("ordered" in each.text for each in entries)
    await seen.app.close()


async def test_what_can_be_done_meanwhile_is_done(tmp_path: Path, clock: ManualClock) -> None:
    cluster = FakeCluster(clock)
    seen = await trouble(tmp_path, clock, cluster, paging_then_restarting())

    await seen.goes_on(12)

    kinds = [action.kind for action in cluster.orders]
    assert kinds[0] == "page_person"
    assert "restart_job" in kinds
    await seen.app.close()


async def test_who_was_called_and_takes_over_is_left_alone(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    seen = await trouble(tmp_path, clock, cluster, paging_then_restarting())
    await seen.goes_on(4)
    (page,) = seen.pages()

    taken = await seen.app.controller.acknowledge(page.plan.id, by="ada")
    before = len(cluster.orders)
    await seen.goes_on(HOUR + 8)

    assert (taken.state, taken.decided_by) == (PlanState.OVERRIDDEN, "ada")
    others = [each for each in seen.app.controller.heal.recent() if not is_page(each.plan)]
    assert {each.state for each in others} <= {PlanState.OVERRIDDEN, PlanState.REFUSED}
    assert all(
        refusal.guard == "human" and "ada has taken it over" in refusal.reason
        for each in others
        for refusal in each.refusals
        if refusal.guard != "cooldown"
    )
    assert len(cluster.orders) == before
    assert upshot_of(seen.app.controller.heal.plans[page.plan.id]) is None
    await seen.app.close()


async def test_an_answer_that_comes_before_the_page_is_seen_counts(
    tmp_path: Path, clock: ManualClock
) -> None:
    cluster = FakeCluster(clock)
    cluster.answers["page_person"] = Answer.LATE
    seen = await trouble(tmp_path, clock, cluster, paging_then_restarting())
    await seen.goes_on(2)
    (page,) = seen.pages()

    taken = await seen.app.controller.acknowledge(page.plan.id, by="ada")
    await seen.goes_on(20)

    assert (page.state, taken.state) == (PlanState.ACTING, PlanState.OVERRIDDEN)
    assert [action.kind for action in cluster.orders] == ["page_person"]
    await seen.app.close()


async def test_only_a_page_that_went_out_is_taken_over_and_once(
    tmp_path: Path, clock: ManualClock
) -> None:
    seen = await trouble(tmp_path, clock, FakeCluster(clock), escalating())
    await seen.goes_on(4)
    (page,) = seen.pages()
    await seen.app.controller.acknowledge(page.plan.id, by="ada")

    with pytest.raises(InputError, match="it is overridden by ada"):
        await seen.app.controller.acknowledge(page.plan.id, by="bob")
    with pytest.raises(InputError, match="there is none of that id"):
        await seen.app.controller.acknowledge("p999", by="bob")
    await seen.app.close()


@pytest.mark.parametrize("build", [simulated, over_http], ids=lambda made: made.__name__)
async def test_a_simulated_cluster_sends_somebody(
    build: Callable[[], Ward], tmp_path: Path
) -> None:
    ward = build()
    clock = ward.clock
    assert isinstance(clock, ManualClock)
    state = await ward.cluster.state()
    gpu = state.topology.gpus_of_node("node-01")[0]
    at_s = clock.now_s()
    said = Event(Target(node="node-01", gpu=gpu), at_s, "xid", "79", "gone", Severity.CRITICAL)
    app = await loop(
        tmp_path,
        clock,
        events=[ScriptedEvents([said])],
        cluster=ward.cluster,
        autonomy=AUTO,
    )
    app.controller.heal.policy = escalating()

    await cycles(app, clock, 6)

    job = (await ward.cluster.state()).job("big")
    (record,) = app.controller.heal.recent()
    assert record.state is PlanState.DONE
    assert job is not None
    assert job.paged_s is not None
    assert job.paged_s >= at_s
    await app.close()


async def test_readings_alone_have_no_hands_and_still_call(
    tmp_path: Path, clock: ManualClock
) -> None:
    history = History(tmp_path, step_s=15.0, span_s=3600.0)
    cluster = ObservedCluster(history, clock)
    page = make("page_person", Target(node="n1"), {}, plan_id="p", step=0)

    await cluster.perform(page)
    with pytest.raises(ActionFailed, match="no scheduler is connected"):
        await cluster.perform(make("cordon", Target(node="n1"), {}, plan_id="p", step=1))
    history.close()
