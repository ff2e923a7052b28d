"""What plans have come to, on disk before anything is done, and at hand for the guards."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from core.clock import Clock
from core.ports import Announcement, Store
from core.types import Incident, JournalEntry, PlanRecord, PlanState
from remediation.guards import performed

Announce = Callable[[Announcement, PlanRecord, Incident], Awaitable[None]]

# Plans that ended longer ago count for nothing: over so long lemon nodes are told from others
# (Kokolis et al.: signals over a window of 28 days).
PAST_S = 28 * 86_400.0
_PEOPLES = frozenset({PlanState.DENIED, PlanState.OVERRIDDEN})


class Ledger:
    """Writes each turn of a plan down. One ledger may write a store's plans.

    What counts for guards and policies is kept in memory too: plans that are live, that did
    something, or that a person has ended.
    """

    def __init__(self, store: Store, *, clock: Clock, announce: Announce) -> None:
        self.store = store
        self._clock = clock
        self._announce = announce
        self._past: dict[str, PlanRecord] | None = None

    async def past(self) -> tuple[PlanRecord, ...]:
        """Return the plans that count, oldest first."""
        if self._past is None:
            since_s = self._clock.now_s() - PAST_S
            found = (
                *await self.store.find(PlanRecord, since_s=since_s),
                *await self.store.find(PlanRecord, live=True),
            )
            oldest_first = sorted(found, key=lambda record: (record.plan.made_at_s, record.plan.id))
            self._past = {each.plan.id: each for each in oldest_first if _counts(each)}
        return tuple(self._past.values())

    async def put(self, record: PlanRecord) -> None:
        """Keep a record, on disk first."""
        await self.store.put(record)
        if self._past is None:
            return
        if _counts(record):
            self._past[record.plan.id] = record
        else:
            self._past.pop(record.plan.id, None)
        if record.state.final:
            self._forget()

    async def write(
        self,
        record: PlanRecord,
        incident: Incident,
        text: str,
        announcement: Announcement | None = None,
    ) -> None:
        """Tell, keep and journal one transition, in that order: a crash between tells it again."""
        if announcement is not None:
            await self._announce(announcement, record, incident)
        await self.put(record)
        await self.note(record, f"plan.{record.state}", text)

    async def note(self, record: PlanRecord, kind: str, text: str) -> None:
        """Add a line to the journal of the plan's incident."""
        entry = JournalEntry(
            self._clock.now_s(), record.plan.incident_id, record.plan.id, kind, text
        )
        await self.store.journal([entry])

    async def rebased(self, record: PlanRecord) -> PlanRecord:
        """Count time limits from now on where the wall clock was set back behind their start."""
        now_s = self._clock.now_s()
        if record.state.final or record.since_s <= now_s:
            return record
        record = replace(record, since_s=now_s)
        await self.put(record)
        return record

    def _forget(self) -> None:
        since_s = self._clock.now_s() - PAST_S
        kept = (self._past or {}).items()
        self._past = {key: r for key, r in kept if not r.state.final or r.since_s >= since_s}


def _counts(record: PlanRecord) -> bool:
    """Say whether a plan still says something: a refused one never did anything."""
    return not record.state.final or record.state in _PEOPLES or bool(performed(record))
