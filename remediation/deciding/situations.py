"""What is known of an incident in life, as the plain numbers that every policy goes by."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition
from core.site import SiteFigures
from core.situation import LONG_S, Fact, Remedy
from core.types import Anomaly, Breach, Diagnosis, Floats, Incident, OutcomeStatus, PlanRecord
from remediation.catalogue import CATALOG, REBOOT_NODE, UNCORDON
from remediation.catalogue.costs import CHECKPOINT_STALL_S, restart_s
from remediation.catalogue.subject import gpus_on, taken_out
from remediation.deciding.policy import Past
from remediation.deciding.remedies import mixed
from remediation.deciding.site_seen import PRIOR, faults_a_day, mean_of
from remediation.guards import nodes_out_limit
from remediation.running.follow_up import is_follow_up

_DAY_S = 86_400.0
_HALF_LIFE_S = 7 * _DAY_S  # an earlier incident of a node counts half after so long
_WARNED_S = 1800.0  # a breach counts where it comes within this time
_SPREAD = 2.563  # of a normal distribution's 80 % interval, in standard deviations
_PRIOR_ENDED = 10.0  # what the site's figure weighs
HANG = "hang"  # the detector of jobs that make no step
STEP_TIME = "job_step_time_s"
_NOT_DONE = frozenset({OutcomeStatus.WOULD_DO, OutcomeStatus.REFUSED})


@dataclass(frozen=True, slots=True)
class Subject:
    """What a choice is about.

    job:   the largest live one that the likeliest cause touches; None: there is none
    node:  the likeliest cause's, "" where it lies on none or none of the job's
    other: of the job's other nodes the one most blamed, "" for none
    shown: the first node that shows a symptom, "" for none
    blamed, other_blamed: the probabilities that the fault lies there
    unfit: nodes that may not be put into the job now
    restarted: the job was started again for this incident already
    """

    job: JobState | None
    node: str
    other: str
    blamed: float
    other_blamed: float
    shown: str = ""
    unfit: frozenset[str] = frozenset()
    restarted: bool = False


def subject_of(incident: Incident, diagnosis: Diagnosis, state: ClusterState) -> Subject:
    """Return the job and the nodes that a choice about the incident is about."""
    job = _job(incident, diagnosis, state)
    blame: dict[str, float] = {}
    for cause in diagnosis.causes:
        node = state.topology.node_of(cause.target)
        if node and (job is None or node in job.nodes):
            blame[node] = blame.get(node, 0.0) + cause.probability
    node = state.topology.node_of(diagnosis.causes[0].target) if diagnosis.causes else ""
    node, blamed = (node, blame.pop(node)) if node in blame else ("", 0.0)
    other, other_blamed = max(blame.items(), key=lambda item: item[1], default=("", 0.0))
    places = (state.topology.node_of(target) for target in incident.targets)
    shown = next((place for place in places if state.node(place) is not None), "")
    return Subject(job, node, other, min(1.0, blamed), min(1.0, other_blamed), shown)


def _job(incident: Incident, diagnosis: Diagnosis, state: ClusterState) -> JobState | None:
    """Return the largest live job of the likeliest cause, or else of the incident."""
    touched: Iterable[JobState] = ()
    if diagnosis.causes:
        touched = state.jobs_touched(diagnosis.causes[0].target)
        if not state.topology.nodes_in(diagnosis.causes[0].target):
            touched = (*touched, *(job for job in state.jobs if job.id in incident.jobs))
    else:
        touched = (job for job in state.jobs if job.id in incident.jobs)
    live = (job for job in touched if job.phase not in (JobPhase.PENDING, JobPhase.COMPLETED))
    return max(live, key=lambda job: (job.gpus, job.id), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    incident: Incident
    diagnosis: Diagnosis
    state: ClusterState
    now_s: float
    subject: Subject
    site: SiteFigures
    past: Past


def facts_of(
    incident: Incident,
    diagnosis: Diagnosis,
    state: ClusterState,
    subject: Subject,
    *,
    now_s: float,
    site: SiteFigures,
    past: Past,
) -> Floats:
    """Return (len(Fact),) what is known; where something is not, what the site's figures say."""
    look = _Look(incident, diagnosis, state, now_s, subject, site, past)
    facts = np.zeros(len(Fact))
    facts[: len(Remedy)] = mixed(diagnosis)
    for part in (_incident, _node, _job_facts, _cluster, _history):
        for fact, value in part(look).items():
            facts[fact] = value
    return facts


