"""Each decision is a line of the journal: what was seen, chosen, and what a shadow would choose."""

from pathlib import Path

import pytest

from core.choice import Choice
from core.clock import ManualClock
from core.errors import InputError
from core.situation import Fact
from core.types import JournalEntry
from remediation.deciding.choosing import ChoosingPolicy
from remediation.deciding.decided import KIND, Decided, entry, in_words, read
from remediation.deciding.policy import Decision
from remediation.deciding.turns import RETRY_AFTER_S
from remediation.policies.thumb import THUMBS
from tests.fakes import FakeCluster
from tests.loop import CYCLE_S, ScriptedEvents, cycles, loop, xid


def made(**changes: object) -> Decided:
    chosen: dict[str, object] = {
        "time_s": 1.0,
        "incident_id": "i1",
        "plan_id": "",
        "fault": "memory_leak",
        "facts": (0.5, 1e9),
        "open": (0, 4),
        "choice": 4,
        "propensity": 0.9,
        "policy": "runbook",
        "policy_version": "1",
    }
    return Decided(**{**chosen, **changes})  # type: ignore[arg-type]


def test_a_decision_is_read_back_as_it_was_written() -> None:
    decisions = (made(), made(shadow_choice=2, shadow="learned", shadow_propensity=0.05))
    other = JournalEntry(2.0, "i1", "p1", "plan.done", "verified")

    assert read([entry(decisions[0]), other, entry(decisions[1])]) == decisions


def test_a_line_that_is_torn_is_named() -> None:
    with pytest.raises(InputError, match="Decided lacks the field"):
        read([JournalEntry(1.0, "i1", "", KIND, '{"time_s": 1.0}')])


def test_people_read_a_decision_as_a_sentence_and_other_lines_as_they_are() -> None:
    alone = made(note="twin took longer than 5 s (policy.time_limit)")
    beside = made(choice=5, shadow_choice=0, shadow="learned")
    other = JournalEntry(2.0, "i1", "p1", "plan.done", "verified")
    torn = JournalEntry(1.0, "i1", "", KIND, '{"time_s": 1.0}')

    assert [in_words(line) for line in (entry(alone), entry(beside), other, torn)] == [
        "runbook chose to swap, because twin took longer than 5 s (policy.time_limit)",
        "runbook chose to swap and repair; learned would wait",
        "verified",
        "a policy decided (written by another version of gpumedic)",
    ]


def test_the_chance_of_a_choice_is_the_policys_own() -> None:
    sure = Decision(Choice.SWAP, None)
    mixed = Decision(Choice.SWAP, None, chances=(0.1, *[0.0] * 3, 0.9, *[0.0] * 7))

    assert [sure.chance(Choice.SWAP), sure.chance(Choice.WAIT)] == [1.0, 0.0]
    assert [mixed.chance(Choice.SWAP), mixed.chance(Choice.WAIT)] == [0.9, 0.1]


async def test_the_shadow_is_asked_beside_the_policy_and_does_nothing(
    tmp_path: Path, clock: ManualClock
) -> None:
    """In observe nothing is done; what would be and what else might be are both kept."""
    cluster = FakeCluster(clock)
    events = ScriptedEvents([xid("node-1", "GPU-8", time_s=clock.now_s())])
    app = await loop(tmp_path, clock, events=[events], cluster=cluster)
    heal = app.controller.heal
    heal.shadow = THUMBS["always_escalate"]()

    await cycles(app, clock, 2)

    (incident,) = app.controller.watch.live()
    (found,) = read(await app.controller.store.entries(incident.id))
    assert (found.policy, found.shadow) == (heal.policy.name, "always_escalate")
    assert len(found.facts) == len(Fact)
    assert found.choice in found.open
    assert found.shadow_choice == Choice.ESCALATE
    assert (found.propensity, found.shadow_propensity) == (1.0, 0.0)
    assert found.plan_id in {record.plan.id for record in heal.recent()}
    assert cluster.orders == []
    await app.close()


async def test_waiting_is_written_now_and_then_not_every_cycle(
    tmp_path: Path, clock: ManualClock
) -> None:
    now_s = clock.now_s()
    events = ScriptedEvents([xid("node-1", "GPU-8", time_s=now_s)])
    app = await loop(tmp_path, clock, events=[events], cluster=FakeCluster(clock))
    app.controller.heal.policy = waiting()
    (count, incident) = (int(1.5 * RETRY_AFTER_S / CYCLE_S), "")

    for _ in range(count):
        events.next = [xid("node-1", "GPU-8", time_s=clock.now_s())]
        await cycles(app, clock, 1)
        incident = app.controller.watch.live()[0].id

    found = read(await app.controller.store.entries(incident))
    assert {decision.choice for decision in found} == {Choice.WAIT}
    assert 2 <= len(found) <= 4 < count
    await app.close()


def waiting() -> ChoosingPolicy:
    return ChoosingPolicy(THUMBS["no_op"]())
