"""What a decision is made from beside its moment, and what it comes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.choice import Choice
from core.site import SiteFigures
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
    site:      how long things take here, as far as it was set and seen
    spent:     plans that were done a moment ago, to no end, by the ids of their incidents
    """

    records: tuple[PlanRecord, ...] = ()
    incidents: tuple[Incident, ...] = ()
    diagnoses: Mapping[str, Diagnosis] = field(default_factory=dict)
    guards: GuardSettings = field(default_factory=GuardSettings)
    site: SiteFigures = field(default_factory=SiteFigures)
    spent: Mapping[str, Sequence[Plan]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a policy decided.

    plan:    None: nothing is done
    moment:  what it was chosen from; None where the policy looked at the diagnosis alone
    chances: (len(Choice),) probability with which the policy makes each choice at such a moment;
             empty: it makes this one
    policy, version: which decided
    note:    why it was not the one that should have; "" where it was
    """

    choice: Choice
    plan: Plan | None
    moment: Moment | None = None
    chances: tuple[float, ...] = ()
    policy: str = ""
    version: str = ""
    note: str = ""

    def chance(self, choice: Choice) -> float:
        """Return the probability with which the policy makes that choice at such a moment."""
        return self.chances[choice] if self.chances else float(choice is self.choice)
