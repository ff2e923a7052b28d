"""This machine's driver and GPUs at a glance."""

from dataclasses import dataclass

from agent.collect.nvml.reader import NvmlReader


@dataclass(frozen=True, slots=True)
class NvmlGpu:
    """One GPU as the driver names it."""

    uuid: str
    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class NvmlInventory:
    """The driver and its GPUs; ``missing`` says why there are none, with the remedy."""

    driver: str
    gpus: tuple[NvmlGpu, ...]
    missing: str = ""


def inventory(reader: NvmlReader | None = None) -> NvmlInventory:
    """Return this machine's driver and GPUs, or the reason why not; never raises."""
    own = reader or NvmlReader("")
    found = own.snapshot()
    memory = {r.target.gpu: r.value for r in found.readings if r.metric == "gpu_memory_total_bytes"}
    gpus = tuple(
        NvmlGpu(gpu.uuid, gpu.name, int(memory.get(gpu.uuid, 0)))
        for gpu in own.gpus
        if not gpu.trouble
    )
    said = own.driver.missing or "; ".join(problem.text for problem in found.problems)
    return NvmlInventory(own.driver.driver, gpus, "" if gpus else said)
