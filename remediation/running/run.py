"""Carries plans out: guarded, journaled before each effect, verified, taken back when they fail."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from core.clock import Clock
from core.cluster import ClusterState
from core.errors import ActionFailed, GpumedicError, InputError
from core.ports import Announcement, Cluster, Store
from core.types import (
    Action,
    Autonomy,
    Incident,
    IncidentState,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
    Refusal,
    Scalar,
)
from remediation.catalogue import CATALOG, PAGE_PERSON, Effect
from remediation.guards import (
    ASKS_A_PERSON,
    GuardContext,
    GuardSettings,
    check,
    check_action,
)
from remediation.running.course import (
    course,
    end_state,
    ended,
    in_flight,
    mended_s,
    next_action,
    started,
    turning_point,
)
from remediation.running.follow_up import is_follow_up
from remediation.running.hopeless import hopeless, job_before
from remediation.running.ledger import Announce, Ledger
from remediation.running.orders import Orders
from remediation.running.override import not_ours_to_return, overridden
from remediation.running.page import is_page, sent_s, taken_over
from remediation.running.stopgap import is_stopgap
from remediation.running.symptoms import broken
from remediation.running.telling import named, turned_back, would_do
from remediation.running.verify import Verdict, VerifySettings, lost_gpu_s, verify

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How plans are carried out.

    perform_timeout_s: so long a new order is waited for; it goes on, and is asked after each cycle
    refusal_repeat_s:  the same no to the same incident is written down again only after this long
    """

    guards: GuardSettings = field(default_factory=GuardSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    perform_timeout_s: float = 10.0
    refusal_repeat_s: float = 600.0


class Runner:
    """Takes each plan through its states, one step a call; the store says where each one is.

    Whatever is about to be done is on disk first, and an order that may or may not have arrived is
    given again under the same key. One runner may act on a cluster. ``settings`` may be replaced
    between calls.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        *,
        clock: Clock,
        settings: RunSettings,
        announce: Announce,
    ) -> None:
        self._clock = clock
        self.settings = settings
        self.ledger = Ledger(store, clock=clock, announce=announce)
        self._orders = Orders(cluster, clock)
        self._said: set[tuple[str, str]] = set()
        self._first_step: dict[str, dict[str, float]] = {}
        self._refused: dict[str, PlanRecord] = {}
        self._one_at_a_time = asyncio.Lock()

    async def propose(
        self, plan: Plan, incident: Incident, mode: Autonomy, *, state: ClusterState
    ) -> PlanRecord:
        """Ask the guards and write the plan down; returns it proposed, approved (auto) or refused.

        In observe and suggest the outcomes say what would be done, and nothing ever is. What needs
        a person's word waits for it, in auto too. A plan that meets the same refusals as the
        incident's last one gives that one back, unwritten.
        """
        async with self._one_at_a_time:
            now_s = self._clock.now_s()
            record = PlanRecord(plan, PlanState.PROPOSED, mode, since_s=now_s)
            refusals = await self._asked(record, incident, state)
            asks = ""
            if refusals and {refusal.guard for refusal in refusals} <= ASKS_A_PERSON:
                asks = f" A person is asked: {refusals[0].reason}"
                record = replace(record, mode=Autonomy.APPROVE)
                refusals = await self._asked(record, incident, state)
            record = replace(record, refusals=refusals)
            if refusals:
                return await self._refuse(record, incident)
            if record.mode in (Autonomy.OBSERVE, Autonomy.SUGGEST):
                would = tuple(would_do(action, now_s) for action in plan.actions)
                record = replace(record, outcomes=would)
            steps = ", ".join(f"{action.kind} {action.target}" for action in plan.actions)
            text = f"proposed ({record.mode}): {steps}. {plan.rationale}{asks}"
            await self.ledger.write(record, incident, text, Announcement.PLAN_PROPOSED)
            if record.mode is Autonomy.AUTO:
                record = await self._approved(record, incident, by=AUTO)
            return record

    async def approve(self, plan_id: str, *, by: str) -> PlanRecord:
        """Let a proposed plan run; InputError where there is none to approve, or too late."""
        async with self._one_at_a_time:
            record, incident = await self._waiting(plan_id, "approve")
            if record.mode is not Autonomy.APPROVE:
                raise InputError(
                    f"Approving plan {plan_id}: it was made in the mode {record.mode}, in which "
                    f'gpumedic does not act. Set the mode of its actions to "approve" in '
                    f"[[autonomy]] and reload; the next plan will wait for you."
                )
            if self._clock.now_s() >= record.plan.expires_s:
                raise InputError(
                    f"Approving plan {plan_id}: it expired and its evidence is old. Wait for the "
                    f"next one, which comes while the incident lasts."
                )
            return await self._approved(record, incident, by=by)

    async def deny(self, plan_id: str, *, by: str, because: str) -> PlanRecord:
        """Turn a proposed plan down; InputError where there is none to deny."""
        async with self._one_at_a_time:
            record, incident = await self._waiting(plan_id, "deny")
            record = replace(record, decided_by=by)
            return await self._ended(record, incident, PlanState.DENIED, f"by {by}: {because}")

    async def acknowledge(self, plan_id: str, *, by: str) -> PlanRecord:
        """Note that a person who was called has taken over; InputError where nobody was called.

        From then on nothing more is done about it (``guards.people``).
        """
        async with self._one_at_a_time:
            record, incident = await self._known(plan_id, "acknowledge")
            if sent_s(record) is None or record.state is PlanState.OVERRIDDEN:
                found = f"{record.state} by {record.decided_by}" if record.decided_by else "no page"
                raise InputError(
                    f"Trying to acknowledge plan {plan_id}: it is {found}. Only a page that went "
                    "out and that nobody has taken over can be; `gpumedic plan` lists them."
                )
            if in_flight(record) is not None:
                now_s = self._clock.now_s()
                record = ended(record, OutcomeStatus.SUCCEEDED, f"{by} answers", now_s=now_s)
            record = replace(record, decided_by=by)
            return await self._ended(record, incident, PlanState.OVERRIDDEN, f"{by} takes over")

    async def step(
        self, record: PlanRecord, incident: Incident, state: ClusterState, *, paused: bool
    ) -> PlanRecord:
        """Take a plan one action further at most; call it once each cycle while the plan is live.

        The store's record counts, not the one handed in: a person may have decided meanwhile.
        Nothing is done on a stale look at the cluster; time limits wait until it is seen again.
        While paused no action is started but what puts nodes back.
        """
        async with self._one_at_a_time:
            kept = await self.ledger.store.get(PlanRecord, record.plan.id)
            record = await self.ledger.rebased(kept or record)
            age_s = self._clock.now_s() - state.observed_s
            fresh = abs(age_s) <= self.settings.guards.evidence_max_age_s
            if fresh and not record.state.final and (said := await self._theirs(record, state)):
                return await self._ended(record, incident, PlanState.OVERRIDDEN, said)
            if record.state is PlanState.PROPOSED:
                return await self._wait(record, incident)
            if record.state.final or not fresh:
                return record
            if record.state is PlanState.VERIFYING:
                return await self._verify(record, incident, state)
            if in_flight(record) is not None:
                record = await self._follow(record, incident, state)
            if in_flight(record) is not None:
                return record
            return await self._go_on(record, incident, state, paused=paused)

    async def _wait(self, record: PlanRecord, incident: Incident) -> PlanRecord:
        """Keep a proposal until somebody decides, it is too old, or the incident is over."""
        if incident.state is IncidentState.RESOLVED and not is_follow_up(record.plan):
            return await self._ended(record, incident, PlanState.EXPIRED, "the incident is over")
        if self._clock.now_s() >= record.plan.expires_s:
            text = f"nobody decided in time (mode {record.mode}); nothing was done"
            return await self._ended(record, incident, PlanState.EXPIRED, text)
        if record.mode is Autonomy.AUTO:  # a crash came between proposing and approving
            return await self._approved(record, incident, by=AUTO)
        return record

    async def _follow(
        self, record: PlanRecord, incident: Incident, state: ClusterState
    ) -> PlanRecord:
        """See what became of the action in flight; order it again where that may not have been."""
        action, now_s = course(record)[len(record.outcomes)], self._clock.now_s()
        took_s = now_s - record.since_s
        if CATALOG[action.kind].done(action, state, record.since_s):
            back = turning_point(record) is not None
            lost = lost_gpu_s(action, state, started_s=record.since_s)
            status = OutcomeStatus.REVERTED if back else OutcomeStatus.SUCCEEDED
            record = ended(record, status, f"done in {took_s:.0f} s", now_s=now_s, lost_gpu_s=lost)
            told = Announcement.ACTION_REVERTED if back else Announcement.ACTION_SUCCEEDED
            await self.ledger.write(record, incident, f"{named(action)}: done", told)
            return record
        if why := hopeless(action, state, incident, ordered_s=record.since_s):
            text = f"its effect will not come: {why}"
            return await self._failed(record, incident, OutcomeStatus.FAILED, text)
        if took_s >= action.deadline_s:
            text = f"no effect was seen within its {action.deadline_s:.0f} s"
            return await self._failed(record, incident, OutcomeStatus.TIMED_OUT, text)
        if not self._orders.was_given(action.key):
            await self._note_once(record, action, "again", "ordered again, the same key")
        return await self._order(record, incident, action)

    async def _go_on(
        self, record: PlanRecord, incident: Incident, state: ClusterState, *, paused: bool
    ) -> PlanRecord:
        """Start the next action, or bring the plan to its end; nothing is in flight."""
        now_s = self._clock.now_s()
        if record.state is PlanState.APPROVED and now_s >= record.plan.expires_s:
            text = "it was approved but could not begin in time; nothing was done"
            return await self._ended(record, incident, PlanState.EXPIRED, text)
        action = next_action(record)
        if action is None:
            return await self._finish(record, incident)
        puts_back = CATALOG[action.kind].effect is Effect.PUTS_BACK
        if puts_back and (why := not_ours_to_return(action, state)):
            record = await self._nothing_to_do(record, incident, why)
            return await self._go_on(record, incident, state, paused=paused)
        context = await self._context(record, incident, state, paused=paused)
        begins = record.state is PlanState.APPROVED
        asked = check(record.plan, context, self.settings.guards) if begins else ()
        refusals = asked or check_action(action, record.plan, context, self.settings.guards)
        if puts_back:
            refusals += self._kept_out(action, record, incident)
        if "pause" in {refusal.guard for refusal in refusals}:
            return record
        if refusals:
            record = await self._blocked(record, incident, refusals)
            return await self._go_on(record, incident, state, paused=paused)
        record = started(record, now_s=now_s, prior=_prior(action, state))
        action = course(record)[len(record.outcomes)]
        text = f"{named(action)}: ordered"
        told = Announcement.ACTION_STARTED
        if action.kind == PAGE_PERSON:
            told, text = Announcement.PERSON_PAGED, f"{text}: {record.plan.rationale}"
        await self.ledger.write(record, incident, text, told)
        return await self._order(record, incident, action)

    async def _nothing_to_do(self, record: PlanRecord, incident: Incident, text: str) -> PlanRecord:
        """Count as put back what is back already, or what others hold by now."""
        back = turning_point(record) is not None
        status = OutcomeStatus.REVERTED if back else OutcomeStatus.SUCCEEDED
        record = ended(record, status, text, now_s=self._clock.now_s())
        record = replace(record, state=PlanState.ACTING)
        await self.ledger.write(record, incident, f"{named(record.outcomes[-1].action)}: {text}")
        return record

    def _kept_out(
        self, action: Action, record: PlanRecord, incident: Incident
    ) -> tuple[Refusal, ...]:
        """Refuse to put a node back that is seen to be broken: people must look at it first."""
        since_s, node = self._clock.now_s() - self.settings.verify.recent_s, action.target.node
        found = broken(incident, node, since_s=since_s, mended_s=mended_s(record, node))
        if found is None:
            return ()
        reason = f"{action.target} stays out of service: {found.text}."
        return (Refusal("broken", reason, "Repair it, then uncordon it by hand."),)

    async def _blocked(
        self, record: PlanRecord, incident: Incident, refusals: tuple[Refusal, ...]
    ) -> PlanRecord:
        """Write down that the next action was refused right before it would have been done."""
        text = refusals[0].reason
        record = ended(record, OutcomeStatus.REFUSED, text, now_s=self._clock.now_s())
        record = replace(record, state=PlanState.ACTING, refusals=refusals)
        goes_on = turning_point(record) is None
        told = Announcement.ACTION_FAILED if goes_on else Announcement.PLAN_REFUSED
        await self.ledger.write(record, incident, text, told)
        return record

    async def _order(self, record: PlanRecord, incident: Incident, action: Action) -> PlanRecord:
        """Hand the action to the cluster; what is on disk says already that it is in flight.

        No answer in time, or no scheduler, leaves it in flight: the next cycle looks, asks again.
        """
        within_s = self.settings.perform_timeout_s
        try:
            answered = await self._orders.give(action, within_s=within_s)
        except ActionFailed as error:
            return await self._failed(record, incident, OutcomeStatus.FAILED, str(error))
        except GpumedicError as error:
            await self._note_once(record, action, "unheard", str(error))
            return record
        if not answered:
            text = f"no answer within {within_s:g} s; it goes on"
            await self._note_once(record, action, "unheard", text)
        return record

    async def _note_once(self, record: PlanRecord, action: Action, kind: str, text: str) -> None:
        """Write down what is so at each cycle of an action in flight, the first time only."""
        if (action.key, kind) not in self._said:
            self._said.add((action.key, kind))
            await self.ledger.note(record, f"action.{kind}", f"{named(action)}: {text}")

    async def _failed(
        self, record: PlanRecord, incident: Incident, status: OutcomeStatus, text: str
    ) -> PlanRecord:
        action = course(record)[len(record.outcomes)]
        self._orders.drop(action.key)
        record = ended(record, status, text, now_s=self._clock.now_s())
        await self.ledger.write(
            record, incident, f"{named(action)}: {text}", Announcement.ACTION_FAILED
        )
        return record

    async def _verify(
        self, record: PlanRecord, incident: Incident, state: ClusterState
    ) -> PlanRecord:
        """Look whether it helped; turn back where it did not."""
        first_step = self._first_step.setdefault(record.plan.id, {})
        for job in state.jobs:
            if job.step is not None:
                first_step[job.id] = min(job.step, first_step.get(job.id, job.step))
        found = verify(
            record,
            incident,
            state,
            self.settings.verify,
            first_step=first_step,
            now_s=self._clock.now_s(),
        )
        if found.verdict is Verdict.WAIT:
            return record
        helped = found.verdict is Verdict.HELPED
        last = replace(
            record.outcomes[-1],
            verified=helped,
            symptom_before=found.symptom_before,
            symptom_after=found.symptom_after,
        )
        record = replace(record, outcomes=(*record.outcomes[:-1], last))
        if helped:
            return await self._ended(record, incident, PlanState.DONE, f"verified: {found.text}")
        record = self._moved(record, PlanState.ACTING)
        text = f"it did not help: {found.text}; taking back what can be"
        await self.ledger.write(record, incident, text, Announcement.ACTION_FAILED)
        return record

    async def _finish(self, record: PlanRecord, incident: Incident) -> PlanRecord:
        """Begin to verify what went well, but for a stopgap; end what turned back."""
        if turning_point(record) is None and is_stopgap(record.plan):
            text = "a person was called" if is_page(record.plan) else "the work is saved"
            return await self._ended(record, incident, PlanState.DONE, text)
        if turning_point(record) is None:
            record = self._moved(record, PlanState.VERIFYING)
            await self.ledger.write(
                record, incident, "all actions are done; looking whether they helped"
            )
            return record
        return await self._ended(record, incident, end_state(record), turned_back(record))

    async def _ended(
        self, record: PlanRecord, incident: Incident, state: PlanState, text: str
    ) -> PlanRecord:
        """Write down a plan's final state and forget what was only kept in memory for it."""
        record = self._moved(record, state)
        await self.ledger.write(record, incident, f"{state}: {text}", Announcement.INCIDENT_UPDATED)
        self._first_step.pop(record.plan.id, None)
        for action in course(record):
            self._orders.drop(action.key)
            self._said -= {(action.key, "again"), (action.key, "unheard")}
        return record

    async def _approved(self, record: PlanRecord, incident: Incident, *, by: str) -> PlanRecord:
        record = self._moved(record, PlanState.APPROVED, decided_by=by)
        await self.ledger.write(record, incident, f"approved by {by}", Announcement.PLAN_APPROVED)
        return record

    async def _refuse(self, record: PlanRecord, incident: Incident) -> PlanRecord:
        """Write a refused proposal down, unless the incident's last one met the same guards."""
        self._refused = {
            key: last
            for key, last in self._refused.items()
            if 0 <= record.since_s - last.since_s < self.settings.refusal_repeat_s
        }
        last = self._refused.get(incident.id)
        if last is not None and _guards(last) == _guards(record):
            return replace(last, refusals=record.refusals)
        record = self._moved(record, PlanState.REFUSED)
        text = " ".join(f"{refusal.reason} {refusal.remedy}" for refusal in record.refusals)
        await self.ledger.write(record, incident, text, Announcement.PLAN_REFUSED)
        self._refused[incident.id] = record
        return record

    async def _waiting(self, plan_id: str, verb: str) -> tuple[PlanRecord, Incident]:
        record, incident = await self._known(plan_id, verb)
        if record.state is not PlanState.PROPOSED:
            by = f" by {record.decided_by}" if record.decided_by else ""
            raise InputError(
                f"Trying to {verb} plan {plan_id}: it is {record.state}{by} already. Only a "
                f"proposed plan waits for a decision."
            )
        return record, incident

    async def _known(self, plan_id: str, verb: str) -> tuple[PlanRecord, Incident]:
        record = await self.ledger.store.get(PlanRecord, plan_id)
        if record is None:
            raise InputError(
                f"Trying to {verb} plan {plan_id}: there is none of that id. `gpumedic plan` lists "
                f"those that wait."
            )
        incident = await self.ledger.store.get(Incident, record.plan.incident_id)
        if incident is None:
            raise InputError(
                f"Trying to {verb} plan {plan_id}: incident {record.plan.incident_id} is not in "
                f"the store. Wait for the next plan."
            )
        return record, incident

    async def _theirs(self, record: PlanRecord, state: ClusterState) -> str:
        """Return who has taken over what a plan is about, as a sentence; "" where nobody has."""
        guards = self.settings.guards
        page = taken_over(
            await self.ledger.past(),
            record.plan.incident_id,
            record.plan.actions,
            since_s=self._clock.now_s() - guards.taken_over_s,
        )
        if page is not None:
            return f"{page.decided_by}, who was called by plan {page.plan.id}, has taken over."
        return overridden(record, state, automation=guards.automation)

    async def _asked(
        self, record: PlanRecord, incident: Incident, state: ClusterState
    ) -> tuple[Refusal, ...]:
        """Return the guards' no to a whole plan."""
        context = await self._context(record, incident, state)
        return check(record.plan, context, self.settings.guards)

    async def _context(
        self, record: PlanRecord, incident: Incident, state: ClusterState, *, paused: bool = False
    ) -> GuardContext:
        """Gather what the guards look at."""
        return GuardContext(
            state,
            incident,
            self._clock.now_s(),
            records=await self.ledger.past(),
            paused=paused,
            attended=record.mode is not Autonomy.AUTO,
        )

    def _moved(self, record: PlanRecord, state: PlanState, *, decided_by: str = "") -> PlanRecord:
        return replace(
            record,
            state=state,
            since_s=self._clock.now_s(),
            decided_by=decided_by or record.decided_by,
        )


def _guards(record: PlanRecord) -> tuple[str, ...]:
    return tuple(refusal.guard for refusal in record.refusals)


def _prior(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return the state before an action, which is kept with its order: that is what is restored."""
    return {**CATALOG[action.kind].prior(action, state), **job_before(action, state)}
