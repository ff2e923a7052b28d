"""What to do about an Xid: the driver's own word where it has one, else the catalogue's."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from detectors.faults.catalogue import STEPS, Step, xid

KIND = "gpu_recovery"
NONE = "none"
# nvml.h, nvmlDeviceGpuRecoveryAction_t: what NVML's field 230 holds and what Xid 154 names.
RECOVERY_ACTIONS: Mapping[int, str] = MappingProxyType(
    {
        0: NONE,
        1: "reset_gpu",
        2: "reboot_node",
        3: "drain_p2p",
        4: "drain_and_reset",
        5: "recover_imex_domain",
        6: "reset_bus",
        7: "reboot_system",
    }
)
# A bus cannot be reset from here: a reboot does that too (assumed).
RECOVERY_STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "reset_gpu": STEPS["reset_gpu"],
        "reboot_node": STEPS["reboot_node"],
        "drain_p2p": Step("end the programs that reach the GPU from others", "drain"),
        "drain_and_reset": Step("drain and reset the GPU", "reset_gpu"),
        "recover_imex_domain": Step("recover the IMEX domain", "page_person"),
        "reset_bus": Step("reset the GPU's bus, or restart the node", "reboot_node"),
        "reboot_system": STEPS["reboot_node"],
    }
)
# What the driver's "none" overrules: with it the GPU itself needs neither.
_MENDS_GPU = frozenset({"reset_gpu", "reboot_node"})


@dataclass(frozen=True, slots=True)
class Advice:
    """The next step, and whose word it is: ``driver`` or ``catalogue``."""

    step: Step
    by: str

    @property
    def words(self) -> str:
        """Return the step in words, "" for none."""
        said = self.by == "driver" and self.step.words
        return f"{self.step.words} (the driver says so)" if said else self.step.words


def action_of(code: int, recovery: str = "") -> Advice:
    """Return what to do about an Xid.

    recovery: the GPU's recovery action, a value of RECOVERY_ACTIONS; "" or another word: not known

    The driver (570 and later) knows what the GPU needs, so its word comes first. Its "none" speaks
    of the GPU and not of the program on it: that is still restarted, and cables are still checked.
    """
    step = xid(code).step
    if recovery in RECOVERY_STEPS:
        return Advice(RECOVERY_STEPS[recovery], "driver")
    if recovery == NONE and step.action in _MENDS_GPU:
        return Advice(STEPS["none"], "driver")
    return Advice(step, "catalogue")