def _incident(look: _Look) -> dict[Fact, float]:
    restarts, moves, last_s = tried(look.past.records, look.incident.id)
    return {
        Fact.UNKNOWN: look.diagnosis.unknown,
        Fact.NO_FAULT: look.diagnosis.no_fault,
        Fact.NODE_BLAMED: look.subject.blamed,
        Fact.OTHER_BLAMED: look.subject.other_blamed,
        Fact.AGE_S: max(0.0, look.now_s - look.incident.opened_s),
        Fact.RESTARTS_TRIED: restarts,
        Fact.MOVES_TRIED: moves,
        Fact.SINCE_TRIED_S: LONG_S if last_s is None else max(0.0, look.now_s - last_s),
        Fact.OTHERS_OPEN: sum(
            incident.resolved_s is None and incident.id != look.incident.id
            for incident in look.past.incidents
        ),
        Fact.BREACH: max(
            (_within(breach, look.now_s) for breach in look.incident.breaches), default=0.0
        ),
    }


def tried(records: Iterable[PlanRecord], incident: str) -> tuple[int, int, float | None]:
    """Return how many plans restarted a job for an incident, how many moved it, when the last."""
    restarts, moves, last_s = 0, 0, None
    for record in records:
        if record.plan.incident_id != incident or is_follow_up(record.plan):
            continue
        done = [o for o in record.outcomes if o.status not in _NOT_DONE]
        stops = [o for o in done if CATALOG[o.action.kind].stops_job]
        if any(CATALOG[outcome.action.kind].takes_out for outcome in done):
            moves += 1
        elif stops:
            restarts += 1
        else:
            continue
        last_s = max([outcome.started_s for outcome in done] + ([last_s] if last_s else []))
    return restarts, moves, last_s


def _within(breach: Breach, now_s: float) -> float:
    """Return the probability that a limit is crossed within half an hour."""
    until_s, middle_s = now_s + _WARNED_S, breach.expected_s
    spread_s = (breach.latest_s - breach.earliest_s) / _SPREAD
    if spread_s <= 0:
        return breach.probability if middle_s <= until_s else 0.0
    share = 0.5 * (1.0 + math.erf((until_s - middle_s) / spread_s / math.sqrt(2.0)))
    return breach.probability * share


def _node(look: _Look) -> dict[Fact, float]:
    known = look.state.node(look.subject.node)
    if known is None:
        return {}
    down = known.condition is NodeCondition.DOWN
    return {
        Fact.NODE_INCIDENTS: _earlier(look),
        Fact.NODE_OUT: not down and known.condition is not NodeCondition.READY,
        Fact.NODE_DOWN: down,
    }


def _earlier(look: _Look) -> float:
    """Count earlier incidents that blamed this node first, each halved every 7 days."""
    node_of = look.state.topology.node_of
    found: dict[str, tuple[str, float]] = {}
    opened = {incident.id: incident.opened_s for incident in look.past.incidents}
    for key, diagnosis in look.past.diagnoses.items():
        if key in opened and diagnosis.likeliest is not None:
            found[key] = (node_of(diagnosis.likeliest.target), opened[key])
    for record in look.past.records:
        if not is_follow_up(record.plan):
            plan = record.plan
            found.setdefault(plan.incident_id, (node_of(plan.cause.target), plan.made_at_s))
    return sum(
        math.exp2(-max(0.0, look.now_s - at_s) / _HALF_LIFE_S)
        for key, (node, at_s) in found.items()
        if node == look.subject.node and key != look.incident.id
    )


def _job_facts(look: _Look) -> dict[Fact, float]:
    job = look.subject.job
    if job is None:
        return {Fact.UNSAVED_S: 0.0, Fact.INTERVAL_S: LONG_S}
    nodes = max(1, len(job.nodes))
    runs = job.phase is JobPhase.RUNNING
    asked = max(job.asked_nodes, len(job.nodes), 1)
    used = [other for other in look.state.jobs if other.nodes and _is_live(other)]
    below = sum(other.gpus for other in used if other.priority < job.priority)
    return {
        Fact.JOB_RUNS: runs,
        Fact.JOB_STARTS: job.phase is JobPhase.STARTING,
        Fact.JOB_STOPPED: job.phase is JobPhase.STOPPED,
        Fact.PACE: _pace(job, look) if runs else 0.0,
        Fact.UNSAVED_S: _unsaved_s(job, look.now_s) if runs else 0.0,
        Fact.INTERVAL_S: LONG_S if job.interval_s is None else job.interval_s,
        Fact.STALL_S: CHECKPOINT_STALL_S if job.stall_s is None else job.stall_s,
        Fact.RESTART_S: restart_s(job.gpus),
        Fact.JOB_GPUS: job.gpus,
        Fact.JOB_NODES: nodes,
        Fact.RESTARTS: job.restarts,
        Fact.PHASE_S: max(0.0, look.now_s - job.since_s),
        Fact.ABOVE: below / max(1, sum(other.gpus for other in used)),
        Fact.CAN_SHRINK: (nodes - job.least_nodes) / nodes if job.least_nodes else 0.0,
        Fact.SHRUNK: 1.0 - len(job.nodes) / asked,
    }


