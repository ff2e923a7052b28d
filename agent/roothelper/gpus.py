"""The verbs about GPUs, through NVML: power, clocks, and a reset by the vendor's own program."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agent.collect.patience import Patience, Stuck
from agent.roothelper.journal import State
from agent.roothelper.order import Order
from agent.roothelper.settings import HelperSettings
from core.errors import ActionFailed, ActionRefused

NVML_DEADLINE_S = 10.0
RESET_DEADLINE_S = 90.0
_MILLIWATTS = 1000
# nvml.h: nvmlClocksEventReasonApplicationsClocksSetting, clocks are held by a setting of somebody.
_CLOCKS_SET = 0x2


@dataclass(slots=True)
class Driver:
    """Calls into NVML, one at a time and with a deadline: a driver that hangs holds nobody else."""

    patience: Patience[Any]

    @classmethod
    def with_deadline(cls, deadline_s: float = NVML_DEADLINE_S) -> "Driver":
        """Return a driver whose calls are waited for that long."""
        return cls(Patience(deadline_s))

    def call(self, what: str, work: Callable[[Any, Any], Any], gpu: str) -> Any:
        """Return ``work(pynvml, handle of the GPU)``; ActionFailed says why there is no answer."""

        def on_gpu(pynvml: Any) -> Any:
            return work(pynvml, pynvml.nvmlDeviceGetHandleByUUID(gpu))

        return self.ask(f"{what} {gpu}", on_gpu)

    def ask(self, what: str, work: Callable[[Any], Any]) -> Any:
        """Return ``work(pynvml)``; ActionFailed says why there is no answer.

        ``Stuck`` comes with its cause where the call may still take effect later.
        """

        def within() -> Any:
            with _nvml() as pynvml:
                return work(pynvml)

        found = self.patience.wait_for({"nvml": within})["nvml"]
        if isinstance(found, Stuck):
            raise ActionFailed(
                f"{what}: the driver hangs ({found}); what was asked of it may still come. "
                "See dmesg for an Xid."
            ) from found
        if isinstance(found, Exception):
            raise ActionFailed(f"{what}: {type(found).__name__}: {found}") from found
        return found


@contextmanager
def _nvml() -> Iterator[Any]:
    import pynvml  # noqa: PLC0415 - most orders need no driver

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


@dataclass(frozen=True, slots=True)
class PowerLimit:
    """``power_limit``: hold a GPU to so many watts; its state is the limit in milliwatts."""

    settings: HelperSettings
    driver: Driver

    def before(self, order: Order) -> State:
        """Return the limit in force; ActionRefused where the wanted one is out of bounds."""
        least, most, now = self.driver.call("power_limit", _power, order.text("gpu"))
        if not order.restore:
            least = max(least, self.settings.least_watts * _MILLIWATTS)
            most = min(most, self.settings.most_watts * _MILLIWATTS or most)
            _within(order.number("watts") * _MILLIWATTS, least, most, unit="mW")
        return now

    def after(self, order: Order) -> State:
        """Return the limit that is asked for."""
        return order.number("watts") * _MILLIWATTS

    def put(self, order: Order, state: State) -> None:
        """Set the limit, and look whether it is in force."""
        gpu = order.text("gpu")

        def work(pynvml: Any, handle: Any) -> int:
            pynvml.nvmlDeviceSetPowerManagementLimit(handle, state)
            return int(pynvml.nvmlDeviceGetPowerManagementLimit(handle))

        if (found := self.driver.call("power_limit", work, gpu)) != state:
            raise ActionFailed(f"power_limit {gpu}: {state} mW were set, {found} mW are in force.")


@dataclass(frozen=True, slots=True)
class ClockLock:
    """``clock_lock``: let a GPU's clock rise to a share of its maximum; the state is in MHz.

    NVML sets locked clocks and tells nobody what they are. So None, not locked, is what was before
    our first order, unless the driver says that a setting holds the clocks: then nothing is done.
    """

    settings: HelperSettings
    driver: Driver

    def before(self, order: Order) -> State:
        """Return None; ActionRefused where it is out of bounds."""
        if not order.restore:
            most = self.settings.most_mhz or self._full(order)
            _within(self.after(order), self.settings.least_mhz, most, unit="MHz")
        return None

    def take(self, order: Order) -> None:
        """Refuse to lock clocks that a setting of somebody else holds: it could not be restored."""
        gpu = order.text("gpu")
        if self.driver.call("clock_lock", _reasons, gpu) & _CLOCKS_SET:
            raise ActionRefused(
                "held_by_others",
                f"clock_lock {gpu}: a setting that is not ours holds its clocks, and NVML does not "
                "tell to what, so it could not be given back.",
                f"Free them with `nvidia-smi -i {gpu} -rgc`, then order it again.",
            )

    def after(self, order: Order) -> State:
        """Return the highest clock that is asked for."""
        percent = order.number("percent")
        _within(percent, 1, 100, unit="%")
        return self._full(order) * percent // 100

    def put(self, order: Order, state: State) -> None:
        """Lock the clocks, or unlock them; an idle GPU may still go as low as it likes."""

        def work(pynvml: Any, handle: Any) -> None:
            if state is None:
                pynvml.nvmlDeviceResetGpuLockedClocks(handle)
            else:
                pynvml.nvmlDeviceSetGpuLockedClocks(handle, 0, state)

        self.driver.call("clock_lock", work, order.text("gpu"))

    def _full(self, order: Order) -> int:
        return int(self.driver.call("clock_lock", _most_mhz, order.text("gpu")))


@dataclass(frozen=True, slots=True)
class GpuReset:
    """``gpu_reset``: reset a GPU that no process holds; nothing gives back what was there."""

    settings: HelperSettings
    driver: Driver

    def before(self, order: Order) -> State:
        """Return None; ActionRefused while a process holds the GPU."""
        gpu = order.text("gpu")
        if held := self.driver.call("gpu_reset", holders, gpu):
            raise ActionRefused(
                "gpu_in_use",
                f"gpu_reset {gpu}: process {', '.join(map(str, held[:8]))} holds it.",
                "Drain the node and wait for its jobs to end.",
            )
        return None

    def put(self, order: Order, state: State) -> None:
        """Run the vendor's program, which is the only way there is."""
        argv = [*self.settings.nvidia_smi, "--gpu-reset", "-i", order.text("gpu")]
        run_program("gpu_reset", argv, deadline_s=RESET_DEADLINE_S)


