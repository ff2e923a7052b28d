"""Where the GPU-seconds of a run went, and what became of its jobs."""

import math
from dataclasses import dataclass

from core.cluster import JobPhase
from sim.scenario import GPUS_PER_NODE
from sim.world import World


@dataclass(frozen=True, slots=True)
class Accounts:
    """Sums since the start; ``uses_gpu_s`` of the whole cluster, the losses of what jobs asked."""

    gpus: int
    goodput_ratio: float
    ettr_ratio: float
    lost_gpu_s: float
    interruptions: int
    jobs_done: int
    jobs_waiting: int
    uses_gpu_s: tuple[tuple[str, float], ...]
    losses_gpu_s: tuple[tuple[str, float], ...]


def accounts(world: World) -> Accounts:
    """Return the books of a world as they stand now."""
    jobs = world.state().jobs
    return Accounts(
        gpus=world.scenario.nodes * GPUS_PER_NODE,
        goodput_ratio=world.goodput(),
        ettr_ratio=math.nan,
        lost_gpu_s=world.lost_gpu_s,
        interruptions=sum(event.kind == "job_failed" for event in world.events),
        jobs_done=sum(job.phase is JobPhase.COMPLETED for job in jobs),
        jobs_waiting=sum(job.phase is JobPhase.PENDING for job in jobs),
        uses_gpu_s=(),
        losses_gpu_s=(),
    )
