"""All GPUs of this machine, each with a deadline: trouble with one never spreads."""

import threading
from collections.abc import Iterator
from typing import Any

from agent.collect.nvml import errors
from agent.collect.nvml.derived import HeldBack, derived
from agent.collect.nvml.device import Device, Look
from agent.collect.nvml.driver import Driver, Opened
from agent.collect.nvml.facts import DriverFacts, Gpu
from agent.collect.patience import Patience, Stuck
from agent.collect.reading import Missing, Reading, Snapshot
from core.clock import Clock, RealClock
from core.ports import Problem
from core.target import Target

# The first call loads the driver's state: seconds where persistence mode is off.
OPEN_DEADLINE_S = 10.0
# All that a GPU is asked takes a millisecond; a driver under load, a hundred.
GPU_DEADLINE_S = 4.0
DRIVER_INFO = "node_driver_info"


class NvmlReader:
    """Reads the GPUs of one node; what cannot be had is missing with its reason.

    A call that hangs costs that GPU's readings from there on, until it returns.
    """

    name = "nvml"

    def __init__(
        self,
        node: str,
        *,
        deadline_s: float = GPU_DEADLINE_S,
        open_deadline_s: float = OPEN_DEADLINE_S,
        clock: Clock | None = None,
    ) -> None:
        self._node, self._clock = node, clock or RealClock()
        self._driver = Driver()
        self._opening: Patience[Opened | None] = Patience(open_deadline_s)
        self._reading: Patience[Look] = Patience(deadline_s)
        self._held_back = HeldBack()
        self._devices: tuple[Device, ...] = ()
        self._of: Opened | None = None
        self._away_until_s = 0.0
        self._busy = threading.Lock()
        self.gpus: tuple[Gpu, ...] = ()
        self.driver = DriverFacts()

    def snapshot(self) -> Snapshot:
        """Read every GPU once; a machine that never had a driver gives nothing and no problem."""
        with self._busy:
            return self._read()

    def _read(self) -> Snapshot:
        if self._clock.monotonic_s() < self._away_until_s:
            return self._without("let_go", "NVML was let go of, for a reset or a new driver.")
        found = self._driver.opened or self._opening.wait_for({"open": self._driver.open})["open"]
        if not isinstance(found, Opened):
            return self._closed(found)
        if found is not self._of:
            self._of, self.driver = found, found.facts
            self._devices = tuple(Device(found.nvml, self._node, n) for n in range(found.gpus))
        looks = self._reading.wait_for({f"GPU {d.look.gpu.index}": d.read for d in self._devices})
        return self._seen(list(looks.values()))

    def let_go(self, for_s: float) -> None:
        """Close NVML for so long: its open files hold up a GPU's reset and a driver's unloading.

        Waits for a reading that is under way, for its deadlines at most.
        """
        with self._busy:
            self._away_until_s = self._clock.monotonic_s() + for_s
            self._close()

    def _close(self) -> None:
        def close() -> None:
            self._driver.close()

        self._opening.wait_for({"close": close})
        self._of, self._devices = None, ()

    def _closed(self, error: object) -> Snapshot:
        """Say why the driver could not be opened."""
        reason = explained(error)
        if isinstance(error, Exception) and errors.absent(error) and not self.gpus:
            self.driver = DriverFacts(missing=reason)
            return Snapshot(())
        return self._without("nvml", reason)

    def _without(self, code: str, reason: str) -> Snapshot:
        """Return no readings, and why; GPUs that were seen before do not answer."""
        self.driver = DriverFacts(missing=reason)
        targets = [Target(node=self._node, gpu=gpu.uuid) for gpu in self.gpus if gpu.uuid]
        silent = tuple(Reading("gpu_answers", target, 0.0) for target in targets)
        missing = tuple(Missing("gpu_*", target, reason) for target in targets)
        return Snapshot(silent, (Problem(self.name, code, reason),), missing)

    def _seen(self, looks: list[Look | Exception]) -> Snapshot:
        versions = (("driver", self.driver.driver), ("nvml", self.driver.nvml))
        labels = (*versions, ("cuda", self.driver.cuda))
        readings = [Reading(DRIVER_INFO, Target(node=self._node), 1.0, labels)]
        problems: list[Problem] = []
        missing: list[Missing] = []
        gpus = []
        for device, found in zip(self._devices, looks, strict=True):
            look = device.look
            gpu, so_far = look.gpu, list(look.readings)
            readings += so_far
            missing += list(look.missing)
            if isinstance(found, Exception):
                said = _hung(look, found) if isinstance(found, Stuck) else repr(found)
                gpu = Gpu(gpu.uuid, gpu.index, gpu.name, pci=gpu.pci, trouble=said)
            readings += self._following(so_far, look.target)
            if gpu.trouble:
                problems.append(self._problem(gpu, hung=isinstance(found, Stuck)))
                missing.append(Missing("gpu_*", look.target, gpu.trouble))
            gpus.append(gpu)
        self.gpus = tuple(gpus)
        if not gpus:
            text = "the NVIDIA driver runs and sees no GPU; look into dmesg."
            problems.append(Problem(self.name, "no_gpu", text))
        if reason := next((d.look.unloaded for d in self._devices if d.look.unloaded), ""):
            self._close()
            text = f"the driver has gone ({reason}); it is looked for again at the next reading."
            problems.append(Problem(self.name, "driver_gone", text))
        return Snapshot(tuple(readings), tuple(problems), tuple(missing))

    def _following(self, readings: list[Reading], target: Target) -> Iterator[Reading]:
        yield from derived(readings, target)
        ratio = self._held_back.ratio(readings, target.gpu, self._clock.monotonic_s())
        if ratio is not None:
            yield Reading("gpu_throttle_ratio", target, ratio)

    def _problem(self, gpu: Gpu, *, hung: bool) -> Problem:
        name = f"GPU {gpu.index}" + (f" ({gpu.pci})" if gpu.pci else "")
        if hung:
            text = f"{name}: {gpu.trouble}; see dmesg for an Xid, and reset it."
            return Problem(self.name, "gpu_hung", text)
        text = f"{name} does not answer: {gpu.trouble}. See dmesg for its Xid."
        return Problem(self.name, "gpu_lost", text)


def _hung(look: Look, stuck: Stuck) -> str:
    return f"{look.asking or 'a call'}: {stuck}, the driver hangs in it"


def explained(error: Any) -> str:
    """Return why NVML cannot be used, with the remedy."""
    if isinstance(error, Stuck):
        return f"NVML: {error}; the driver hangs. See dmesg for an Xid, and reset the GPU."
    if isinstance(error, Exception) and errors.absent(error):
        return f"no NVIDIA driver ({error}). Install it, or run where the GPUs are."
    if errors.number(error) == errors.VERSION_MISMATCH:
        return (
            f"NVML: {error}: the driver in the kernel is another version than the library. "
            "Restart this service, or reboot the node."
        )
    return f"NVML: {error!r}. See `nvidia-smi` and dmesg."
