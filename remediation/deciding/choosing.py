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
from remediation.deciding.chooser import Chooser
from remediation.deciding.plans import Made, explained, plan_of
from remediation.deciding.policy import Decision, Past
from remediation.deciding.situations import Subject, facts_of, subject_of
from remediation.evaluation.exploring import Exploring
from remediation.guards import ASKS_A_PERSON, GuardContext, check

# These are always there: to do nothing, and to ask a person.
_ALWAYS = (Choice.WAIT, Choice.ESCALATE)


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
        return subject_of(self.incident, self.diagnosis, self.state)

    @cached_property
    def plans(self) -> Mapping[Choice, Plan]:
        """Return the plan of each choice that can be carried out from end to end."""
        found = {}
        for choice in Choice:
            plan = plan_of(choice, self.subject, self.diagnosis, self.state, made=self.made)
            if plan is not None and first_obstacle(plan.actions, self.state) is None:
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
        is_open[list(_ALWAYS)] = True
        for choice, plan in self.plans.items():
            is_open[choice] = not self.guarded or self._allowed(plan)
        return Situation(facts, is_open)

    def _allowed(self, plan: Plan) -> bool:
        context = GuardContext(self.state, self.incident, self.now_s, self.past.records)
        refusals = check(plan, context, self.past.guards)
        return {refusal.guard for refusal in refusals} <= ASKS_A_PERSON


class ChoosingPolicy:
    """Makes a plan of what a chooser chooses among what the guards allow.

    Where that is nothing but for the guards, the plan it would have made is handed on all the same:
    their refusal tells people what stands in its way.
    """

    def __init__(self, chooser: Chooser, site: SiteFigures | None = None) -> None:
        self.chooser = chooser
        self.name, self.version = chooser.name, chooser.version
        self._site = site or SiteFigures()

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
        made = Made(plan_id, incident.id, now_s, self.name, self.version)
        moment = LiveMoment(incident, diagnosis, state, now_s, made, past, self._site)
        choice = self.chooser.choose(moment)
        chances: tuple[float, ...] = ()
        if isinstance(self.chooser, Exploring):
            chances = tuple(self.chooser.chances(moment).tolist())
        if choice in moment.plans:
            plan = explained(moment.plans[choice], choice, moment.situation, state)
            return Decision(choice, plan, moment, chances)
        return Decision(choice, self._barred(moment), moment, chances)

    def _barred(self, moment: LiveMoment) -> Plan | None:
        """Return the plan that would have been made but for the guards, if there is one."""
        could = np.array([choice in moment.plans or choice in _ALWAYS for choice in Choice])
        if (could == moment.situation.open).all():
            return None
        free = replace(moment, guarded=False)
        choice = self.chooser.choose(free)
        if choice not in moment.plans or moment.situation.open[choice]:
            return None
        return explained(moment.plans[choice], choice, free.situation, moment.state)
