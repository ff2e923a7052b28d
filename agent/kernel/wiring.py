"""The kernel's log of this machine beside NVML: both know its GPUs and tell of their trouble."""

from collections.abc import Mapping
from pathlib import Path

from agent.collect.nvml import NvmlReader, XidEvents
from agent.kernel.following import Following
from agent.kernel.hearing import driver_gpus
from agent.kernel.lines import pci_of
from agent.kernel.log import KernelLog
from agent.kernel.tally import HitAt, Tally, nobody
from core.clock import Clock
from detectors.faults.recovery import RECOVERY_ACTIONS


def kernel_log_of(
    node: str,
    nvml: NvmlReader,
    events: XidEvents | None,
    *,
    state_dir: Path | None,
    clock: Clock,
    read: bool = True,
    hit_at: HitAt = nobody,
) -> KernelLog:
    """Return the log of this machine, joined with what NVML says.

    state_dir: where the cursor is kept; None: it is not
    read:      whether the log is read; else there is only what NVML says
    hit_at:    whose work a GPU's trouble hits
    """

    def gpus() -> Mapping[str, str]:
        return driver_gpus() | {pci_of(gpu.pci): gpu.uuid for gpu in nvml.gpus}

    def recovery() -> Mapping[str, str]:
        return {
            gpu.uuid: RECOVERY_ACTIONS.get(gpu.recovery, f"unknown_{gpu.recovery}")
            for gpu in nvml.gpus
            if gpu.recovery is not None
        }

    return KernelLog(
        node,
        Following(clock, state_dir) if read else Following(clock, sources=()),
        gpus=gpus,
        recovery=recovery,
        more=(events.events,) if events else (),
        tally=Tally(hit_at),
    )
