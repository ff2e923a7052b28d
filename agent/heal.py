"""Decide and act: a plan for each diagnosed incident, one step a cycle for each live plan."""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from agent.gather import World
from agent.metrics import Metrics
from agent.site_memory import SiteMemory
from agent.thinking import Apart
from core.cluster import ClusterState
from core.errors import StoreError
from core.ports import Problem, Store
from core.site import SiteFigures
from core.target import Target
from core.types import (
    Autonomy,
    Diagnosis,
    Incident,
    Mended,
    Outcome,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
)
from remediation.deciding.chooser import Chooser, Moment, Thought
from remediation.deciding.choosing import ChoosingPolicy, LiveMoment
from remediation.deciding.decided import Decided, decided, entry
from remediation.deciding.policy import Decision, Past
from remediation.deciding.turns import RETRY_AFTER_S, ended_lately, had_its_turn, is_spent
from remediation.running.duties import Look, due, duties
from remediation.running.follow_up import is_follow_up
from remediation.running.run import Runner
from remediation.running.stopgap import is_stopgap
from remediation.running.witness import incident_of, witness

log = structlog.get_logger()

AutonomyOf = Callable[[str, str], Autonomy]

# What the cluster has mended is of no incident that has not opened by then.
WITNESS_S = 120.0
KEEP_SHOWN = 100
# New plans a cycle, the worst trouble first: each is weighed against every other plan of the hour,
# and when a thousand nodes fail at once a cycle must still end.
MAX_PROPOSALS = 10
_ACTING = frozenset({PlanState.ACTING, PlanState.VERIFYING})


