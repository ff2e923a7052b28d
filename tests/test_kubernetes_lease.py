"""Of several gpumedics on one Kubernetes only the holder of its lease acts."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
import pytest
from lightkube.resources.rbac_authorization_v1 import Role
from lightkube.types import PatchType

from agent.act.kubernetes.checking import examined
from agent.act.kubernetes.lease import LASTS_S, RENEW_S, RETRY_S, Leadership, Record, Seen, is_free
from core.clock import ManualClock
from core.cluster import OWNER
from core.errors import ActionFailed, GpumedicError, NotLeader, SourceUnavailable
from core.target import Target
from tests.contract import order
from tests.kubernetes import cluster_of, lab
from tests.test_kubernetes_parts import Server, calls_to, says

WHY = "cordon n1"


@dataclass
class Kept(httpx2.AsyncBaseTransport):
    """The Lease of an API server, which refuses a change of an older version than it has."""

    spec: dict[str, Any] | None = None
    version: int = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self.answer(request.method, json.loads(request.content or b"{}"))
        answer.request = request
        return answer

    def answer(self, method: str, sent: dict[str, Any]) -> httpx2.Response:
        if self.spec is None and method != "POST":
            return says(404, "there is none")
        now = {"resourceVersion": str(self.version)}
        if method == "POST" and self.spec is not None:
            return says(409, "there is one already")
        if method == "PATCH" and sent["metadata"] != now:
            return says(409, "it is another by now")
        if method != "GET":
            self.version += 1
            self.spec = {**(self.spec or {}), **sent.get("spec", {})}
        meta = {"resourceVersion": str(self.version)}
        return httpx2.Response(200, json={"metadata": meta, "spec": self.spec})


@dataclass
class Process(httpx2.AsyncBaseTransport):
    """One gpumedic's part in the lease, and its line to the API server.

    line: "well"; "cut"; "deaf": it is heard and hears no answer
    takes_s: each request
    """

    to: httpx2.AsyncBaseTransport
    clock: ManualClock
    line: str = "well"
    takes_s: float = 0.0
    lead: Leadership = field(init=False)

    def __post_init__(self) -> None:
        self.lead = Leadership(calls_to(self), self.clock, "gpumedic", "gpumedic")

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await self.clock.sleep(self.takes_s)  # another's request may come first
        answer = None if self.line == "cut" else await self.to.handle_async_request(request)
        if answer is None or self.line == "deaf":
            raise httpx2.ConnectError("the cable is out", request=request)
        return answer

    async def acts(self) -> bool:
        try:
            await self.lead.require(WHY)
        except GpumedicError:
            return False
        return True


def two(clock: ManualClock | None = None) -> tuple[ManualClock, Process, Process]:
    kept, clock = Kept(), clock or ManualClock()
    return clock, Process(kept, clock), Process(kept, clock)


@pytest.mark.parametrize(
    ("holder", "silent_s", "free"),
    [
        ("", 0.0, True),
        ("me", 0.0, True),
        ("me", 100.0, True),
        ("other", 0.0, False),
        ("other", 14.9, False),
        ("other", 15.0, True),
    ],
)
def test_a_lease_is_free_that_nobody_else_has_or_has_been_heard_of(
    holder: str, silent_s: float, *, free: bool
) -> None:
    seen = Seen(Record(holder, lasts_s=15.0), at_s=50.0)

    assert is_free(seen, "me", 50.0 + silent_s) is free


def test_a_holder_is_heard_of_where_its_record_changes_and_not_where_it_is_read() -> None:
    first = Seen(Record("other"), at_s=0.0)

    assert first.then(Record("other"), 14.0).at_s == 0.0
    assert first.then(Record("other", transitions=1), 14.0).at_s == 14.0


async def test_one_of_two_acts_and_the_other_is_told_who_and_what_would_let_it_act() -> None:
    _, *both = two()
    acts = await asyncio.gather(*(each.acts() for each in both))
    holder, other = both if acts[0] else reversed(both)

    assert sorted(acts) == [False, True]
    holds = f"{holder.lead.me} holds the lease gpumedic/gpumedic since 2023-11-14T22:13:20Z"
    said = f"cordon n1: not done: {holds}, .*15 s later"
    with pytest.raises(NotLeader, match=said):
        await other.lead.require(WHY)

    await holder.lead.close()
    assert await other.acts()
    assert not await holder.acts()
    await other.lead.close()


async def test_a_silent_holder_is_followed_by_the_others_own_clock_and_has_stopped_before() -> None:
    """The two clocks are years apart; the holder's is what the record says."""
    kept = Kept()
    dead = Process(kept, ManualClock(now_s=2e9))
    heir = Process(kept, ManualClock(now_s=1e9))
    assert await dead.acts()
    assert not await heir.acts()
    dead.line = "cut"

    for clock in (dead.clock, heir.clock):
        await clock.advance(RENEW_S)
    with pytest.raises(NotLeader, match=r"could not renew the lease .* within 10 s"):
        dead.lead.check(WHY)
    await heir.clock.advance(LASTS_S - RENEW_S - 0.1)
    assert not await heir.acts()

    await heir.clock.advance(0.1)
    assert await heir.acts()
    dead.line = "well"
    with pytest.raises(NotLeader, match=heir.lead.me):
        await dead.lead.require(WHY)
    await heir.lead.close()
    await dead.lead.close()


