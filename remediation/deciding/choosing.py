"""The agent's policy around any chooser: what is known, what may be done, and the plan of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from core.choice import Choice
from core.cluster import ClusterState
from core.site import SiteFigures
from core.situation import Situation
from core.types import Diagnosis, Incident, Plan
from remediation.catalogue import first_obstacle
from remediation.deciding.chooser import Chooser, Thought
from remediation.deciding.plans import Made, plan_of
from remediation.deciding.policy import Decision, Past
from remediation.deciding.reasons import explained
from remediation.deciding.situations import Subject, facts_of, subject_of, tried
from remediation.deciding.turns import is_the_same
from remediation.evaluation.exploring import Exploring
from remediation.guards import ASKS_A_PERSON, GuardContext, check, unfit


@dataclass(frozen=True, eq=False)
class LiveMoment:
    """A decision that is due in life; what it is chosen from is worked out when it is asked for.

    guarded: only what the guards allow, or leave to a person's word, is open; without, all that
             could be carried out
    """

    incident: Incident
    diagnosis: Diagnosis
    state: ClusterState
    now_s: float
    made: Made
    past: Past
    site: SiteFigures
    guarded: bool = True

    @cached_property
    def subject(self) -> Subject:
        """Return the job and the nodes that it is about."""
        found = subject_of(self.incident, self.diagnosis, self.state)
        restarts, *_ = tried(self.past.records, self.incident.id)
        unfit_now = unfit(found.job, self._context, self.past.guards)
        return replace(found, unfit=unfit_now, restarted=restarts > 0)

    @cached_property
    def _context(self) -> GuardContext:
        return GuardContext(self.state, self.incident, self.now_s, self.past.records)

    @cached_property
    def plans(self) -> Mapping[Choice, Plan]:
        """Return the plan of each choice that can be carried out from end to end.

        What was done a moment ago, to no end, is not done again yet.
        """
        found, spent = {}, self.past.spent.get(self.incident.id, ())
        for choice in Choice:
            plan = plan_of(choice, self.subject, self.diagnosis, self.state, made=self.made)
            if plan is None or any(is_the_same(plan, other) for other in spent):
                continue
            if first_obstacle(plan.actions, self.state) is None:
                found[choice] = plan
        return found

    @cached_property
    def situation(self) -> Situation:
        """Return the facts and which choices are open."""
        facts = facts_of(
            *(self.incident, self.diagnosis, self.state, self.subject),
            now_s=self.now_s,
            site=self.site,
            past=self.past,
        )
        is_open = np.zeros(len(Choice), dtype=np.bool_)
        is_open[Choice.WAIT] = True
        for choice, plan in self.plans.items():
            is_open[choice] = not self.guarded or self._allowed(plan)
        return Situation(facts, is_open)

    def _allowed(self, plan: Plan) -> bool:
        refusals = check(plan, self._context, self.past.guards)
        return {refusal.guard for refusal in refusals} <= ASKS_A_PERSON


class ChoosingPolicy:
    """Makes a plan of what a chooser chooses among what the guards allow.

    Where that is nothing but for the guards, the plan it would have made is handed on all the same:
    their refusal tells people what stands in its way.
    """

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.name, self.version = chooser.name, chooser.version

    def decide(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
        past: Past,
    ) -> Decision:
        """Return what to do about the incident now."""
        about = (incident, diagnosis, state)
        return self.chosen(self.moment(*about, now_s=now_s, plan_id=plan_id, past=past))

    def moment(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
        past: Past,
    ) -> LiveMoment:
        """Return what there is to choose from; its plan will have that id."""
        made = Made(plan_id, incident.id, now_s, self.name, self.version)
        return LiveMoment(incident, diagnosis, state, now_s, made, past, past.site)

    def chosen(self, moment: LiveMoment, *, note: str = "") -> Decision:
        """Return what this policy decides; note: why it is asked in another's place."""
        choice = self.chooser.choose(moment)
        chances: tuple[float, ...] = ()
        if isinstance(self.chooser, Exploring):
            chances = tuple(self.chooser.chances(moment).tolist())
        return self.settled(moment, Thought(choice, self.name, self.version, chances), note=note)

    def settled(self, moment: LiveMoment, thought: Thought, *, note: str = "") -> Decision:
        """Return what a choice comes to, whoever made it."""
        choice, who = thought.choice, (thought.name, thought.version)
        plan = None if choice in moment.plans else self._barred(moment)
        if choice in moment.plans:
            made = replace(moment.plans[choice], policy=who[0], policy_version=who[1])
            own = thought.losses or None
            plan = explained(made, choice, moment.situation, moment.state, losses=own)
            if note:
                plan = replace(plan, rationale=f"{plan.rationale} It decided because {note}.")
        return Decision(choice, plan, moment, thought.chances, *who, note)

    def _barred(self, moment: LiveMoment) -> Plan | None:
        """Return the plan that would have been made but for the guards, if there is one."""
        closed = [choice for choice in moment.plans if not moment.situation.open[choice]]
        if not closed:
            return None
        free = replace(moment, guarded=False)
        choice = self.chooser.choose(free)
        if choice not in closed or choice is Choice.ESCALATE:
            return None  # nobody is to be told that nobody is called twice
        return explained(moment.plans[choice], choice, free.situation, moment.state)
