"""The rhythm of a GPU's power: how long its work takes to repeat itself, without asking the job."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from agent.collect.nvml import Gpu
from agent.collect.patience import Patience
from agent.collect.reading import Reading, Snapshot
from core.target import Target
from core.types import Floats
from detectors.progress.pulse import period_s

# The driver keeps some ten seconds of samples; to hand them over takes it a millisecond.
DEADLINE_S = 2.0
NOT_SUPPORTED = 3  # nvml.h, NVML_ERROR_NOT_SUPPORTED
_MICRO = 1e-6


@dataclass(slots=True)
class PulseReader:
    """Reads the driver's own power samples, once a look: nothing is sampled by us.

    gpus: what was seen of them last; those without a process are left out
    """

    node: str
    gpus: Callable[[], Sequence[Gpu]]
    name: str = "gpu_pulse"
    _without: set[str] = field(default_factory=set)
    _asked: Patience[tuple[Floats, Floats]] = field(default_factory=lambda: Patience(DEADLINE_S))

    def snapshot(self) -> Snapshot:
        """Return the period of each GPU whose power has one."""
        working = [gpu.uuid for gpu in self.gpus() if gpu.processes and not gpu.trouble]
        asked = {uuid: partial(samples, uuid) for uuid in working if uuid not in self._without}
        readings = []
        for uuid, found in self._asked.wait_for(asked).items():
            if isinstance(found, Exception):
                if getattr(found, "value", None) == NOT_SUPPORTED:
                    self._without.add(uuid)
                continue
            if math.isfinite(found_s := rhythm_s(*found)):
                target = Target(node=self.node, gpu=uuid)
                readings.append(Reading("gpu_power_period_s", target, found_s))
        return Snapshot(tuple(readings))


def rhythm_s(time_s: Floats, value: Floats) -> float:
    """Return the period of readings (T,) that are about evenly spaced; NaN for none."""
    if len(time_s) < 2:
        return math.nan
    every_s = float(np.median(np.diff(time_s)))
    if every_s <= 0:
        return math.nan
    even_s = np.arange(time_s[0], time_s[-1], every_s)
    return period_s(np.interp(even_s, time_s, value), every_s)


def samples(uuid: str) -> tuple[Floats, Floats]:
    """Return when, in seconds, and what power, in mW, the driver noted (T,); NVMLError for none."""
    import pynvml  # noqa: PLC0415 - 15 ms that a machine without a GPU need not pay

    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    _, found = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_TOTAL_POWER_SAMPLES, 0)
    time_s = np.array([each.timeStamp * _MICRO for each in found])
    return time_s, np.array([float(each.sampleValue.uiVal) for each in found])
