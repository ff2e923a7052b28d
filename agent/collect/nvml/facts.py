"""What a GPU is, beside the numbers that it reads: names, versions, parts, and who runs on it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU.

    memory_bytes: what it holds there; None where the driver does not say
    kind:         compute or graphics
    instance:     UUID of the MIG instance that it runs on; "" for the whole GPU
    """

    pid: int
    memory_bytes: int | None
    kind: str
    instance: str = ""


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A part of a GPU that is used as one of its own."""

    uuid: str
    gpu_instance: int
    compute_instance: int
    memory_bytes: int
    memory_used_bytes: int


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as it was seen last.

    pci:      its address as the kernel log has it, 00000000:19:00.0
    recovery: what the driver says would mend it, a number of nvml.h; None: it does not say
    trouble:  why it does not answer; "" while it does
    """

    uuid: str
    index: int
    name: str = ""
    serial: str = ""
    pci: str = ""
    minor: int = -1
    vbios: str = ""
    inforom: str = ""
    gsp_firmware: str = ""
    recovery: int | None = None
    processes: tuple[GpuProcess, ...] = ()
    instances: tuple[MigInstance, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """The driver's versions; ``missing`` says why there is none, with the remedy."""

    driver: str = ""
    nvml: str = ""
    cuda: str = ""
    missing: str = ""
