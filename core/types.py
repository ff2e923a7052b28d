"""The values that flow, from a reading to what came of an action.

Window (S x T) -> Forecast -> Breach --+
                              Anomaly -+-> Incident -> Diagnosis -> Plan (Action ...) -> Outcome
                                Event -+

All are frozen data. S counts series, T readings, H forecast steps. Times are seconds since the
epoch, UTC; a unit is part of the name. A missing reading is NaN.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.faults import FaultClass
from core.target import Target

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scalar = str | bool | int | float


class Severity(StrEnum):
    """How bad, in Prometheus' own words."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Return 0 for info up to 2 for critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Aligned readings of one metric on many targets.

    targets: S entries
    time_s:  (T,)   strictly increasing, even spacing
    value:   (S, T) in the metric's base unit; NaN where nothing was scraped
    """

    metric: str
    targets: tuple[Target, ...]
    time_s: Floats
    value: Floats

    def __post_init__(self) -> None:
        expected = (len(self.targets), len(self.time_s))
        if self.value.shape != expected and self.value.size + expected[0] * expected[1] > 0:
            raise ValueError(f"{self.metric}: value is {self.value.shape}, expected {expected}")


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """What one metric is expected to do on many targets.

    time_s: (H,); mean, lower, upper: (S, H) in the metric's base unit
    coverage: share of readings that should fall between lower and upper, in (0, 1)
    model:  (S) names of the model that made each row
    skill:  (S,) 1 - error / error of the better naive on a rolling back-test; NaN where not scored
    """

    metric: str
    targets: tuple[Target, ...]
    made_at_s: float
    time_s: Floats
    mean: Floats
    lower: Floats
    upper: Floats
    coverage: float
    model: tuple[str, ...]
    skill: Floats


@dataclass(frozen=True, slots=True)
class Breach:
    """A metric is expected to cross its limit.

    probability: that it crosses within ``horizon_s``
    expected_s, earliest_s, latest_s: median and 80 % interval of the crossing time, given that it
    crosses; not later than ``made_at_s + horizon_s``
    """

    target: Target
    metric: str
    limit: float
    made_at_s: float
    horizon_s: float
    probability: float
    expected_s: float
    earliest_s: float
    latest_s: float
    value: float
    model: str
    skill: float
    severity: Severity = Severity.WARNING


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A reading out of the ordinary: outside lower..upper; ``score`` 1 is as odd as it gets."""

    target: Target
    metric: str
    start_s: float
    end_s: float
    value: float
    lower: float
    upper: float
    score: float
    detector: str
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something discrete happened: ``kind`` groups (xid, job_failed), ``code`` tells apart."""

    target: Target
    time_s: float
    kind: str
    code: str
    text: str
    severity: Severity


class IncidentState(StrEnum):
    """Open until every symptom has been gone for the flap-damping time."""

    OPEN = "open"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """Symptoms that belong together; ``targets`` show one, ``jobs`` are touched by them.

    part_of: the incident that has taken over what this one was of; "" for none
    """

    id: str
    state: IncidentState
    severity: Severity
    opened_s: float
    updated_s: float
    resolved_s: float | None
    title: str
    targets: tuple[Target, ...]
    jobs: tuple[str, ...]
    anomalies: tuple[Anomaly, ...] = ()
    events: tuple[Event, ...] = ()
    breaches: tuple[Breach, ...] = ()
    reopened: int = 0
    part_of: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation and whether it speaks for the cause; ``weight`` in nats, above 0 is for."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Hop:
    """One step on the way from a cause to the symptom.

    moved:   how far the reading stands from what is normal, robust sigmas; None: nobody measures it
    began_s: when it left its band; None where that is not known
    usual, level: the reading in normal times and now, in the metric's unit (a counter's a second);
             None where there is none
    learned: only readings suggest that the hop before leads here
    """

    target: Target
    metric: str
    moved: float | None
    began_s: float | None
    usual: float | None = None
    level: float | None = None
    learned: bool = False


@dataclass(frozen=True, slots=True)
class Cause:
    """A fault on a target with the probability that it is the root cause.

    kind:       its class
    persistent: probability that it stays until something is done about it; a transient one ends by
                itself or with a restart. None where nothing speaks for either
    impact:     share of the symptom that it accounts for, [0, 1]; None where not known
    beside:     it is at work beside the first: no other cause explains what it shows. Then its
                probability says how far the symptom is put down to it, not whether it is there
    path:       from the cause to the symptom, both included; over learned links only where the
                cause is no symptom itself and nothing else leads from it to one
    """

    target: Target
    fault: str
    probability: float
    evidence: tuple[Evidence, ...] = ()
    kind: FaultClass = FaultClass.UNKNOWN
    persistent: float | None = None
    impact: float | None = None
    path: tuple[Hop, ...] = ()
    beside: bool = False

    @property
    def conjectured(self) -> bool:
        """Say whether only what readings suggest ties it to the symptom: no ground to act on."""
        return any(hop.learned for hop in self.path)


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A fault that was looked for and is not it, with what speaks against it."""

    target: Target
    fault: str
    why: str


