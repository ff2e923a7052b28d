"""What NVML says of this machine's GPUs, with a deadline: trouble in the driver never spreads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.collect.patience import Patience, Stuck
from agent.collect.reading import Reading, Snapshot
from core.ports import Problem
from core.target import Target

# The first call loads the driver's state: seconds where persistence mode is off.
NVML_DEADLINE_S = 10.0
_WATT, _MEGA = 1e-3, 1e6


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


class NvmlReader:
    """Reads the GPUs of one node; what a GPU does not offer is left out."""

    name = "nvml"

    def __init__(self, node: str, *, deadline_s: float = NVML_DEADLINE_S) -> None:
        self._node = node
        self._patience: Patience[Any] = Patience(deadline_s)

    def inventory(self) -> NvmlInventory:
        """Return the driver and its GPUs; never raises."""
        found = self._patience.wait_for({"inventory": _inventory})["inventory"]
        if isinstance(found, NvmlInventory):
            return found
        return NvmlInventory("", (), _explained(found))

    def snapshot(self) -> Snapshot:
        """Read every GPU once; a machine without a driver gives nothing and no problem."""
        found = self._patience.wait_for({"read": lambda: _read(self._node)})["read"]
        if isinstance(found, Snapshot):
            return found
        if not isinstance(found, Stuck) and _absent(found):
            return Snapshot(())
        return Snapshot((), (Problem(self.name, "nvml", _explained(found)),))


def inventory(*, deadline_s: float = NVML_DEADLINE_S) -> NvmlInventory:
    """Return this machine's driver and GPUs, or the reason why not; never raises."""
    return NvmlReader("", deadline_s=deadline_s).inventory()


def _inventory() -> NvmlInventory:
    import pynvml  # noqa: PLC0415 - 15 ms that a machine without a GPU need not pay

    pynvml.nvmlInit()
    try:
        gpus = tuple(
            NvmlGpu(
                uuid,
                pynvml.nvmlDeviceGetName(gpu),
                int(pynvml.nvmlDeviceGetMemoryInfo(gpu).total),
            )
            for gpu, uuid in _answering(pynvml, [])
        )
        missing = "" if gpus else "the NVIDIA driver runs and sees no GPU; look into dmesg."
        return NvmlInventory(str(pynvml.nvmlSystemGetDriverVersion()), gpus, missing)
    finally:
        pynvml.nvmlShutdown()


def _read(node: str) -> Snapshot:
    import pynvml  # noqa: PLC0415

    readings: list[Reading] = []
    problems: list[Problem] = []
    pynvml.nvmlInit()
    try:
        for gpu, uuid in _answering(pynvml, problems):
            target = Target(node=node, gpu=uuid)
            for metric, ask in _asked(pynvml, gpu):
                try:
                    readings.append(Reading(metric, target, float(ask())))
                except pynvml.NVMLError:
                    continue  # this model has no such reading, or the GPU is going
    finally:
        pynvml.nvmlShutdown()
    return Snapshot(tuple(readings), tuple(problems))


def _asked(pynvml: Any, gpu: Any) -> tuple[tuple[str, Callable[[], float]], ...]:
    def memory_ratio() -> float:
        memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
        return float(memory.used / memory.total)

    return (
        (
            "gpu_utilization_ratio",
            lambda: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
        ),
        ("gpu_memory_used_bytes", lambda: pynvml.nvmlDeviceGetMemoryInfo(gpu).used),
        ("gpu_memory_used_ratio", memory_ratio),
        (
            "gpu_temperature_celsius",
            lambda: pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU),
        ),
        ("gpu_power_watts", lambda: pynvml.nvmlDeviceGetPowerUsage(gpu) * _WATT),
        (
            "gpu_sm_clock_hz",
            lambda: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM) * _MEGA,
        ),
    )


def _answering(pynvml: Any, problems: list[Problem]) -> Iterator[tuple[Any, str]]:
    """Yield handle and UUID of every GPU that answers; one off the bus is a Problem."""
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = str(pynvml.nvmlDeviceGetUUID(gpu))
        except pynvml.NVMLError as error:
            text = f"GPU {index} of this machine does not answer ({error}). See dmesg for its Xid."
            problems.append(Problem(NvmlReader.name, "gpu_lost", text))
            continue
        yield gpu, uuid


def _absent(error: Exception) -> bool:
    """Say whether there simply is no driver here."""
    return type(error).__name__ in {
        "NVMLError_LibraryNotFound",
        "NVMLError_DriverNotLoaded",
        "ModuleNotFoundError",
    }


def _explained(error: object) -> str:
    if isinstance(error, Stuck):
        return f"NVML: {error}; the driver hangs. See dmesg for an Xid, and reset the GPU."
    if isinstance(error, Exception) and _absent(error):
        return f"no NVIDIA driver ({error}). Install it, or run where the GPUs are."
    return f"NVML: {error!r}. See `nvidia-smi` and dmesg."