@dataclass(slots=True)
class Heal:
    """Keeps the newest plans at hand; the store has them all.

    policy: decides, or does so where ``apart`` gives no answer
    autonomy: (action kind, node group) -> how far gpumedic may go
    shadow: is asked beside the policy at every decision, and only its answer is kept
    problems: why another policy acts than the settings name
    apart: what decides or looks on in a process of its own
    site, memory: how long things take here, as it was set and as it was seen
    """

    policy: ChoosingPolicy
    runner: Runner
    store: Store
    metrics: Metrics
    autonomy: AutonomyOf
    shadow: Chooser | None = None
    problems: tuple[Problem, ...] = ()
    apart: Apart | None = None
    site: SiteFigures = field(default_factory=SiteFigures)
    memory: SiteMemory = field(default_factory=SiteMemory)
    plans: dict[str, PlanRecord] = field(default_factory=dict)
    _counted: set[str] = field(default_factory=set)
    _part_of: dict[str, str] = field(default_factory=dict)
    _decided: dict[str, Decided] = field(default_factory=dict)
    _asked: int = 0
    _unwitnessed: tuple[Mended, ...] = ()

    async def load(self) -> None:
        """Take up the plans an earlier process left, live or not."""
        for record in await self.store.find(PlanRecord):
            if len(self.plans) < KEEP_SHOWN or not record.state.final:
                self.plans[record.plan.id] = record
                self._counted.update(_key(outcome) for outcome in record.outcomes)

    async def step(
        self,
        world: World,
        incidents: Mapping[str, Incident],
        diagnoses: Mapping[str, Diagnosis],
        *,
        paused: Callable[[], bool],
    ) -> tuple[str, ...]:
        """Move every live plan one step, then propose for incidents without one; say what moved.

        paused: asked before each step, so that a pause holds from the moment it was accepted
        """
        if world.state is None:
            return ()
        self._asked = 0
        await self._witness(world, incidents, diagnoses)
        self._part_of = {i.id: i.part_of for i in incidents.values() if i.part_of}
        said = [
            await _tried(
                f"plan {record.plan.id}",
                self._move(record, incidents, world.state, paused=paused()),
            )
            for record in self.live()
        ]
        waiting = [
            (incident, diagnosis)
            for incident in sorted(incidents.values(), key=lambda i: (-i.severity.rank, i.opened_s))
            if incident.resolved_s is None
            and (diagnosis := diagnoses.get(incident.id))
            and not self._had_its_turn(incident, diagnosis, world)
        ]
        past_records = await self.runner.ledger.past()
        past = Past(
            records=past_records,
            incidents=tuple(incidents.values()),
            diagnoses=diagnoses,
            spent=self._spent(world.now_s),
            guards=self.runner.settings.guards,
            site=self._known_site(past_records, tuple(incidents.values()), world.now_s),
        )
        for incident, diagnosis in waiting:
            if self._asked >= MAX_PROPOSALS:
                break
            doing = self._propose(incident, diagnosis, world, past)
            said.append(await _tried(f"incident {incident.id}", doing))
        said.append(await _tried("putting back", self._follow_up(world, incidents)))
        return tuple(sentence for sentence in said if sentence)

    async def _witness(
        self, world: World, incidents: Mapping[str, Incident], diagnoses: Mapping[str, Diagnosis]
    ) -> None:
        """Take note of what the cluster has mended; what no incident is about waits for one."""
        waiting = []
        for mended in (*self._unwitnessed, *world.mended):
            incident = incident_of(mended, tuple(incidents.values()))
            diagnosis = None if incident is None else diagnoses.get(incident.id)
            if incident is not None and diagnosis is not None:
                made = await witness(
                    *(mended, incident, diagnosis, self.runner.ledger), plan_id=uuid.uuid4().hex[:8]
                )
                self._note(made)
            elif world.now_s - mended.ended_s < WITNESS_S:
                waiting.append(mended)
            else:
                log.info("mended, and no incident", by=mended.by, text=mended.text)
        self._unwitnessed = tuple(waiting)

    def live(self) -> tuple[PlanRecord, ...]:
        """Return the plans that may still move, oldest first."""
        return tuple(record for record in self.plans.values() if not record.state.final)

    def acted_on(self, now_s: float) -> frozenset[str]:
        """Return the incidents on which a plan acts, or has acted and helped a moment ago."""
        return frozenset(
            self._now_of(record)
            for record in self.plans.values()
            if not is_follow_up(record.plan)
            and not is_stopgap(record.plan)
            and (
                record.state in _ACTING
                or (record.state is PlanState.DONE and ended_lately(record, now_s))
            )
        )

    def _known_site(
        self, records: Sequence[PlanRecord], incidents: Sequence[Incident], now_s: float
    ) -> SiteFigures:
        """Return how long things take here, with what the newest plans and incidents tell of it."""
        self.memory.note(records, incidents, now_s=now_s)
        return self.memory.figures(self.site)

    def all_problems(self) -> tuple[Problem, ...]:
        """Return why another policy acts than the settings name, or nobody thinks."""
        return (*self.problems, *(self.apart.thinker.problems if self.apart else ()))

    def recent(self) -> tuple[PlanRecord, ...]:
        """Return the newest plans and every live one, newest first."""
        return tuple(sorted(self.plans.values(), key=lambda record: -record.plan.made_at_s))

    async def approve(self, plan_id: str, *, by: str) -> PlanRecord:
        """Let a proposed plan run."""
        return self._note(await self.runner.approve(plan_id, by=by))

    async def deny(self, plan_id: str, *, by: str, because: str) -> PlanRecord:
        """Turn a proposed plan down."""
        return self._note(await self.runner.deny(plan_id, by=by, because=because))

    async def acknowledge(self, plan_id: str, *, by: str) -> PlanRecord:
        """Note that a person who was called has taken over."""
        return self._note(await self.runner.acknowledge(plan_id, by=by))

    async def _move(
        self,
        record: PlanRecord,
        incidents: Mapping[str, Incident],
        state: ClusterState,
        *,
        paused: bool,
    ) -> str:
        incident = await self._incident(record, incidents)
        if incident is None:
            return ""
        moved = self._note(await self.runner.step(record, incident, state, paused=paused))
        changed = moved.state is not record.state or moved.step != record.step
        return _said(moved) if changed else ""

    async def _incident(
        self, record: PlanRecord, incidents: Mapping[str, Incident]
    ) -> Incident | None:
        """Return the incident a plan was made for, with what is seen of it now.

        Of one that another has taken over, the other has what shows. A plan that has not begun is
        not begun for it: it is over.
        """
        key = record.plan.incident_id
        first = incidents.get(key) or await self.store.get(Incident, key)
        now = first
        while now is not None and now.part_of and record.state in _ACTING:
            key = now.part_of
            now = incidents.get(key) or await self.store.get(Incident, key)
        return first if first is None or now is None else _share(now, first)

    def _now_of(self, record: PlanRecord) -> str:
        """Return the incident a plan acts on now."""
        key = record.plan.incident_id
        while key in self._part_of:
            key = self._part_of[key]
        return key

    async def _follow_up(self, world: World, incidents: Mapping[str, Incident]) -> str:
        """Propose to put back what a plan took, where all has been well there for long enough."""
        if world.state is None:
            return ""
        records = await self.runner.ledger.past()
        guards, now_s = self.runner.settings.guards, world.now_s
        look = Look(world.state, records, tuple(incidents.values()), guards, now_s)
        if not duties(look):
            return ""
        lately = await self.store.find(Incident, since_s=now_s - guards.quiet_s)
        known = {incident.id: incident for incident in lately} | dict(incidents)
        plan = due(replace(look, incidents=tuple(known.values())), new_id=uuid.uuid4().hex[:8])
        incident = None if plan is None else await self.store.get(Incident, plan.incident_id)
        return (
            ""
            if plan is None or incident is None
            else await self.hand_in(plan, incident, world.state)
        )

    async def _propose(
        self, incident: Incident, diagnosis: Diagnosis, world: World, past: Past
    ) -> str:
        if world.state is None:
            return ""
        moment = self.policy.moment(
            incident,
            diagnosis,
            world.state,
            now_s=world.now_s,
            plan_id=uuid.uuid4().hex[:8],
            past=past,
        )
        decision = await self._decided_on(moment)
        await self._journal(decision, incident, diagnosis, world.now_s)
        if decision.plan is None:
            return ""
        self._asked += 1
        return await self.hand_in(decision.plan, incident, world.state)

    async def _decided_on(self, moment: LiveMoment) -> Decision:
        """Decide, by the process apart where that is to; by the policy within where it does not."""
        apart = self.apart
        if apart is None or not apart.policy:
            return self.policy.chosen(moment)
        thought = await apart.thinker.ask(apart.policy, moment, explore=apart.explore)
        if isinstance(thought, str):
            return self.policy.chosen(moment, note=thought)
        return self.policy.settled(moment, thought)

    async def _beside(self, moment: Moment) -> Thought | None:
        """Return what the shadow chooses; None where there is none, or it does not answer."""
        if self.shadow is not None:
            name, version = self.shadow.name, self.shadow.version
            return Thought(self.shadow.choose(moment), name, version)
        if self.apart is None or not self.apart.shadow:
            return None
        thought = await self.apart.thinker.ask(self.apart.shadow, moment)
        return None if isinstance(thought, str) else thought

    async def hand_in(self, plan: Plan, incident: Incident, state: ClusterState) -> str:
        """Give a plan to the runner and count what the guards refuse."""
        mode = self._mode(plan, state)
        record = await self.runner.propose(plan, incident, mode, state=state)
        is_new = record.plan.id not in self.plans
        self._note(record)
        if is_new:
            for refusal in record.refusals:
                self.metrics.guard_refusals_total.labels(refusal.guard).inc()
        return _said(record) if is_new else ""

    async def _journal(
        self, decision: Decision, incident: Incident, diagnosis: Diagnosis, now_s: float
    ) -> None:
        """Write a decision down, with the shadow's; one that stays only now and then."""
        beside = None if decision.moment is None else await self._beside(decision.moment)
        made = decided(decision, incident, diagnosis, shadow=beside, now_s=now_s)
        last = self._decided.get(incident.id)
        if last is not None and _same(last, made) and 0 <= now_s - last.time_s < RETRY_AFTER_S:
            return
        self._decided[incident.id] = made
        await self.store.journal([entry(made)])

    def _had_its_turn(self, incident: Incident, diagnosis: Diagnosis, world: World) -> bool:
        """Say whether no other plan is to be made for an incident yet."""
        mine = [
            record
            for record in self.plans.values()
            if record.plan.incident_id == incident.id
            or (record.state in _ACTING and self._now_of(record) == incident.id)
        ]
        wanted = self.runner.settings.guards.min_probability
        return had_its_turn(mine, diagnosis, min_probability=wanted, now_s=world.now_s)

    def _spent(self, now_s: float) -> Mapping[str, Sequence[Plan]]:
        """Return of each incident the plans that were done a moment ago, to no end."""
        found: dict[str, list[Plan]] = {}
        for record in self.plans.values():
            if is_spent(record, now_s):
                found.setdefault(self._now_of(record), []).append(record.plan)
        return found

    def _mode(self, plan: Plan, state: ClusterState) -> Autonomy:
        """Return the most careful mode of all the plan's actions on all the groups they touch."""
        order = list(Autonomy)
        modes = [
            self.autonomy(action.kind, group)
            for action in plan.actions
            for group in _groups(action.target, state)
        ]
        return min(modes, key=order.index, default=Autonomy.OBSERVE)

    def _note(self, record: PlanRecord) -> PlanRecord:
        """Keep the record at hand and count each outcome once."""
        self.plans[record.plan.id] = record
        for outcome in record.outcomes:
            if _key(outcome) not in self._counted:
                self._counted.add(_key(outcome))
                self._count(outcome, record)
        self._forget()
        return record

    def _count(self, outcome: Outcome, record: PlanRecord) -> None:
        self.metrics.act(outcome.action.kind, outcome.status)
        if outcome.status is OutcomeStatus.SUCCEEDED and outcome.lost_gpu_s:
            cause = record.plan.cause.fault
            self.metrics.lost_gpu_seconds_total.labels(cause).inc(outcome.lost_gpu_s)

    def _forget(self) -> None:
        for record in self.recent()[KEEP_SHOWN:]:
            if record.state.final:
                del self.plans[record.plan.id]
                self._counted.difference_update(_key(outcome) for outcome in record.outcomes)


