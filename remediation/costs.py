"""What an action is expected to cost, in lost GPU-seconds, and the published times behind it."""

from core.cluster import ClusterState, JobState
from core.types import Action
from remediation.subject import gpus_on, job_of

# How long a cold restart of a whole job takes: 200 s at 16k GPUs to 900 s at 98k, which is about
# 50 s + 9 ms a GPU (FT-HSDP, arXiv:2602.00277).
RESTART_BASE_S = 50.0
RESTART_PER_GPU_S = 0.009
# A new worker on one node: about 2 min (DLRover's published figures).
NEW_NODE_S = 120.0
# The job stands still while it copies its state: 6.8 to 13 s for a blocking save (FT-HSDP).
CHECKPOINT_STALL_S = 13.0
# A reboot of an 8-GPU node with its self-test: 8 to 15 min (assumption; measure on your machines).
REBOOT_S = 720.0


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
