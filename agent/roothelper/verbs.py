"""The closed list: what each verb checks, does and gives back."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from agent.roothelper.gpus import ClockLock, Driver, GpuReset, PowerLimit, holders, run_program
from agent.roothelper.journal import State
from agent.roothelper.order import Order
from agent.roothelper.processes import Signal, ionice, renice
from agent.roothelper.settings import HelperSettings
from core.errors import ActionFailed, ActionRefused

MOST_LOADERS = 64
_REBOOT_DEADLINE_S = 60.0


class Verb(Protocol):
    """One thing the helper can do. States are plain JSON."""

    def before(self, order: Order) -> State:
        """Return how it is; ActionRefused where a precondition does not hold."""
        ...

    def put(self, order: Order, state: State) -> None:
        """Make it so, within the verb's own deadline; ActionFailed where it cannot be."""
        ...


@runtime_checkable
class Undoable(Verb, Protocol):
    """A verb whose effect lasts and can be given back."""

    def after(self, order: Order) -> State:
        """Return how it will be."""
        ...


@dataclass(frozen=True, slots=True)
class LoaderHint:
    """``loader_hint``: say in a file that a job may read how many loader threads would do."""

    settings: HelperSettings

    def before(self, order: Order) -> State:
        """Return the hint that stands, None for none."""
        if not order.restore and not 1 <= order.number("loaders") <= MOST_LOADERS:
            raise ActionRefused(
                "out_of_bounds",
                f"loader_hint {order.number('loaders')}: not within 1 to {MOST_LOADERS}.",
                "Ask for what is within.",
            )
        try:
            return int(self._path(order).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def after(self, order: Order) -> State:
        """Return the hint that is asked for."""
        return order.number("loaders")

    def put(self, order: Order, state: State) -> None:
        """Write the hint, or take it away; a reader sees the old or the new one, never a part."""
        path = self._path(order)
        if state is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)  # jobs of any user may read
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(f"{state}\n")
            os.fchmod(file.fileno(), 0o644)
        Path(file.name).replace(path)

    def _path(self, order: Order) -> Path:
        return Path(self.settings.hints) / order.text("job")


@dataclass(frozen=True, slots=True)
class Reboot:
    """``reboot``: only where the settings name it, and while no process holds a GPU."""

    settings: HelperSettings
    driver: Driver

    def before(self, order: Order) -> State:
        """Return None, or refuse while a GPU is in use; a driver that is gone forbids nothing."""
        try:
            held = self.driver.ask("reboot", _all_holders)
        except ActionFailed:
            return None
        if held:
            raise ActionRefused(
                "gpu_in_use",
                f"reboot: process {', '.join(map(str, held[:8]))} holds a GPU.",
                "Drain the node and wait for its jobs to end.",
            )
        return None

    def put(self, order: Order, state: State) -> None:
        """Tell the machine to reboot."""
        run_program("reboot", list(self.settings.reboot), deadline_s=_REBOOT_DEADLINE_S)


def verbs_of(settings: HelperSettings, driver: Driver) -> Mapping[str, Verb]:
    """Return the verbs that the settings allow."""
    every: Mapping[str, Verb] = {
        "power_limit": PowerLimit(settings, driver),
        "clock_lock": ClockLock(settings, driver),
        "gpu_reset": GpuReset(settings, driver),
        "signal": Signal(settings),
        "renice": renice(settings),
        "ionice": ionice(settings),
        "loader_hint": LoaderHint(settings),
        "reboot": Reboot(settings, driver),
    }
    return {name: verb for name, verb in every.items() if name in settings.verbs}


def _all_holders(pynvml: Any) -> list[int]:
    gpus = range(pynvml.nvmlDeviceGetCount())
    found = [holders(pynvml, pynvml.nvmlDeviceGetHandleByIndex(gpu)) for gpu in gpus]
    return sorted({pid for each in found for pid in each})
