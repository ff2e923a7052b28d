"""What every policy is: from a diagnosis, the cluster and the past, a choice and its plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from core.choice import Choice
from core.cluster import ClusterState
from core.types import Diagnosis, Incident, Plan, PlanRecord
from remediation.deciding.chooser import Moment
from remediation.guards import GuardSettings


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What is known beside the incident itself.

    records:   plans that are live or did something within ``ledger.PAST_S``, this incident's too
    incidents: open ones and those resolved lately
    diagnoses: of these incidents, by their ids
    guards:    the bounds in force
    """

    records: tuple[PlanRecord, ...] = ()
    incidents: tuple[Incident, ...] = ()
    diagnoses: Mapping[str, Diagnosis] = field(default_factory=dict)
    guards: GuardSettings = field(default_factory=GuardSettings)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a policy decided.

    plan:    None: nothing is done
    moment:  what it was chosen from; None where the policy looked at the diagnosis alone
    chances: (len(Choice),) probability with which the policy makes each choice at such a moment;
             empty: it makes this one
    """

    choice: Choice
    plan: Plan | None
    moment: Moment | None = None
    chances: tuple[float, ...] = ()

    def chance(self, choice: Choice) -> float:
        """Return the probability with which the policy makes that choice at such a moment."""
        return self.chances[choice] if self.chances else float(choice is self.choice)


class Policy(Protocol):
    """Proposes; guards dispose. The same input gives the same decision."""

    name: str
    version: str

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
        ...
