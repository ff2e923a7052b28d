"""Where the GPU-seconds of a run went, and what became of its jobs."""

import math
from dataclasses import dataclass

import numpy as np

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
    gained, losses = world.sums(), world.losses()
    ended_s = world.jobs()["ended_s"]
    productive = gained.good + losses["slow"]
    return Accounts(
        gpus=int(world.inner.nodes["gpus"].sum()),
        goodput_ratio=world.goodput(),
        ettr_ratio=productive / gained.asked if gained.asked > 0 else math.nan,
        lost_gpu_s=world.lost_gpu_s,
        interruptions=world.interruptions,
        jobs_done=int(np.isfinite(ended_s).sum()),
        jobs_waiting=int(world.inner.core[0]["queue_n"]),
        uses_gpu_s=tuple(world.uses().items()),
        losses_gpu_s=tuple(losses.items()),
    )
