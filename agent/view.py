"""What the page, the API and the command line may see and do: a snapshot and a few commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.energy.watch import JobEnergy
from core.cluster import ClusterState
from core.ports import Problem
from core.target import Target
from core.types import Diagnosis, Event, Floats, Forecast, Incident, JournalEntry, PlanRecord
from rca.hops import HopSeries
from rca.reference.questions import Answers


@dataclass(frozen=True, slots=True, eq=False)
class ForecastView:
    """One series for a plot: recent history, the band ahead of it, and the limit.

    history_time_s, history_value: (T,) ; forecast holds a single row (S = 1)
    limit: NaN where the metric has none; expected_s: median crossing time, None where none is seen
    notes: what a reader should know of this series
    """

    target: Target
    metric: str
    unit: str
    history_time_s: Floats
    history_value: Floats
    forecast: Forecast
    limit: float
    expected_s: float | None
    probability: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DemandView:
    """GPUs that jobs want, now and soon.

    wanted, have: running and queued now; in service now
    history_time_s, history_gpus: (T,) what was wanted lately
    lead_s: (L,) seconds ahead; gpus: (L, Q) what will be wanted at most with probability ``level``
    to_add: (L,) GPUs to have ready beyond those in service, for the highest level
    """

    made_at_s: float
    wanted: float
    have: int
    history_time_s: Floats
    history_gpus: Floats
    lead_s: tuple[float, ...]
    level: tuple[float, ...]
    gpus: Floats
    to_add: Floats

    @property
    def lacking(self) -> float:
        """Return the most GPUs to add at any lead."""
        return float(self.to_add.max())


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is acted on until ``until_s`` (None: until resumed), and why and by whom."""

    by: str
    because: str
    since_s: float
    until_s: float | None


@dataclass(frozen=True, slots=True)
class Learned:
    """What outcomes have taught of one fault on this fleet.

    right, wrong: how often acting on it helped, and how often not; ``text`` says so
    shift:        of its log prior in the next diagnosis, nats
    """

    fault: str
    right: int
    wrong: int
    shift: float
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One consistent look at everything the controller knows.

    sentence: what the last cycle said; the same line as in the log
    sources: name -> lag in seconds of its newest reading, NaN while it is down
    series, learning: how many series are kept, and how many are too short to forecast
    demand: None without a scheduler, or with too little history
    energy: of each job, most first
    """

    made_at_s: float
    version: str
    cluster: str
    sentence: str
    pause: Pause | None
    state: ClusterState | None
    incidents: tuple[Incident, ...]
    diagnoses: Mapping[str, Diagnosis]
    plans: tuple[PlanRecord, ...]
    forecasts: tuple[ForecastView, ...]
    problems: tuple[Problem, ...]
    sources: Mapping[str, float]
    series: int
    learning: int
    nodes_out: int
    nodes_out_limit: int
    goodput_ratio: float | None = None
    timelines: Mapping[str, tuple[JournalEntry, ...]] = field(default_factory=dict)
    demand: DemandView | None = None
    learned: tuple[Learned, ...] = ()
    energy: Mapping[str, JobEnergy] = field(default_factory=dict)

    @property
    def experience(self) -> Mapping[str, str]:
        """Map each fault to what came of acting on it on this fleet, in words."""
        return {each.fault: each.text for each in self.learned}


class Controls(Protocol):
    """The controller as its server sees it."""

    def view(self) -> View:
        """Return the newest snapshot; never waits."""
        ...

    async def timeline(self, incident_id: str) -> tuple[JournalEntry, ...]:
        """Return an incident's journal, oldest first."""
        ...

    async def deep(self, incident_id: str) -> Answers:
        """Return DoWhy's slow opinion of an incident; InputError where it cannot be asked."""
        ...

    async def path(self, incident_id: str) -> tuple[HopSeries, ...]:
        """Return the readings along the path from the likeliest cause to the symptom.

        InputError where the diagnosis knows no path.
        """
        ...

    async def approve(self, plan_id: str, *, by: str) -> PlanRecord:
        """Let a proposed plan run; InputError where there is none or it is decided already."""
        ...

    async def deny(self, plan_id: str, *, by: str, because: str) -> PlanRecord:
        """Turn a proposed plan down."""
        ...

    async def acknowledge(self, plan_id: str, *, by: str) -> PlanRecord:
        """Note that a person who was called has taken over; InputError where nobody was called."""
        ...

    async def pause(self, *, by: str, because: str, for_s: float | None) -> None:
        """Stop acting; watching, forecasting and telling go on."""
        ...

    async def resume(self, *, by: str) -> None:
        """Act again."""
        ...

    async def take_alerts(self, firing: Mapping[str, Event], resolved: Sequence[str]) -> None:
        """Take alerts from a webhook: events by fingerprint, and fingerprints that ended."""
        ...
