"""How long things take at this site: what was set, and what was seen of it since."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from core.site import SiteFigures
from core.types import Incident, OutcomeStatus, PlanRecord, PlanState
from remediation.catalogue import REBOOT_NODE, VALIDATE_NODE
from remediation.running.follow_up import is_follow_up
from remediation.running.page import sent_s
from remediation.running.stopgap import is_stopgap

PRIOR = 2.0  # what is set weighs as much as so many that were seen

# Figure of the site -> what was seen of it, by a name that counts each once; seconds.
Lessons = Mapping[str, Mapping[str, float]]
_BY_KIND = {REBOOT_NODE: "reboot_s", VALIDATE_NODE: "validate_s"}
PEOPLE = "people_s"
_PRIOR_DAYS = 0.25  # of watching, that the rate that is set weighs
_GPUS_OF_RATE = 1024.0  # SiteFigures.faults_a_day is for so many
FIGURES = (*_BY_KIND.values(), PEOPLE)


def mean_of(before: float, weight: float, total: float, count: float) -> float:
    """Return a mean of what was known before and of what was seen."""
    return (before * weight + total) / (weight + max(0.0, count))


def faults_a_day(site: SiteFigures, gpus: int, seen: int, days: float) -> float:
    """Return how many incidents a day there are in a cluster of so many GPUs.

    seen: of them, in so many days of watching
    """
    return mean_of(site.faults_a_day * gpus / _GPUS_OF_RATE, _PRIOR_DAYS, seen, days)


def lessons(records: Iterable[PlanRecord], incidents: Iterable[Incident]) -> Lessons:
    """Return what plans and incidents tell: reboots, checks, and people who were called.

    A person's time is told where the incident ended after the call and no other plan is what helped
    """
    kept = tuple(records)
    found: dict[str, dict[str, float]] = {name: {} for name in FIGURES}
    for record in kept:
        for outcome in record.outcomes:
            figure = _BY_KIND.get(outcome.action.kind)
            if figure and outcome.status is OutcomeStatus.SUCCEEDED:
                found[figure][outcome.action.key] = outcome.ended_s - outcome.started_s
    ended = {each.id: each.resolved_s for each in incidents if each.resolved_s is not None}
    helped = {
        record.plan.incident_id
        for record in kept
        if record.state is PlanState.DONE
        and not (is_stopgap(record.plan) or is_follow_up(record.plan))
    }
    for record in kept:
        at_s, end_s = sent_s(record), ended.get(record.plan.incident_id)
        if at_s is None or end_s is None or record.plan.incident_id in helped or end_s <= at_s:
            continue
        found[PEOPLE].setdefault(record.plan.incident_id, end_s - at_s)
    return found


def weighed(site: SiteFigures, seen: Lessons) -> SiteFigures:
    """Return the site's figures as the mean of what was set, which counts as two, and was seen."""
    means = {
        name: mean_of(getattr(site, name), PRIOR, sum(seen[name].values()), len(seen[name]))
        for name in FIGURES
        if seen.get(name)
    }
    return replace(site, **means)
