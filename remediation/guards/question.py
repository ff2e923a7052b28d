"""What is asked of the guards, and what they look at."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.cluster import ClusterState, JobPhase, JobState
from core.types import Action, Incident, Outcome, OutcomeStatus, Plan, PlanRecord, Refusal
from remediation.catalogue import CATALOG
from remediation.catalogue.subject import job_of, jobs_of, nodes_of
from remediation.catalogue.taken import taken
from remediation.guards.settings import GuardSettings
from remediation.running.follow_up import is_follow_up

_NOT_PERFORMED = frozenset({OutcomeStatus.WOULD_DO, OutcomeStatus.REFUSED})


@dataclass(frozen=True, slots=True, eq=False)
class GuardContext:
    """What the guards look at.

    records: plans that are live or ended no longer ago than ``settings.looks_back_s``, this one's
             too or not, in any order
    paused: acting is paused
    attended: a person decides on this plan, or has
    """

    state: ClusterState
    incident: Incident
    now_s: float
    records: tuple[PlanRecord, ...] = ()
    paused: bool = False
    attended: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """May ``actions`` of the plan be done now? All of them at the proposal, then one at a time.

    begins: nothing of the plan has been done yet
    """

    plan: Plan
    actions: tuple[Action, ...]
    begins: bool

    @property
    def restores(self) -> bool:
        """Say whether the plan puts back what an earlier one took: no fault is its ground."""
        return is_follow_up(self.plan)

    @property
    def disruptive(self) -> tuple[Action, ...]:
        """Return the actions that take a node out or stop a job."""
        return tuple(action for action in self.actions if CATALOG[action.kind].disruptive)

    @property
    def not_doing(self) -> str:
        """Begin a refusal: what is not done, on what."""
        action = (self.disruptive or self.actions)[0]
        return f"Not doing {action.kind} on {action.target}"

    @property
    def taken(self) -> frozenset[str]:
        """Return the nodes that the actions take out of service."""
        return frozenset(node for action in self.actions for node in taken(action))


Guard = Callable[[Question, GuardContext, GuardSettings], Refusal | None]


def all_nodes(actions: Iterable[Action]) -> frozenset[str]:
    """Return the nodes that the actions handle."""
    return frozenset(name for action in actions for name in nodes_of(action))


def all_jobs(actions: Iterable[Action]) -> frozenset[str]:
    """Return the jobs that the actions stop or serve."""
    return frozenset(job for action in actions for job in jobs_of(action))


def performed(record: PlanRecord) -> tuple[Outcome, ...]:
    """Return what came of the actions that were ordered."""
    return tuple(outcome for outcome in record.outcomes if outcome.status not in _NOT_PERFORMED)


def put_in(action: Action, state: ClusterState) -> frozenset[str]:
    """Return the nodes that an action gives to its job: spares, and what another job lends."""
    job = state.job(job_of(action))
    if job is None or not CATALOG[action.kind].stops_job:
        return frozenset()
    return frozenset(nodes_of(action)) - set(taken(action)) - set(job.nodes)


def is_above_others(job: JobState, state: ClusterState) -> bool:
    """Say whether no job comes before this one, and some come after."""
    ranks = [other.priority for other in state.jobs if other.phase is not JobPhase.COMPLETED]
    return job.priority >= max(ranks, default=job.priority) > min(ranks, default=job.priority)


def walked(question: Question, context: GuardContext) -> Iterator[tuple[Action, ClusterState]]:
    """Yield each action with the state that is expected before it."""
    state = context.state
    for action in question.actions:
        yield action, state
        state = CATALOG[action.kind].project(action, state)
