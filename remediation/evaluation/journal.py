"""From the journal of decisions to what estimates need: who chose what, and what it came to."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from core.choice import Choice
from core.situation import Fact
from core.types import Floats
from remediation.deciding.decided import Decided
from remediation.evaluation.exploring import drawn_once
from remediation.evaluation.off_policy import Logged


def logged(decisions: Iterable[Decided], ended_s: Mapping[str, float]) -> Logged:
    """Return the decisions that a shadow stood beside, each draw of chance once.

    decisions: in any order
    ended_s: incident -> when it ended, seconds since the epoch; incidents without are left out:
        what they will have lost is not known yet
    """
    kept = _first_of_each_draw(
        sorted(
            (each for each in decisions if each.shadow_choice is not None),
            key=lambda each: (each.incident_id, each.time_s),
        )
    )
    kept = [each for each in kept if each.incident_id in ended_s]
    numbers = {name: k for k, name in enumerate(dict.fromkeys(each.incident_id for each in kept))}
    facts = np.array([each.facts for each in kept]).reshape(len(kept), len(Fact))
    return Logged(
        incident=np.array([numbers[each.incident_id] for each in kept], dtype=np.int64),
        cause=tuple(each.fault or "unknown" for each in kept),
        facts=facts,
        chosen=np.array([each.choice for each in kept], dtype=np.int64),
        other=np.array([each.shadow_choice for each in kept], dtype=np.int64),
        chance=np.array([each.propensity for each in kept]),
        other_chance=np.array([each.shadow_propensity for each in kept]),
        lost=_lost(kept, facts, ended_s),
    )


def _first_of_each_draw(decisions: Sequence[Decided]) -> list[Decided]:
    found: dict[str, Decided] = {}
    for each in decisions:
        found.setdefault(drawn_once(each.incident_id, np.array(each.facts)), each)
    return list(found.values())


def _lost(decisions: Sequence[Decided], facts: Floats, ended_s: Mapping[str, float]) -> Floats:
    """Return (N,) priced GPU-seconds from each decision to the incident's next or its end.

    Half of the stretch is counted at the pace before it, half at that after it; at its end an
    incident's job is well. A job that ran and has stopped by the next decision lost what it had not
    saved; the first page of an incident costs what a page is priced at.
    """
    found, paged = np.zeros(len(decisions)), set()
    for at, each in enumerate(decisions):
        last = at + 1 == len(decisions) or decisions[at + 1].incident_id != each.incident_id
        until_s = ended_s[each.incident_id] if last else decisions[at + 1].time_s
        rate = (_short(facts[at]) + (0.0 if last else _short(facts[at + 1]))) / 2
        found[at] = rate * max(until_s - each.time_s, 0.0)
        if not last and facts[at, Fact.JOB_RUNS] and facts[at + 1, Fact.JOB_STOPPED]:
            found[at] += facts[at, Fact.UNSAVED_S] * facts[at, Fact.JOB_GPUS]
        if each.choice == Choice.ESCALATE and each.incident_id not in paged:
            paged.add(each.incident_id)
            found[at] += facts[at, Fact.PAGE_GPU_S]
    return found


def _short(facts: Floats) -> float:
    """Return how many of the job's GPUs come to nothing now: all of them where it stands."""
    pace = float(facts[Fact.PACE]) if facts[Fact.JOB_RUNS] else 0.0
    return float(facts[Fact.JOB_GPUS]) * max(1.0 - pace, 0.0)
