"""What an action is expected to cost, in lost GPU-seconds, and the published times behind it."""

import math

from core.cluster import ClusterState, JobPhase, JobState
from core.site import SiteFigures
from core.types import Action
from remediation.catalogue.subject import gpus_on, job_of

# How long a cold restart of a whole job takes: 200 s at 16k GPUs to 900 s at 98k, which is about
# 50 s + 9 ms a GPU (FT-HSDP, arXiv:2602.00277).
RESTART_BASE_S = 50.0
RESTART_PER_GPU_S = 0.009
# A new worker on one node: about 2 min (DLRover's published figures).
NEW_NODE_S = 120.0
# The job stands still while it copies its state: 6.8 to 13 s for a blocking save (FT-HSDP).
CHECKPOINT_STALL_S = 13.0
# Writing the state of a job that is stopped in order: 51 s end to end for 405B parameters (from
# memory of the same paper's table; 200 s for 175B to HDFS, ByteDance).
SAVE_S = 51.0
# Share of a restart that is left where processes start in the containers they had: a hot update
# takes 46-65 s where a requeue takes 454-768 (ByteRobust, SOSP'25); the pods' part was assumed.
IN_PLACE = 0.6
# A reboot of an 8-GPU node with its self-test: 8 to 15 min (assumption; measure on your machines).
REBOOT_S = 720.0
RESET_S = 30.0  # of a GPU: 5 to 30 s (assumption; measure on your machines)
# How long a limit of clocks or power is taken to hold: assumed.
LIMITED_S = 3600.0
# H100 SXM: about 100 W idle, 200 to 700 W can be set (nvidia-smi -q); power grows with
# clock^2.4 and 0.7 of a step's computing follows the clock: both assumed, as in the simulator.
IDLE_WATTS, LEAST_WATTS, MOST_WATTS = 100.0, 200.0, 700.0
_POWER_EXPONENT, _CLOCK_SHARE = 2.4, 0.7
SITE = SiteFigures()


def restart_s(gpus: int) -> float:
    """Return the expected time from stop to running again, seconds."""
    return RESTART_BASE_S + RESTART_PER_GPU_S * gpus


def recompute_s(job: JobState, *, now_s: float) -> float:
    """Return the work that a restart loses: since the newest checkpoint, or since the start."""
    return max(0.0, now_s - (job.since_s if job.checkpoint_s is None else job.checkpoint_s))


def nothing_lost(_: Action, __: ClusterState) -> float:
    """Return 0: no job notices it."""
    return 0.0


def stall_cost(action: Action, state: ClusterState) -> float:
    """Count the stand-still of the job while it copies its state."""
    job = state.job(job_of(action))
    return 0.0 if job is None else job.gpus * CHECKPOINT_STALL_S


def restart_cost(action: Action, state: ClusterState) -> float:
    """GPUs x (restart + work since the newest checkpoint); a stopped job loses that work anyway."""
    job = state.job(job_of(action))
    if job is None:
        return 0.0
    return job.gpus * (restart_s(job.gpus) + recompute_s(job, now_s=state.observed_s))


def swap_cost(action: Action, state: ClusterState) -> float:
    """Count a restart with a node that is new to the job."""
    job = state.job(job_of(action))
    return restart_cost(action, state) + (0.0 if job is None else job.gpus * NEW_NODE_S)


def reboot_cost(action: Action, state: ClusterState) -> float:
    """Count the node's GPUs for as long as it is away."""
    return gpus_on(state, action.target.node) * REBOOT_S


def reboot_under_cost(action: Action, state: ClusterState) -> float:
    """Count a stop in order and a start that waits for the node."""
    job = state.job(job_of(action))
    return 0.0 if job is None else _in_order(job, state) + job.gpus * REBOOT_S


def in_place_cost(action: Action, state: ClusterState) -> float:
    """Count a restart that schedules nothing anew, and the work since the newest checkpoint."""
    job = state.job(job_of(action))
    if job is None:
        return 0.0
    again_s = recompute_s(job, now_s=state.observed_s)
    return job.gpus * (IN_PLACE * restart_s(job.gpus) + again_s)


def rollback_cost(action: Action, state: ClusterState) -> float:
    """Count a restart and the work of one more interval."""
    job = state.job(job_of(action))
    more_s = 0.0 if job is None else job.interval_s or 0.0
    return restart_cost(action, state) + (0.0 if job is None else job.gpus * more_s)


def in_order_cost(action: Action, state: ClusterState) -> float:
    """Count a stop in order, state written first, and a start; a job that is stopped loses more."""
    job = state.job(job_of(action))
    return 0.0 if job is None else _in_order(job, state)