def holders(pynvml: Any, handle: Any) -> list[int]:
    """Return the processes that compute or draw on a GPU."""
    found = (
        *pynvml.nvmlDeviceGetComputeRunningProcesses(handle),
        *pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle),
    )
    return sorted({int(each.pid) for each in found})


def run_program(verb: str, argv: list[str], *, deadline_s: float) -> None:
    """Run a program to its good end; ActionFailed says what it wrote, or that it took too long."""
    try:
        done = subprocess.run(  # noqa: S603 - of the settings that only root writes
            argv, capture_output=True, timeout=deadline_s, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ActionFailed(f"{verb}: {argv[0]}: {error}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")[-300:]
        raise ActionFailed(
            f"{verb}: {argv[0]} ended with {done.returncode}: {' '.join(said.split())}"
        )


def _power(pynvml: Any, handle: Any) -> tuple[int, int, int]:
    least, most = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
    return int(least), int(most), int(pynvml.nvmlDeviceGetPowerManagementLimit(handle))


def _most_mhz(pynvml: Any, handle: Any) -> int:
    return int(pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM))


def _reasons(pynvml: Any, handle: Any) -> int:
    return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))


def _within(value: int, least: int, most: int, *, unit: str) -> None:
    if not least <= value <= most:
        raise ActionRefused(
            "out_of_bounds",
            f"{value} {unit} is not within {least} to {most} {unit}.",
            "Ask for what is within; the helper's settings and the driver draw the bounds.",
        )
