"""What was decided about an incident and what a shadow would have chosen, as lines of the journal.

``gpumedic policy`` reads them back: a policy is judged on what others decided before it may act.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from core.choice import Choice
from core.codec import from_json, to_json
from core.errors import InputError
from core.types import Diagnosis, Incident, JournalEntry
from remediation.deciding.chooser import Thought
from remediation.deciding.policy import Decision

KIND = "policy.decision"


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision as it was made; times are seconds since the epoch.

    plan_id:    the plan it came to; "" for none
    fault:      the likeliest cause's; "" where none was named
    facts:      (len(Fact),) what was seen; empty where the policy goes by the diagnosis alone
    open:       the numbers of the choices that were open
    propensity: probability with which the policy chooses this at such a moment
    shadow:     the name of the policy that was asked beside it; "" for none
    shadow_propensity: probability with which the acting policy makes the shadow's choice
    note:       why another policy decided than the one that should have; "" where it did
    """

    time_s: float
    incident_id: str
    plan_id: str
    fault: str
    facts: tuple[float, ...]
    open: tuple[int, ...]
    choice: int
    propensity: float
    policy: str
    policy_version: str
    shadow_choice: int | None = None
    shadow: str = ""
    shadow_version: str = ""
    shadow_propensity: float = 0.0
    note: str = ""


def decided(
    decision: Decision,
    incident: Incident,
    diagnosis: Diagnosis,
    *,
    shadow: Thought | None,
    now_s: float,
) -> Decided:
    """Return what a decision was made from, and what a shadow chose at the same moment."""
    moment, cause = decision.moment, diagnosis.likeliest
    seen = None if moment is None else moment.situation
    return Decided(
        time_s=now_s,
        incident_id=incident.id,
        plan_id="" if decision.plan is None else decision.plan.id,
        fault="" if cause is None else cause.fault,
        facts=() if seen is None else tuple(float(fact) for fact in seen.facts),
        open=() if seen is None else tuple(int(c) for c in Choice if seen.open[c]),
        choice=int(decision.choice),
        propensity=decision.chance(decision.choice),
        policy=decision.policy,
        policy_version=decision.version,
        shadow_choice=None if shadow is None else int(shadow.choice),
        shadow="" if shadow is None else shadow.name,
        shadow_version="" if shadow is None else shadow.version,
        shadow_propensity=0.0 if shadow is None else decision.chance(shadow.choice),
        note=decision.note,
    )


def entry(made: Decided) -> JournalEntry:
    """Return the journal's line of a decision."""
    text = json.dumps(to_json(made), separators=(",", ":"))
    return JournalEntry(made.time_s, made.incident_id, made.plan_id, KIND, text)


def read(entries: Iterable[JournalEntry]) -> tuple[Decided, ...]:
    """Return the decisions among the lines, in their order; InputError for one that is torn."""
    return tuple(from_json(Decided, json.loads(line.text)) for line in entries if line.kind == KIND)


def in_words(line: JournalEntry) -> str:
    """Return a line of the journal for people: a decision in a sentence, any other as it is."""
    if line.kind != KIND:
        return line.text
    try:
        (made,) = read([line])
    except (InputError, ValueError):
        return "a policy decided (written by another version of gpumedic)"
    beside = f"; {made.shadow} would {_chosen(made.shadow_choice)}" if made.shadow else ""
    why = f", because {made.note}" if made.note else ""
    return f"{made.policy} chose to {_chosen(made.choice)}{why}{beside}"


def _chosen(choice: int | None) -> str:
    return "" if choice is None else Choice(choice).name.lower().replace("_", " ")