@dataclass(frozen=True, slots=True)
class Check:
    """A reading or check that would decide between causes; ``gain`` in nats, expected."""

    target: Target
    text: str
    gain: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Causes, likeliest first; with ``unknown`` and ``no_fault`` their probabilities sum to 1.

    unknown:   something is broken that cannot be named
    no_fault:  nothing is: the load changed, the work was planned, a reading was a fluke
    calm:      which of these it would be, in words; "" where that is open
    calm_evidence: what speaks for and against that
    explained: share of the symptom that the causes above "unknown" account for; None: not known
    missing:   readings that are not there and could overturn the answer
    checks:    what would decide it, the most telling first
    run_s:     how long the diagnosis took, seconds; None where nobody took the time
    """

    incident_id: str
    made_at_s: float
    causes: tuple[Cause, ...]
    unknown: float
    method: str
    missing: tuple[str, ...] = ()
    no_fault: float = 0.0
    explained: float | None = None
    ruled_out: tuple[RuledOut, ...] = ()
    checks: tuple[Check, ...] = ()
    run_s: float | None = None
    calm: str = ""
    calm_evidence: tuple[Evidence, ...] = ()

    @property
    def likeliest(self) -> Cause | None:
        """Return the first cause; None where "unknown" or "no fault" outweighs it, or is all."""
        first = self.causes[0] if self.causes else None
        if first is None or max(self.unknown, self.no_fault) > first.probability:
            return None
        return first


class Autonomy(StrEnum):
    """How far gpumedic may go: the same decisions are made in every mode, the last hop differs."""

    OBSERVE = "observe"
    SUGGEST = "suggest"
    APPROVE = "approve"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Action:
    """One step on one target.

    key: the same for every try of the same step: a cluster performs a key at most once
    inverse: the kind that takes it back, or "" for irreversible
    deadline_s: longest it may take, seconds from its start
    """

    key: str
    kind: str
    target: Target
    params: tuple[tuple[str, Scalar], ...]
    deadline_s: float
    inverse: str

    def __str__(self) -> str:
        """Read as ``swap_node node-7 spare=node-9``, fractions to three digits."""
        params = (
            f" {name}={round(value, 3) if isinstance(value, float) else value}"
            for name, value in self.params
        )
        return f"{self.kind} {self.target}{''.join(params)}"

    def param(self, name: str) -> Scalar | None:
        """Return the parameter of that name, or None."""
        return dict(self.params).get(name)


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered actions against one incident, with what they are expected to cost and to save."""

    id: str
    incident_id: str
    made_at_s: float
    expires_s: float
    cause: Cause
    actions: tuple[Action, ...]
    rationale: str
    lost_gpu_s_with: float
    lost_gpu_s_without: float
    policy: str
    policy_version: str


@dataclass(frozen=True, slots=True)
class Mended:
    """What a cluster has done about trouble by itself, in the words of the action catalogue.

    by:      who did it, for messages
    about:   what was in trouble; job: the job that it touched
    kind, target, params: the action that it comes to
    """

    by: str
    about: Target
    job: str
    kind: str
    target: Target
    params: tuple[tuple[str, Scalar], ...]
    started_s: float
    ended_s: float
    text: str


class PlanState(StrEnum):
    """Where a plan stands; the lower block is final.

    proposed -> approved -> acting -> verifying -> done | rolled_back
    proposed -> refused | expired | denied; any -> overridden when a human changed the target
    """

    PROPOSED = "proposed"
    APPROVED = "approved"
    ACTING = "acting"
    VERIFYING = "verifying"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    OVERRIDDEN = "overridden"
    REFUSED = "refused"
    DENIED = "denied"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Say whether nothing more will happen to the plan."""
        return self not in _LIVE_STATES


_LIVE_STATES = frozenset(
    {PlanState.PROPOSED, PlanState.APPROVED, PlanState.ACTING, PlanState.VERIFYING}
)


class OutcomeStatus(StrEnum):
    """What came of one action."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    REVERTED = "reverted"
    WOULD_DO = "would_do"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one action; ``symptom_*`` count the incident's live symptoms then and now."""

    action: Action
    status: OutcomeStatus
    started_s: float
    ended_s: float
    text: str
    verified: bool | None = None
    symptom_before: float | None = None
    symptom_after: float | None = None
    lost_gpu_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A guard's no: ``remedy`` says what would allow it.

    allowed_s: when waiting alone makes that guard say yes; None where it never does, or not known
    """

    guard: str
    reason: str
    remedy: str
    allowed_s: float | None = None


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """A plan and how far it has come; ``step`` is the next action, ``mode`` is set at the start."""

    plan: Plan
    state: PlanState
    mode: Autonomy
    since_s: float
    step: int = 0
    decided_by: str = ""
    refusals: tuple[Refusal, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of an incident's history, written before the effect it announces."""

    time_s: float
    incident_id: str
    plan_id: str
    kind: str
    text: str
