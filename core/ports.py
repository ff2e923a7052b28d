"""The edges of gpumedic as small Protocols.

An implementation does not inherit from its port; a contract test proves that it fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar, runtime_checkable

from core.cluster import ClusterState
from core.types import (
    Action,
    Diagnosis,
    Event,
    Incident,
    JournalEntry,
    Mended,
    PlanRecord,
    Window,
)


@dataclass(frozen=True, slots=True)
class Query:
    """Which catalogue metrics, on the grid ``k * step_s`` with start_s <= t <= end_s."""

    metrics: tuple[str, ...]
    start_s: float
    end_s: float
    step_s: float


@dataclass(frozen=True, slots=True)
class Problem:
    """A source could not give something: ``code`` counts it, ``text`` says found and remedy."""

    source: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What a source gave, and what it could not; a window per metric that had any series."""

    windows: tuple[Window, ...]
    problems: tuple[Problem, ...] = ()


@runtime_checkable
class MetricSource(Protocol):
    """Gives readings; trouble with a part is a Problem, with the whole SourceUnavailable."""

    name: str

    async def read(self, query: Query) -> Collected:
        """Return the readings on the query's grid, at most one window a metric."""
        ...


class EventSource(Protocol):
    """Gives discrete events, each once."""

    name: str

    async def events(self) -> tuple[Event, ...]:
        """Return the events since the last call, oldest first."""
        ...


class Cluster(Protocol):
    """The scheduler and the hands: shows the cluster and performs actions."""

    name: str

    async def state(self) -> ClusterState:
        """Return one consistent look; SourceUnavailable where the scheduler does not answer."""
        ...

    async def perform(self, action: Action) -> None:
        """Ask for the action's effect; a key seen before does nothing.

        Returns when the cluster has taken the order; the effect shows in ``state``. ActionFailed
        says why it would not.
        """
        ...


@runtime_checkable
class SelfMending(Protocol):
    """A cluster that mends some trouble by itself, and says what it did."""

    async def mended(self) -> tuple[Mended, ...]:
        """Return what it has done since the last call, oldest first."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A cluster that holds what others wait for: connections, a lease."""

    async def close(self) -> None:
        """Let go of it; nothing is asked of it afterwards."""
        ...


class Announcement(StrEnum):
    """The event types of outgoing messages; stable, part of the webhook's contract."""

    INCIDENT_OPENED = "incident.opened"
    INCIDENT_UPDATED = "incident.updated"
    INCIDENT_DIAGNOSED = "incident.diagnosed"
    INCIDENT_RESOLVED = "incident.resolved"
    PLAN_PROPOSED = "plan.proposed"
    PLAN_APPROVED = "plan.approved"
    PLAN_REFUSED = "plan.refused"
    ACTION_STARTED = "action.started"
    ACTION_SUCCEEDED = "action.succeeded"
    ACTION_FAILED = "action.failed"
    ACTION_REVERTED = "action.reverted"
    PERSON_PAGED = "person.paged"
    BREACH_EXPECTED = "forecast.breach_expected"
    PAUSED = "system.paused"
    TEST = "system.test"


@dataclass(frozen=True, slots=True)
class Notification:
    """Something worth telling: what happened and all that is known of it at that moment."""

    id: str
    announcement: Announcement
    time_s: float
    summary: str
    incident: Incident | None = None
    diagnosis: Diagnosis | None = None
    plan: PlanRecord | None = None


class DeliveryStatus(StrEnum):
    """What a receiver said to a message."""

    DELIVERED = "delivered"
    RETRY = "retry"
    GONE = "gone"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer to one attempt; ``retry_after_s`` where the receiver asked for a pause."""

    status: DeliveryStatus
    text: str
    retry_after_s: float | None = None


class Notifier(Protocol):
    """One receiver: renders a notification to bytes, once, and delivers those bytes."""

    name: str

    def render(self, notification: Notification) -> bytes | None:
        """Return the body to keep and send, or None when this receiver does not want it."""
        ...

    async def deliver(self, message_id: str, body: bytes) -> Delivery:
        """Try once; the id is the same on every try."""
        ...


R = TypeVar("R", Incident, Diagnosis, PlanRecord)


class Store(Protocol):
    """Keeps incidents, diagnoses, plans and the journal; a write returns when it is on disk."""

    async def put(self, *records: Incident | Diagnosis | PlanRecord) -> None:
        """Insert or replace each record, all in one transaction."""
        ...

    async def get(self, kind: type[R], record_id: str) -> R | None:
        """Return the record of that id (a diagnosis by its incident's), or None."""
        ...

    async def find(
        self, kind: type[R], *, live: bool = False, since_s: float | None = None
    ) -> tuple[R, ...]:
        """Return records newest first; ``live`` leaves out resolved incidents and final plans."""
        ...

    async def journal(self, entries: Sequence[JournalEntry]) -> None:
        """Append to the journal, in order."""
        ...

    async def entries(self, incident_id: str) -> tuple[JournalEntry, ...]:
        """Return an incident's journal, oldest first."""
        ...
