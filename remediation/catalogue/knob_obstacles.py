"""Why a setting of a job, a service or a node cannot be changed now, or None."""

import math

from core.cluster import ClusterState, JobState, NodeCondition, ServiceState
from core.types import Action, Refusal
from remediation.catalogue import costs
from remediation.catalogue.asked import (
    LIVE,
    RUNS,
    STARTABLE,
    job_asked,
    node_asked,
    not_ready,
    number,
    outside,
    refuse,
    same_already,
)

MOST_LOADERS = 16.0  # times as many as submitted: beyond, a node's processors are all busy
MOST_BATCH = 8.0  # times as large as submitted: beyond, a GPU's memory does not hold it
SLOWEST = 0.3  # share of the clock below which a GPU is not held (nvidia-smi: 200 of 700 W)
MOST_SLOWDOWN = 0.1  # of a step, where none is named: the example limit of Zeus (NSDI'23)
MOST_SERVICE_BATCH = 1024.0
TUNED = ("loaders", "batch", "accumulate", "cache")


def interval_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where the job writes no checkpoints, or in less time than it stands for one."""
    job = job_asked(action, state, LIVE)
    if isinstance(job, Refusal):
        return job
    if job.interval_s is None:
        return refuse(
            f"Not setting job {job.id}'s checkpoint interval: it is not known to write any.",
            "Its owner must let it write checkpoints.",
        )
    least = max(job.stall_s or 0.0, 1.0)
    found = outside(action, "interval_s", least, 7 * 86_400.0)
    same = number(action, "interval_s") == job.interval_s
    return found or (same_already(action, "interval_s", job.interval_s) if same else None)


def tune_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse an unknown setting, one out of its bounds, or a job that could not start again."""
    job = _training(action, state)
    if isinstance(job, Refusal):
        return job
    named = [name for name in TUNED if action.param(name) is not None]
    if not named:
        return refuse(f"Not tuning job {job.id}: no setting is named.", f"Name {', '.join(TUNED)}.")
    for name in named:
        most = {"loaders": MOST_LOADERS, "cache": 1.0}.get(name, MOST_BATCH)
        if found := outside(action, name, 0.0 if name == "cache" else 1 / most, most):
            return found
    if all(number(action, name) == getattr(job.settings, name) for name in named):
        return same_already(action, named[0], action.param(named[0]))
    return None if named == ["cache"] else not_ready(action, state, job.nodes)


def compression_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse a job on one node, which sends no gradients, and one that could not start again."""
    job = _training(action, state)
    if isinstance(job, Refusal):
        return job
    on = action.param("on")
    if not isinstance(on, bool):
        return refuse(
            f"Not compressing job {job.id}'s gradients: on is {on!r}.", "Give true or false."
        )
    if on == job.settings.compressed:
        return same_already(action, "on", on)
    if len(job.nodes) < 2:
        return refuse(
            f"Not compressing job {job.id}'s gradients: it has {len(job.nodes)} node.",
            "Only a job of several nodes sends gradients over the network.",
        )
    return not_ready(action, state, job.nodes)


def replicas_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse a number of replicas out of the service's bounds."""
    service = _service(action, state)
    if isinstance(service, Refusal):
        return service
    wanted = number(action, "replicas")
    if math.isfinite(wanted) and wanted != int(wanted):
        return refuse(f"Not scaling {action.target}: {wanted:g} replicas.", "Name a whole number.")
    found = outside(action, "replicas", service.least, service.most)
    same = wanted == service.replicas
    return found or (same_already(action, "replicas", service.replicas) if same else None)


def service_batch_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse a batch of less than one request."""
    return _service_knob(action, state, "batch", (1.0, MOST_SERVICE_BATCH))


def service_cache_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse a cache that leaves no memory for requests."""
    return _service_knob(action, state, "cache", (0.0, 0.8))


def canary_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse what is no share of the requests."""
    return _service_knob(action, state, "canary", (0.0, 1.0), asked="share")


def clocks_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse clocks that slow a step beyond the bound, or where the node is down."""
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is NodeCondition.DOWN:
        return refuse(
            f"Not limiting the clocks of {node.name}: it is down, and a boot frees them.",
            "Order it when the node is up.",
        )
    if found := outside(action, "share", SLOWEST, 1.0):
        return found
    share = number(action, "share")
    if share == node.clocks:
        return same_already(action, "share", share)
    return _too_slow(action, costs.slowdown(share))


def power_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse a power that slows a step beyond the bound; 0 frees it; the node must be up."""
    node = node_asked(action, state)
    if isinstance(node, Refusal):
        return node
    if node.condition is NodeCondition.DOWN:
        return refuse(
            f"Not limiting the power of {node.name}: it is down, and a boot frees it.",
            "Order it when the node is up.",
        )
    watts = number(action, "watts")
    if watts == (node.power_watts or 0.0):
        return same_already(action, "watts", watts)
    if watts == 0:
        return None
    found = outside(action, "watts", costs.LEAST_WATTS, costs.MOST_WATTS)
    return found or _too_slow(action, costs.slowdown(costs.clock_within(watts)))


def rollout_obstacle(action: Action, state: ClusterState) -> Refusal | None:
    """Refuse where nothing is rolled out."""
    named = str(action.param("version") or "")
    if state.rollouts and named in ("", *state.rollouts):
        return None
    return refuse(
        f"Not stopping the roll-out{f' of {named}' if named else ''}: "
        f"{', '.join(state.rollouts) or 'none'} is under way.",
        "There is nothing to stop.",
    )


def _too_slow(action: Action, times: float) -> Refusal | None:
    most = number(action, "most_slowdown")
    most = most if math.isfinite(most) else MOST_SLOWDOWN
    if times - 1.0 <= most + 1e-9:
        return None
    return refuse(
        f"Not doing {action.kind} on {action.target}: a step would take {times - 1:.0%} longer, at "
        f"most {most:.0%} is allowed.",
        "Name a higher limit, or allow more as most_slowdown.",
    )


def _training(action: Action, state: ClusterState) -> JobState | Refusal:
    job = job_asked(action, state, STARTABLE)
    if isinstance(job, JobState) and job.service is not None:
        return refuse(
            f"Not doing {action.kind} for job {job.id}: it is a service.",
            "Order scale_service, set_service_batch, set_cache or shift_canary.",
        )
    return job


def _service(action: Action, state: ClusterState) -> ServiceState | Refusal:
    job = job_asked(action, state, RUNS)
    if isinstance(job, Refusal):
        return job
    if job.service is None:
        return refuse(
            f"Not doing {action.kind} for job {job.id}: it answers no requests.", "Name a service."
        )
    return job.service


def _service_knob(
    action: Action,
    state: ClusterState,
    name: str,
    bounds: tuple[float, float],
    asked: str = "",
) -> Refusal | None:
    service = _service(action, state)
    if isinstance(service, Refusal):
        return service
    found = outside(action, asked or name, *bounds)
    same = number(action, asked or name) == getattr(service, name)
    return found or (same_already(action, name, getattr(service, name)) if same else None)
