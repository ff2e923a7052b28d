"""Whether a setting shows as ordered, the state expected after it, and what it was before."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.cluster import ClusterState, JobState
from core.types import Action, Scalar
from remediation.catalogue import costs
from remediation.catalogue.asked import number
from remediation.catalogue.job_effects import restart_done, with_job
from remediation.catalogue.kind import Done, Prior, Project
from remediation.catalogue.knob_obstacles import TUNED
from remediation.catalogue.node_effects import with_node
from remediation.catalogue.subject import job_of

_SAME = 1e-3  # a scheduler may keep a setting to fewer digits


def interval_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the job writes checkpoints at the interval."""
    job = state.job(job_of(action))
    return job is not None and _same(job.interval_s, number(action, "interval_s"))


def interval_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return the job's interval as ``prior_interval_s``."""
    job = state.job(job_of(action))
    return {} if job is None or job.interval_s is None else {"prior_interval_s": job.interval_s}


def interval_set(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the interval."""
    return with_job(state, job_of(action), interval_s=number(action, "interval_s"))


def tune_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs with the settings, where need be since the order."""
    job = state.job(job_of(action))
    if job is None or not all(
        _same(getattr(job.settings, name), number(action, name)) for name in _tuned(action)
    ):
        return False
    return _tuned(action) == ("cache",) or restart_done(action, state, started_s)


def tune_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return each named setting as it is."""
    job = state.job(job_of(action))
    if job is None:
        return {}
    return {f"prior_{name}": getattr(job.settings, name) for name in _tuned(action)}


def tuned(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the settings."""
    return _with_settings(action, state, {name: number(action, name) for name in _tuned(action)})


def compression_done(action: Action, state: ClusterState, started_s: float) -> bool:
    """Say whether the job runs since the order and sends its gradients as told."""
    job = state.job(job_of(action))
    same = job is not None and job.settings.compressed is action.param("on")
    return same and restart_done(action, state, started_s)


def compression_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return whether gradients are compressed, as ``prior_on``."""
    job = state.job(job_of(action))
    return {} if job is None else {"prior_on": job.settings.compressed}


def compressed(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with gradients sent as told."""
    return _with_settings(action, state, {"compressed": action.param("on")})


def replicas_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether so many replicas are wanted and answer."""
    job, count = state.job(job_of(action)), number(action, "replicas")
    service = None if job is None else job.service
    return service is not None and service.replicas == count and service.ready == count


def service_done(name: str, asked: str) -> Done:
    """Return what says whether a service's setting is as the parameter asked."""

    def done(action: Action, state: ClusterState, _: float) -> bool:
        job = state.job(job_of(action))
        service = None if job is None else job.service
        return service is not None and _same(getattr(service, name), number(action, asked))

    return done


def service_before(name: str, asked: str) -> Prior:
    """Return what gives a service's setting as ``prior_`` of the parameter."""

    def prior(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
        job = state.job(job_of(action))
        service = None if job is None else job.service
        return {} if service is None else {f"prior_{asked}": getattr(service, name)}

    return prior


def service_set(name: str, asked: str, *, whole: bool = False) -> Project:
    """Return what gives the state with a service's setting."""

    def project(action: Action, state: ClusterState) -> ClusterState:
        job = state.job(job_of(action))
        if job is None or job.service is None:
            return state
        value = number(action, asked)
        fields: dict[str, Any] = {name: int(value) if whole else value}
        return with_job(state, job.id, service=replace(job.service, **fields))

    return project


def clocks_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node's clocks are held to the share."""
    node = state.node(action.target.node)
    return node is not None and _same(node.clocks, number(action, "share"))


def clocks_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return the share that the clocks have, and the slowdown that it means."""
    node = state.node(action.target.node)
    if node is None:
        return {}
    slower = costs.slowdown(node.clocks) - 1.0
    return {"prior_share": node.clocks, "prior_most_slowdown": slower}


def clocks_set(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the clocks held."""
    return with_node(state, action.target.node, clocks=number(action, "share"))


def power_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the node's GPUs may draw so much; 0: as much as their boards allow."""
    node = state.node(action.target.node)
    return node is not None and _same(node.power_watts or 0.0, number(action, "watts"))


def power_before(action: Action, state: ClusterState) -> Mapping[str, Scalar]:
    """Return the limit of the power, 0 for none, and the slowdown that it means."""
    node = state.node(action.target.node)
    if node is None:
        return {}
    watts = node.power_watts or 0.0
    slower = costs.slowdown(costs.clock_within(watts)) - 1.0 if watts else 0.0
    return {"prior_watts": watts, "prior_most_slowdown": slower}


def power_set(action: Action, state: ClusterState) -> ClusterState:
    """Return the state with the power held."""
    watts = number(action, "watts")
    return with_node(state, action.target.node, power_watts=watts or None)


def rollout_done(action: Action, state: ClusterState, _: float) -> bool:
    """Say whether the version, or any, is rolled out no more."""
    named = str(action.param("version") or "")
    return not state.rollouts if not named else named not in state.rollouts


def rollout_stopped(action: Action, state: ClusterState) -> ClusterState:
    """Return the state without the roll-out."""
    named = str(action.param("version") or "")
    left = tuple(version for version in state.rollouts if named and version != named)
    return replace(state, rollouts=left)


def _tuned(action: Action) -> tuple[str, ...]:
    return tuple(name for name in TUNED if action.param(name) is not None)


def _with_settings(action: Action, state: ClusterState, fields: Mapping[str, Any]) -> ClusterState:
    job: JobState | None = state.job(job_of(action))
    if job is None:
        return state
    return with_job(state, job.id, settings=replace(job.settings, **fields))


def _same(value: float | None, wanted: float) -> bool:
    return value is not None and abs(value - wanted) <= _SAME * max(abs(wanted), 1e-9)
