"""The driver's library: opened once, and closed when there is no driver behind it any more."""

from dataclasses import dataclass
from typing import Any

from agent.collect.nvml.facts import DriverFacts


@dataclass(frozen=True, slots=True)
class Opened:
    """A driver that answers."""

    nvml: Any
    facts: DriverFacts
    gpus: int


class Driver:
    """nvidia-ml-py between ``nvmlInit`` and ``nvmlShutdown``."""

    def __init__(self) -> None:
        self._opened: Opened | None = None

    @property
    def opened(self) -> Opened | None:
        """Return the driver where it is open."""
        return self._opened

    def open(self) -> Opened:
        """Open the driver, where it is not; NVMLError or ModuleNotFoundError says why not."""
        if self._opened is not None:
            return self._opened
        import pynvml  # noqa: PLC0415 - 15 ms that a machine without a GPU need not pay

        pynvml.nvmlInit()
        try:
            cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
            facts = DriverFacts(
                driver=str(pynvml.nvmlSystemGetDriverVersion()),
                nvml=str(pynvml.nvmlSystemGetNVMLVersion()),
                cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            )
            self._opened = Opened(pynvml, facts, int(pynvml.nvmlDeviceGetCount()))
        except pynvml.NVMLError:
            pynvml.nvmlShutdown()
            raise
        return self._opened

    def close(self) -> None:
        """Let go of the driver and of the GPUs' device files."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            opened.nvml.nvmlShutdown()
        except opened.nvml.NVMLError:
            return  # it has gone before us