def _same(a: Decided, b: Decided) -> bool:
    """Say whether two decisions chose alike, of the same menu, by the same policies."""
    return replace(a, time_s=0.0, plan_id="", facts=()) == replace(
        b, time_s=0.0, plan_id="", facts=()
    )


async def _tried(what: str, doing: Awaitable[str]) -> str:
    """Return what was done; one that breaks must not keep the others from their step."""
    try:
        return await doing
    except StoreError:
        raise  # of the store, not of this one: nothing more is done while nothing can be kept
    except Exception as error:
        log.exception("healing broke", what=what, error=repr(error))
        return f"{what} broke with {error!r}"


def _share(incident: Incident, of: Incident) -> Incident:
    """Return of an incident what lies where the one that it took over did."""
    if incident is of:
        return of
    there = frozenset(of.targets)
    return replace(
        incident,
        anomalies=tuple(one for one in incident.anomalies if one.target in there),
        events=tuple(one for one in incident.events if one.target in there),
        breaches=tuple(one for one in incident.breaches if one.target in there),
    )


def _said(record: PlanRecord) -> str:
    """Say where a plan stands, in words an operator can search the log for."""
    cause, steps = record.plan.cause, [action.kind for action in record.plan.actions]
    doing = steps[min(record.step, len(steps) - 1)] if not record.state.final else ", ".join(steps)
    where = f"{cause.fault.replace('_', ' ')} on {cause.target}"
    refused = f" by {record.refusals[0].guard}" if record.refusals else ""
    return f"plan {record.plan.id} for {where}: {doing} {record.state}{refused} ({record.mode})"


def _key(outcome: Outcome) -> str:
    return f"{outcome.action.key} {outcome.status}"


def _groups(target: Target, state: ClusterState) -> Sequence[str]:
    """Return the groups of the nodes a target covers; ``default`` where it covers none we know."""
    names = set(state.topology.nodes_in(target))
    return sorted({node.group for node in state.nodes if node.name in names}) or ["default"]