async def test_a_holder_renews_by_itself_and_goes_on() -> None:
    clock, holder, other = two()
    assert await holder.acts()
    for _ in range(10):
        assert not await other.acts()
        await clock.advance(LASTS_S)
        holder.lead.check(WHY)
    await holder.lead.close()
    await other.lead.close()


async def test_a_lease_lasts_from_before_it_was_asked_for() -> None:
    clock, holder, _ = two()
    holder.takes_s = RENEW_S / 5
    asking = asyncio.create_task(holder.acts())
    await asyncio.sleep(0)

    await clock.advance(RENEW_S - 0.1)
    assert await asking
    assert holder.lead.held
    await clock.advance(0.1)
    assert not holder.lead.held
    holder.takes_s = 0.0
    await holder.lead.close()


@pytest.mark.parametrize("seed", range(2))
async def test_two_never_hold_it_at_once_and_one_does_in_the_end_whatever_their_lines_do(
    seed: int,
) -> None:
    dice = np.random.default_rng(seed)
    clock, *both = two()
    held = []
    for step in range(40):
        for each in both:
            each.line = str(dice.choice(("well", "cut", "deaf"))) if step else "well"
            await each.acts()
        if dice.random() < 0.1:
            await both[dice.integers(2)].lead.close()
        for _ in range(dice.choice((0, 2, 9, 11, 16))):
            await clock.advance(1.0)
            held.append(tuple(each.lead.held for each in both))

    assert set(held) == {(False, False), (False, True), (True, False)}
    for each in both:
        each.line = "well"
    await clock.advance(LASTS_S + 2 * RETRY_S)
    assert sum([await each.acts() for each in both]) == 1
    for each in both:
        await each.lead.close()


async def test_what_keeps_one_from_the_lease_is_said() -> None:
    no = 'leases.coordination.k8s.io "gpumedic" is forbidden: User "u" cannot get resource "leases"'
    unread = Leadership(calls_to(Server([says(403, no)])), ManualClock(), "gpumedic", "gpumedic")
    with pytest.raises(SourceUnavailable, match=r'cannot get resource "leases".*kubernetes\.yaml'):
        await unread.require(WHY)

    nowhere = Server([says(404, "none"), says(404, 'namespaces "gpumedic" not found')])
    unmade = Leadership(calls_to(nowhere), ManualClock(), "gpumedic", "gpumedic")
    with pytest.raises(ActionFailed, match=r"not found.*kubernetes\.lease_namespace names another"):
        await unmade.require(WHY)


async def test_of_two_on_a_real_cluster_one_acts_and_the_other_takes_over() -> None:
    with lab() as started:
        stopped, clock = ManualClock(), ManualClock()
        first, second = cluster_of(started), cluster_of(started, clock=stopped)
        third = cluster_of(started, clock=clock)
        try:
            await first.perform(order("cordon", Target(node="n1")))
            with pytest.raises(NotLeader, match=first.lease.me):
                await second.perform(order("cordon", Target(node="n2")))
            owners = {node.name: node.owner for node in (await second.state()).nodes}
            assert (owners["n1"], owners["n2"]) == (OWNER, "")

            await first.close()
            await second.perform(order("cordon", Target(node="n2")))

            with pytest.raises(NotLeader, match=second.lease.me):
                await third.perform(order("cordon", Target(node="n3")))
            await clock.advance(LASTS_S)
            await third.perform(order("cordon", Target(node="n3")))
            await stopped.advance(RENEW_S)
            with pytest.raises(NotLeader, match=third.lease.me):
                await second.perform(order("cordon", Target(node="n4"), step=1))
        finally:
            for each in (first, second, third):
                await each.close()


async def test_a_real_cluster_that_forbids_the_lease_is_read_and_says_which_rule_is_missing() -> (
    None
):
    with lab() as started:
        role = started.client.get(Role, "gpumedic", namespace="gpumedic")
        whole = {"rules": [rule.to_dict() for rule in role.rules or ()]}

        def allow(rules: dict[str, Any]) -> None:
            started.client.patch(
                Role, "gpumedic", rules, namespace="gpumedic", patch_type=PatchType.MERGE
            )

        allow({"rules": []})
        try:
            cluster = cluster_of(started)
            rule = r'cannot get resource "leases" in API group "coordination\.k8s\.io"'
            with pytest.raises(SourceUnavailable, match=rule):
                await cluster.perform(order("cordon", Target(node="n1")))
            found, better = await examined(cluster)
            assert found.startswith("4 nodes with 32 GPUs, 0 jobs; nothing can be ordered")
            assert rule.replace("\\", "") in better[0]
        finally:
            allow(whole)
