"""What NVML says of this machine's GPUs: trouble in the driver never spreads."""

from agent.collect.nvml.events import XidEvents
from agent.collect.nvml.facts import DriverFacts, Gpu, GpuProcess, MigInstance
from agent.collect.nvml.inventory import NvmlGpu, NvmlInventory, inventory
from agent.collect.nvml.reader import NvmlReader

__all__ = [
    "DriverFacts",
    "Gpu",
    "GpuProcess",
    "MigInstance",
    "NvmlGpu",
    "NvmlInventory",
    "NvmlReader",
    "XidEvents",
    "inventory",
]