def moved_cost(action: Action, state: ClusterState) -> float:
    """Count a stop in order and a start on nodes that are new to the job."""
    job = state.job(job_of(action))
    return 0.0 if job is None else _in_order(job, state) + job.gpus * NEW_NODE_S


def tune_cost(action: Action, state: ClusterState) -> float:
    """Count a stop in order, but nothing for a cache, which is of its new size at once."""
    named = {name for name, _ in action.params if not name.startswith("prior_")}
    return 0.0 if named == {"cache"} else in_order_cost(action, state)


def evict_cost(action: Action, state: ClusterState) -> float:
    """Count a swap, or a restart without the node."""
    return swap_cost(action, state) if action.param("spare") else in_order_cost(action, state)


def borrow_cost(action: Action, state: ClusterState) -> float:
    """Count a swap, and the lender's stop in order and start."""
    lender = state.job(str(action.param("lender") or ""))
    return swap_cost(action, state) + (0.0 if lender is None else _in_order(lender, state))


def drain_cost(action: Action, state: ClusterState) -> float:
    """Count for each job on the node a stop in order and a start elsewhere."""
    name = action.target.node
    jobs = [job for job in state.jobs if name in job.nodes and job.phase is not JobPhase.COMPLETED]
    return sum(_in_order(job, state) + job.gpus * NEW_NODE_S for job in jobs)


def validate_cost(action: Action, state: ClusterState) -> float:
    """Count the node's GPUs for as long as its checks take."""
    return gpus_on(state, action.target.node) * SITE.validate_s


def quarantine_cost(action: Action, state: ClusterState) -> float:
    """Count the node's GPUs for as long as a repair takes."""
    return gpus_on(state, action.target.node) * SITE.repair_s


def reset_cost(_: Action, __: ClusterState) -> float:
    """Count the GPU for as long as its reset takes."""
    return RESET_S


def page_cost(_: Action, __: ClusterState) -> float:
    """Return what a person's time is priced at."""
    return SITE.page_gpu_s


def clocks_cost(action: Action, state: ClusterState) -> float:
    """Count how much slower the node is while the limit holds; its job may wait for it."""
    return _limited(action, state, slowdown(_number(action, "share", 1.0)))


def power_cost(action: Action, state: ClusterState) -> float:
    """Count how much slower the node is while the limit holds; its job may wait for it."""
    watts = _number(action, "watts", 0.0)
    return _limited(action, state, slowdown(clock_within(watts)) if watts else 1.0)


def rollout_cost(_: Action, state: ClusterState) -> float:
    """Count a reboot of each node without a job that has what is rolled out."""
    busy = {name for job in state.jobs for name in job.nodes}
    return sum(
        gpus_on(state, node.name) * REBOOT_S
        for node in state.nodes
        if node.driver in state.rollouts and node.name not in busy
    )


def slowdown(share: float) -> float:
    """Return how many times longer a step's computing takes at a share of the clock."""
    return (1.0 - _CLOCK_SHARE) + _CLOCK_SHARE / share


def watts_for(times: float) -> float:
    """Return what an H100 that computes draws where a step's computing takes so many times longer.

    Rounded up to whole watts, as limits are set.
    """
    share = _CLOCK_SHARE / (times - (1.0 - _CLOCK_SHARE))
    watts = math.ceil(IDLE_WATTS + (MOST_WATTS - IDLE_WATTS) * share**_POWER_EXPONENT)
    return float(max(watts, LEAST_WATTS))


def clock_within(watts: float) -> float:
    """Return the share of the clock at which an H100 that computes draws so much."""
    share = (watts - IDLE_WATTS) / (MOST_WATTS - IDLE_WATTS)
    return float(min(max(share, 0.01), 1.0) ** (1.0 / _POWER_EXPONENT))


def _in_order(job: JobState, state: ClusterState) -> float:
    if job.phase is not JobPhase.RUNNING:
        return job.gpus * (restart_s(job.gpus) + recompute_s(job, now_s=state.observed_s))
    stall_s = CHECKPOINT_STALL_S if job.stall_s is None else job.stall_s
    return job.gpus * (stall_s + SAVE_S + restart_s(job.gpus))


def _limited(action: Action, state: ClusterState, times: float) -> float:
    name = action.target.node
    jobs = [job for job in state.jobs if name in job.nodes and job.phase is JobPhase.RUNNING]
    gpus = sum(job.gpus for job in jobs)
    return gpus * (1.0 - 1.0 / times) * LIMITED_S


def _number(action: Action, name: str, default: float) -> float:
    value = action.param(name)
    return float(value) if isinstance(value, int | float) else default