def _unsaved_s(job: JobState, now_s: float) -> float:
    return LONG_S if job.checkpoint_s is None else max(0.0, now_s - job.checkpoint_s)


def _is_live(job: JobState) -> bool:
    return job.phase is not JobPhase.COMPLETED


def _pace(job: JobState, look: _Look) -> float:
    """Return a running job's speed against its own when healthy, as far as it is told."""
    mine = [a for a in look.incident.anomalies if a.target.job == job.id]
    if any(_is_fresh(anomaly, look.now_s) and anomaly.detector == HANG for anomaly in mine):
        return 0.0
    if job.step_s and job.usual_step_s:
        return min(1.0, job.usual_step_s / job.step_s)
    slow = [
        anomaly.upper / anomaly.value
        for anomaly in mine
        if anomaly.metric == STEP_TIME and _is_fresh(anomaly, look.now_s) and anomaly.value > 0
    ]
    return min([1.0, *slow])


def _is_fresh(anomaly: Anomaly, now_s: float) -> bool:
    return now_s - anomaly.end_s <= _WARNED_S


def _cluster(look: _Look) -> dict[Fact, float]:
    state = look.state
    busy = {name for job in state.jobs if _is_live(job) for name in job.nodes}
    free = [
        node
        for node in state.nodes
        if node.condition is NodeCondition.READY and node.name not in busy
    ]
    wanted = gpus_on(state, look.subject.node) if look.subject.node else 0
    spares = sum(node.spare and wanted in (0, gpus_on(state, node.name)) for node in free)
    out = len(state.out_by(OWNER))
    limit = nodes_out_limit(state, look.past.guards) if state.nodes else 0
    return {
        Fact.GPUS: len(state.topology.gpus),
        Fact.SPARES: spares,
        Fact.FREE_NODES: sum(not node.spare for node in free),
        Fact.NODES_OUT: out,
        Fact.OUT_ROOM: max(0, limit - out),
        Fact.WAITING_GPUS: sum(job.gpus for job in state.jobs if job.phase is JobPhase.PENDING),
    }


def _history(look: _Look) -> dict[Fact, float]:
    """Return what the site's figures and what was seen so far say together."""
    site, past = look.site, look.past
    away = _away_s(past.records)
    gpus = max(1, len(look.state.topology.gpus))
    opened = [incident.opened_s for incident in past.incidents]
    days = (look.now_s - min(opened, default=look.now_s)) / _DAY_S
    acted = {record.plan.incident_id for record in past.records if record.outcomes}
    ended = [incident.id for incident in past.incidents if incident.resolved_s is not None]
    idle = sum(each not in acted for each in ended)
    return {
        Fact.REPAIR_S: mean_of(site.repair_s, PRIOR, sum(away), len(away)),
        Fact.REBOOT_S: site.reboot_s,
        Fact.PEOPLE_S: site.people_s,
        Fact.PAGE_GPU_S: site.page_gpu_s,
        Fact.FAULTS_A_DAY: faults_a_day(site, gpus, len(opened), days),
        Fact.FALSE_SHARE: mean_of(site.false_share, _PRIOR_ENDED, idle, len(ended)),
    }


def _away_s(records: Iterable[PlanRecord]) -> list[float]:
    """Return how long each node was away that was taken out and is back, but for a reboot alone."""
    took: dict[str, float] = {}
    found = []
    done = [o for r in records for o in r.outcomes if o.status is OutcomeStatus.SUCCEEDED]
    for outcome in sorted(done, key=lambda outcome: outcome.ended_s):
        kind, node = outcome.action.kind, outcome.action.target.node
        if CATALOG[kind].takes_out:
            for name in taken_out(outcome.action):
                took.setdefault(name, outcome.ended_s)
        elif kind == REBOOT_NODE:
            took.pop(node, None)
        elif kind == UNCORDON and node in took:
            found.append(outcome.ended_s - took.pop(node))
    return found
