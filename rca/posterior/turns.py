"""Where a job has just started or ended, and what of the readings follows from that alone."""

import math

import numpy as np

from core.cluster import JobPhase
from core.durations import lasting
from core.target import Target
from core.types import Floats, Ints
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.standing import Bools

_RANKS = ("rank_step_time_s", "rank_collective_time_s", "rank_data_wait_s")
_NEWEST = 3  # columns without a reading after which a rank is gone
_FOLLOWS = 4.0  # nats at least
_FROM_READINGS = (Kind.RESIDUAL, Kind.PEERS, Kind.GROUP, Kind.ONSET)
_SLACK_S = 60.0  # of readings and of what the scheduler says, one against the other
# The detector of ranks behind the others of their job. Those do the same: no start or end of the
# job, nor anything else that it does, sets one apart from them.
STRAGGLER = "straggler"
# What a job's start or end moves by itself. The others (errors, links, the air at the inlet, space
# in use) do not care whether a job runs.
FOLLOW_LOAD = frozenset(
    {
        "gpu_utilization_ratio",
        "gpu_memory_used_ratio",
        "gpu_memory_used_bytes",
        "gpu_temperature_celsius",
        "gpu_memory_temperature_celsius",
        "gpu_power_watts",
        "gpu_sm_clock_hz",
        "gpu_throttle_ratio",
        "node_cpu_used_ratio",
        "node_memory_used_ratio",
        "node_memory_used_bytes",
        "node_open_files_ratio",
        "node_pressure_cpu_ratio",
        "node_pressure_memory_ratio",
        "node_pressure_io_ratio",
        "node_power_watts",
        "volume_read_latency_s",
        "volume_write_latency_s",
        "port_receive_bytes_total",
        "port_transmit_bytes_total",
        "job_step_time_s",
        "job_steps_total",
        "job_goodput_ratio",
        "job_queue_depth",
        "job_latency_p99_s",
        "job_checkpoint_age_s",
        *_RANKS,
    }
)
_ENDS = frozenset(
    {"job_failed", "job_completed", "job_preempted", "job_ended", "job_stopped", "job_started"}
)


def turned_s(case: Case) -> Floats:
    """(nodes,) when a job first started, ended or stood still there lately; inf: none did."""
    turned = np.full(len(case.graph.nodes), np.inf)
    for event in (*case.incident.events, *case.told):
        if event.kind in _ENDS and event.target.job:
            _note(case, turned, event.target.job, event.time_s)
    for job in case.state.jobs if case.state else ():
        if job.phase is not JobPhase.PENDING:
            _note(case, turned, job.id, job.since_s)
    for metric in _RANKS:
        _from_ranks(case, metric, turned)
    return turned


def _note(case: Case, turned: Floats, job: str, at_s: float) -> None:
    since_s = case.spans.onset_s - case.spans.guard_s
    if since_s <= at_s <= case.spans.now_s:
        nodes = case.nodes_of(Target(job=job))
        turned[nodes] = np.minimum(turned[nodes], at_s)


def _from_ranks(case: Case, metric: str, turned: Floats) -> None:
    """Note where ranks have stopped to report their steps while their node still does, or began."""
    part = case.graph.span(metric)
    window = case.windows.get(metric)
    if window is None or part.start == part.stop:
        return
    since_s = case.spans.onset_s - case.spans.guard_s
    recent = (window.time_s >= since_s) & (window.time_s <= case.spans.now_s)
    there = np.isfinite(window.value[:, recent])
    if there.shape[1] <= _NEWEST:
        return
    before = np.isfinite(case.standing.centre[part])
    now = there[:, -_NEWEST:].any(axis=1)
    node = case.graph.place.node[part]
    time_s = window.time_s[recent]
    ended = np.flatnonzero(before & ~now & (node >= 0))
    if len(ended):
        last = there.shape[1] - 1 - np.argmax(there[ended, ::-1], axis=1)
        last = np.where(there[ended].any(axis=1), last, 0)
        np.minimum.at(turned, node[ended], time_s[last])
    began = np.flatnonzero(~before & now & (node >= 0))
    if len(began):
        first = np.argmax(there[began], axis=1)
        np.minimum.at(turned, node[began], time_s[first])


def mark_aftermath(case: Case, found: Hypothesis, turned: Floats) -> None:
    """Add that what it rests on moved when a job started or ended there, and not before."""
    if not len(found.variables) or found.value(Kind.RESIDUAL, Kind.GROUP) <= 0:
        return
    names = [case.graph.metrics[m] for m in case.graph.metric[found.variables].tolist()]
    follows = np.array([name in FOLLOW_LOAD for name in names])
    if not follows.all() or _is_behind(case, found.variables):
        return
    node = case.graph.place.node[found.variables]
    at_s = np.where(node >= 0, turned[np.maximum(node, 0)], _of_jobs(case, found, turned))
    onset_s = case.standing.onset_s[found.variables]
    after = np.isfinite(at_s) & ~(onset_s < at_s - _SLACK_S)
    share = float(after.mean())
    if share > 0.5:
        first_s = float(at_s[after].min())
        ago = lasting(case.spans.now_s - first_s)
        found.add(
            Kind.AFTERMATH,
            f"a job there started or ended {ago} ago: it follows from that",
            -max(_FOLLOWS, found.value(*_FROM_READINGS)) * share,
        )


def _is_behind(case: Case, variables: Ints) -> bool:
    """Say whether any of these is read of a rank that is behind the others of its job."""
    seen = [each.target for each in case.incident.anomalies if each.detector == STRAGGLER]
    return any(_of_ranks(case, target, variables).any() for target in seen)


def _of_ranks(case: Case, target: Target, variables: Ints) -> Bools:
    """(variables,) which of these are read of that rank, or of any rank on that node."""
    if target.rank:
        return np.isin(variables, case.graph.variables_of(target))
    place = case.graph.place
    there = np.isin(place.node[variables], case.nodes_of(target))
    return np.asarray(there & (place.job[variables] >= 0))


def _of_jobs(case: Case, found: Hypothesis, turned: Floats) -> Floats:
    """(variables,) when the job of each variable turned anywhere; inf: it did not, or has none."""
    job = case.graph.place.job[found.variables]
    pairs = case.graph.node_job
    first = np.full(len(case.graph.jobs) + 1, math.inf)
    np.minimum.at(first, pairs[:, 1], turned[pairs[:, 0]])
    return np.asarray(first[job])
