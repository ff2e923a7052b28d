"""Propose what would be better though nothing is broken, through the same guards and journal.

A need is an incident of its own, of mere information: it is open while the need lasts, and its plan
is proposed, approved, done and verified like any other, in the mode of its actions.
"""

import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from agent.view import DemandView
from core.cluster import ClusterState
from core.ports import Store
from core.site import SiteFigures
from core.types import (
    Cause,
    Incident,
    IncidentState,
    OutcomeStatus,
    Plan,
    PlanRecord,
    Severity,
)
from remediation.capacity.look import Need, Outlook, Wishes
from remediation.capacity.needs import cost_of, needs
from remediation.capacity.provision import Ahead
from remediation.catalogue import LIMIT_POWER
from remediation.deciding.plans import PROPOSAL_LIFE_S
from remediation.running.upkeep import NEED, UPKEEP, is_need, is_upkeep

VERSION = "1"
# Needs come and go slowly; looking for room weighs every partly used node against every other.
EVERY_S = 60.0
# What was proposed and is over is proposed again no sooner.
AGAIN_S = 1800.0
# New plans a look: a queue of a hundred jobs must not become a hundred plans.
MOST = 3
HALF, MOST_WANTED = 0.5, 0.9  # of the quantiles that are forecast

HandIn = Callable[[Plan, Incident, ClusterState], Awaitable[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a look starts from.

    plans: those at hand, by id; faults_a_day: in the whole cluster, after so many days of
        watching it
    """

    state: ClusterState
    now_s: float
    demand: DemandView | None
    site: SiteFigures
    faults_a_day: float
    watched_days: float
    plans: Mapping[str, PlanRecord]


@dataclass(slots=True)
class Upkeep:
    """Keeps the incidents of open needs, by title; ``step`` comes every cycle, looks once a minute.

    wishes: what the site wants, by its settings
    """

    store: Store
    hand_in: HandIn
    wishes: Wishes = field(default_factory=Wishes)
    incidents: dict[str, Incident] = field(default_factory=dict)
    _looked_s: float | None = None

    async def load(self) -> None:
        """Take up the needs that an earlier process left open."""
        found = await self.store.find(Incident, live=True)
        self.incidents = {each.title: each for each in found if is_need(each)}

    async def step(self, seen: Seen) -> tuple[str, ...]:
        """Look for needs, propose plans for new ones, and say what was proposed."""
        if self._looked_s is not None and 0 <= seen.now_s - self._looked_s < EVERY_S:
            return ()
        self._looked_s = seen.now_s
        look = Outlook(
            seen.state,
            seen.now_s,
            ahead_of(seen.demand, seen.now_s),
            self.wishes,
            seen.site,
            seen.faults_a_day,
            seen.watched_days,
            _limited(seen),
        )
        found = needs(look, new_id=lambda: uuid.uuid4().hex[:8])
        await self._close({need.title for need in found}, seen)
        said: list[str] = []
        for need in found:
            incident = await self._open(need, seen.now_s)
            if len(said) < MOST and not _had_its_turn(need, seen):
                plan = plan_of(need, incident, seen.state, seen.now_s)
                said.append(await self.hand_in(plan, incident, seen.state))
        return tuple(sentence for sentence in said if sentence)

    async def _open(self, need: Need, now_s: float) -> Incident:
        """Return the need's incident, seen to be open now, on disk."""
        known = self.incidents.get(need.title)
        if known is None:
            known = Incident(
                id=f"{NEED}{uuid.uuid4().hex[:8]}",
                state=IncidentState.OPEN,
                severity=Severity.INFO,
                opened_s=now_s,
                updated_s=now_s,
                resolved_s=None,
                title=need.title,
                targets=(need.target,),
                jobs=(need.target.job,) if need.target.job else (),
            )
        known = replace(known, updated_s=now_s)
        self.incidents[need.title] = known
        await self.store.put(known)
        return known

    async def _close(self, wanted: Collection[str], seen: Seen) -> None:
        """End the incidents of needs that are no more and that no plan is at work on."""
        busy = {r.plan.incident_id for r in seen.plans.values() if not r.state.final}
        for title in [title for title in self.incidents if title not in wanted]:
            if self.incidents[title].id not in busy:
                over = self.incidents.pop(title)
                ended = replace(over, state=IncidentState.RESOLVED, resolved_s=seen.now_s)
                await self.store.put(ended)


def _limited(seen: Seen) -> dict[str, float]:
    """Return the nodes whose power plans of ours have limited, with the watts of the newest."""
    done = [
        (outcome.ended_s, outcome.action)
        for record in seen.plans.values()
        if is_upkeep(record.plan)
        for outcome in record.outcomes
        if outcome.action.kind == LIMIT_POWER and outcome.status is OutcomeStatus.SUCCEEDED
    ]
    done.sort(key=lambda item: item[0])
    return {action.target.node: float(action.param("watts") or 0.0) for _, action in done}


def _had_its_turn(need: Need, seen: Seen) -> bool:
    """Say whether a plan for it is live, or was made a while ago only."""
    mine = [
        record
        for record in seen.plans.values()
        if is_upkeep(record.plan)
        and (record.plan.cause.fault, record.plan.cause.target) == (need.fault, need.target)
    ]
    return any(
        not record.state.final or 0 <= seen.now_s - record.plan.made_at_s < AGAIN_S
        for record in mine
    )


def plan_of(need: Need, incident: Incident, state: ClusterState, now_s: float) -> Plan:
    """Return a need as a plan; its cause is the need itself, of which nothing is doubtful."""
    return Plan(
        id=need.plan_id,
        incident_id=incident.id,
        made_at_s=now_s,
        expires_s=now_s + PROPOSAL_LIFE_S,
        cause=Cause(need.target, need.fault, 1.0),
        actions=need.actions,
        rationale=need.reason,
        lost_gpu_s_with=cost_of(need, state),
        lost_gpu_s_without=need.saved_gpu_s,
        policy=UPKEEP,
        policy_version=VERSION,
    )


def ahead_of(demand: DemandView | None, now_s: float) -> tuple[Ahead, ...]:
    """Return what will be wanted, with how long it is until then now."""
    if demand is None or not {HALF, MOST_WANTED} <= set(demand.level):
        return ()
    half, most = demand.level.index(HALF), demand.level.index(MOST_WANTED)
    gone_s = now_s - demand.made_at_s
    return tuple(
        Ahead(lead_s - gone_s, float(row[half]), float(row[most]))
        for lead_s, row in zip(demand.lead_s, demand.gpus, strict=True)
    )
