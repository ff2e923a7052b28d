"""What is put in the store comes back as it was, newest first, and the journal keeps its order."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.database import Database
from agent.store import SqliteStore
from core.errors import StoreError
from core.ports import Store
from core.types import (
    Diagnosis,
    Incident,
    IncidentState,
    JournalEntry,
    OutcomeStatus,
    PlanRecord,
    PlanState,
    Refusal,
)
from tests.fakes import MemoryStore
from tests.healing import NOW_S, cordon, diagnosis, ended, incident, plan_of, record_of, swap, xid


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path, owner="test")
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest) -> Store:
    """Every store there is: one suite for all of them."""
    if request.param == "memory":
        return MemoryStore()
    return SqliteStore(request.getfixturevalue("database"))


def whole_plan() -> PlanRecord:
    plan = plan_of(cordon("node-1"), swap("node-1"))
    outcome = ended(plan.actions[0], OutcomeStatus.SUCCEEDED)
    refusal = Refusal("cooldown", "It was touched 3 s ago.", "Wait.")
    return replace(record_of(plan, PlanState.ACTING, outcome, step=2), refusals=(refusal,))


async def test_each_kind_comes_back_as_it_was(store: Store) -> None:
    trouble = replace(incident(), events=(xid("node-1", now_s=NOW_S),))
    await store.put(trouble, diagnosis(), whole_plan())

    assert await store.get(Incident, "i1") == trouble
    assert await store.get(Diagnosis, "i1") == diagnosis()
    assert await store.get(PlanRecord, "p1") == whole_plan()


async def test_what_was_never_put_is_none(store: Store) -> None:
    await store.put(incident())

    assert await store.get(Incident, "i2") is None
    assert await store.get(Diagnosis, "i1") is None
    assert await store.find(PlanRecord) == ()
    assert await store.entries("i1") == ()


async def test_a_later_put_replaces_the_record(store: Store) -> None:
    later = replace(incident(), title="worse", updated_s=NOW_S + 1)
    await store.put(incident())
    await store.put(later)

    assert await store.find(Incident) == (later,)


async def test_records_are_found_newest_first(store: Store) -> None:
    made = [replace(incident(id=f"i{n}"), updated_s=NOW_S + n) for n in (2, 1, 3)]
    await store.put(*made)

    assert [found.id for found in await store.find(Incident)] == ["i3", "i2", "i1"]
    since = await store.find(Incident, since_s=NOW_S + 2)
    assert [found.id for found in since] == ["i3", "i2"]


async def test_live_leaves_out_what_is_over(store: Store) -> None:
    over = replace(incident(id="i2"), state=IncidentState.RESOLVED)
    done = record_of(plan_of(cordon("node-2"), id="p2"), PlanState.DONE)
    await store.put(incident(), over, diagnosis(), whole_plan(), done)

    assert [found.id for found in await store.find(Incident, live=True)] == ["i1"]
    assert [found.plan.id for found in await store.find(PlanRecord, live=True)] == ["p1"]
    assert len(await store.find(Diagnosis, live=True)) == 1
    assert len(await store.find(PlanRecord)) == 2


async def test_the_journal_keeps_its_order_even_at_one_time(store: Store) -> None:
    lines = [JournalEntry(NOW_S, f"i{n % 2}", "p1", "note", f"line {n}") for n in range(20)]
    await store.journal(lines[:7])
    await store.journal(lines[7:])

    assert await store.entries("i1") == tuple(lines[1::2])


async def test_several_records_are_kept_all_or_none(database: Database) -> None:
    store = SqliteStore(database)
    pages = await database.run(lambda c: int(c.execute("PRAGMA page_count").fetchone()[0]))
    await database.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone())
    many = [replace(incident(id=f"i{n}"), title="x" * 500) for n in range(50)]

    with pytest.raises(StoreError, match="full"):
        await store.put(*many)

    assert await store.find(Incident) == ()


async def test_a_record_changed_by_hand_is_named(database: Database) -> None:
    store = SqliteStore(database)
    await store.put(incident())
    await database.run(lambda c: c.execute("UPDATE records SET body = '{\"id\": 3}'"))

    with pytest.raises(StoreError, match=r"Reading a kept incident: .*restore a back-up"):
        await store.get(Incident, "i1")


async def test_what_ended_long_ago_is_forgotten_whole(database: Database) -> None:
    """With its diagnosis, plan and journal; what is live stays, however old, and its incident."""
    store = SqliteStore(database)
    over = replace(incident(), state=IncidentState.RESOLVED, resolved_s=NOW_S)
    done = replace(whole_plan(), state=PlanState.DONE)
    for name, record in (("a", done), ("b", whole_plan())):
        plan = replace(record.plan, id=f"p-{name}", incident_id=name)
        await store.put(
            replace(over, id=name),
            replace(diagnosis(), incident_id=name),
            replace(record, plan=plan),
        )
        await store.journal([JournalEntry(NOW_S, name, plan.id, "plan.done", "it is over")])
    await store.put(replace(incident(), id="c"))

    await store.prune(NOW_S - 60.0)
    before = len(await store.find(Incident))
    await store.prune(NOW_S + 60.0)

    assert before == 3
    assert {found.id for found in await store.find(Incident)} == {"b", "c"}
    assert [found.plan.id for found in await store.find(PlanRecord)] == ["p-b"]
    assert [found.incident_id for found in await store.find(Diagnosis)] == ["b"]
    assert await store.entries("a") == ()
    assert len(await store.entries("b")) == 1
