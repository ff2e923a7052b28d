"""One GPU by its handle: everything that is asked of it, and what it is not asked again."""

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.collect.nvml import errors
from agent.collect.nvml.facts import Gpu, GpuProcess, MigInstance
from agent.collect.nvml.fields import FieldBatch
from agent.collect.nvml.queries import (
    CLOCK_EVENT_CALLS,
    CLOCK_EVENTS,
    FIELDS,
    LINK_FIELDS,
    LINKS,
    QUERIES,
    RECOVERY,
    Part,
    Query,
)
from agent.collect.reading import Labels, Missing, Reading
from core.details import GPU_MINOR
from core.target import Target

MOST_LINKS = 18  # asked for where the driver does not say how many there are (H100, B200: 18)
ANSWERS, INFO, CLOCK_EVENT = "gpu_answers", "gpu_info", "gpu_clock_event"
PROCESSES, MIG = "gpu_processes", "gpu_mig_enabled"
FABRIC = (Part("gpu_fabric_state", "state"), Part("gpu_fabric_health", "healthSummary"))
_CLOCK_EVENTS = tuple(
    Part(CLOCK_EVENT, place, labels=(("reason", word),))
    for place, (_, word) in enumerate(CLOCK_EVENTS)
)
# What a GPU is called: the name here, and nvidia-ml-py's call for it.
_NAMES = {
    "name": "nvmlDeviceGetName",
    "serial": "nvmlDeviceGetSerial",
    "vbios": "nvmlDeviceGetVbiosVersion",
    "inforom": "nvmlDeviceGetInforomImageVersion",
    "gsp_firmware": "nvmlDeviceGetGspFirmwareVersion",
}

Ask = Callable[["Look"], Iterable[Reading]]


@dataclass(slots=True)
class Look:
    """What one look at a GPU has brought so far.

    asking:   the call that runs, which is the one that hangs where the look never ends
    unloaded: why there is no driver behind the handle any more; "" while there is one
    """

    gpu: Gpu
    target: Target
    readings: list[Reading] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    asking: str = ""
    unloaded: str = ""


class Device:
    """A GPU between two loads of the driver.

    What it does not support is remembered and not asked again; what only a reset changes is asked
    once. All is forgotten when it was lost, or when its division into instances changes.
    """

    def __init__(self, nvml: Any, node: str, index: int) -> None:
        self._nvml, self._node = nvml, node
        self._handle: Any = None
        self._unsupported: dict[object, list[Missing]] = {}
        self._kept: dict[object, list[Reading]] = {}
        self._unnamed: list[Missing] = []
        self._divided: bool | None = None
        self._batches: tuple[FieldBatch, ...] = ()
        self.look = Look(Gpu("", index), Target(node=node))

    def read(self) -> Look:
        """Ask everything once. A look that hangs is seen half done in ``look``."""
        was = self.look.gpu
        gpu = replace(was, trouble="", recovery=None, processes=(), instances=())
        look = self.look = Look(gpu, self.look.target)
        try:
            if self._handle is None:
                self._take_hold(look)
            look.readings.append(Reading(ANSWERS, look.target, 1.0))
            look.readings.append(Reading(INFO, look.target, 1.0, _labels(look.gpu)))
            if look.gpu.minor >= 0:
                look.readings.append(Reading(GPU_MINOR, look.target, float(look.gpu.minor)))
            self._ask_all(look)
        except self._nvml.NVMLError as error:
            self._give_up(look, error)
        look.asking = ""
        return look

    def _give_up(self, look: Look, error: Exception) -> None:
        """Note why the GPU does not answer, and begin anew at the next look."""
        self._forget()
        self._handle = None
        look.gpu = replace(look.gpu, trouble=f"{look.asking}: {error}")
        look.unloaded = str(error) if errors.number(error) in errors.UNLOADED else ""
        look.missing.clear()
        look.readings[:] = [Reading(ANSWERS, look.target, 0.0)] if look.gpu.uuid else []

    def _forget(self) -> None:
        self._unsupported.clear()
        self._kept.clear()
        self._batches = ()

    def _call(self, look: Look, name: str, *args: object) -> Any:
        look.asking = name
        ask: Callable[..., Any] = getattr(self._nvml, name)
        return ask(*args)

    def _take_hold(self, look: Look) -> None:
        """Find the GPU and its names; NVMLError where it is not there."""
        handle = self._call(look, "nvmlDeviceGetHandleByIndex", look.gpu.index)
        uuid = _text(self._call(look, "nvmlDeviceGetUUID", handle))
        look.target = Target(node=self._node, gpu=uuid)
        self._unnamed.clear()
        names: dict[str, Any] = {
            key: self._name(look, call, handle) for key, call in _NAMES.items()
        }
        pci = self._name(look, "nvmlDeviceGetPciInfo", handle, "busId")
        minor = self._name(look, "nvmlDeviceGetMinorNumber", handle)
        look.gpu = Gpu(uuid, look.gpu.index, pci=pci, minor=int(minor or -1), **names)
        self._handle = handle

    def _name(self, look: Look, call: str, handle: Any, part: str = "") -> str:
        try:
            found = self._call(look, call, handle)
        except self._nvml.NVMLError as error:
            if errors.number(error) not in errors.LASTING:
                raise
            self._unnamed.append(Missing(INFO, look.target, f"{call}: {error}"))
            return ""
        return _text(getattr(found, part) if part else found)

    def _ask_all(self, look: Look) -> None:
        look.missing += self._unnamed
        self._try(look, MIG, (MIG,), self._division)
        for query in QUERIES:
            if query.once and (kept := self._kept.get(query)) is not None:
                look.readings += kept
            else:
                self._query(look, query)
        self._try(look, CLOCK_EVENT, (CLOCK_EVENT,), self._clock_events)
        self._try(look, FABRIC, (part.metric for part in FABRIC), self._fabric)
        if not self._batches:
            self._batches = self._all_batches(look)
        for batch in self._batches:
            look.asking = "nvmlDeviceGetFieldValues"
            batch.read(self._handle, look.readings, look.missing)
        recovery = (int(r.value) for r in look.readings if r.metric == RECOVERY)
        look.gpu = replace(look.gpu, recovery=next(recovery, None))
        self._try(look, PROCESSES, (PROCESSES,), self._processes)

    def _query(self, look: Look, query: Query) -> None:
        def ask(look: Look) -> list[Reading]:
            found = self._first_of(look, query.calls, *query.args)
            return self._readings(look, query, found, query.parts)

        self._try(look, query, (part.metric for part in query.parts), ask)

    def _readings(
        self, look: Look, key: object, found: Any, parts: Sequence[Part]
    ) -> list[Reading]:
        """Return the parts of an answer; where it is as before, the same readings."""
        values = [_part(found, part.of) * part.unit for part in parts]
        kept = self._kept.get(key, [])
        if [reading.value for reading in kept] != values:
            kept = self._kept[key] = [
                Reading(part.metric, look.target, value, part.labels)
                for part, value in zip(parts, values, strict=True)
            ]
        return kept

    def _try(self, look: Look, key: object, metrics: Iterable[str], ask: Ask) -> None:
        """Add what ``ask`` gives, or why it is missing; NVMLError where the GPU is lost."""
        if (known := self._unsupported.get(key)) is not None:
            look.missing += known
            return
        try:
            look.readings += ask(look)
        except self._nvml.NVMLError as error:
            found = errors.number(error)
            if found in errors.LOST | errors.UNLOADED:
                raise
            missing = [Missing(name, look.target, f"{look.asking}: {error}") for name in metrics]
            look.missing += missing
            if found in errors.LASTING:
                self._unsupported[key] = missing

    def _first_of(self, look: Look, calls: Iterable[str], *args: object) -> Any:
        """Return what the first call says that this driver has."""
        *former, last = calls
        for call in former:
            try:
                return self._call(look, call, self._handle, *args)
            except self._nvml.NVMLError_FunctionNotFound:
                continue
        return self._call(look, last, self._handle, *args)

    def _clock_events(self, look: Look) -> list[Reading]:
        bits = int(self._first_of(look, CLOCK_EVENT_CALLS))
        held = [bool(bits & bit) for bit, _ in CLOCK_EVENTS]
        return self._readings(look, CLOCK_EVENT, held, _CLOCK_EVENTS)

    def _fabric(self, look: Look) -> list[Reading]:
        """Read whether the GPU has joined its NVLink fabric."""
        said = self._nvml.c_nvmlGpuFabricInfo_v3_t()
        self._call(look, "nvmlDeviceGetGpuFabricInfoV", self._handle, ctypes.byref(said))
        return self._readings(look, FABRIC, said, FABRIC)

    def _all_batches(self, look: Look) -> tuple[FieldBatch, ...]:
        """Return the fields of the GPU, and of each of its links."""
        own = FieldBatch(self._nvml, look.target, [(each, None) for each in FIELDS])
        said: list[Reading] = []
        look.asking = "nvmlDeviceGetFieldValues"
        own.read(self._handle, said, [])
        count = next((int(r.value) for r in said if r.metric == LINKS), MOST_LINKS)
        links = [(each, link) for link in range(count) for each in LINK_FIELDS]
        return own, FieldBatch(self._nvml, look.target, links)

    def _processes(self, look: Look) -> list[Reading]:
        """Read who runs on the GPU; the page shows how many."""
        parts = {(i.gpu_instance, i.compute_instance): i.uuid for i in look.gpu.instances}
        found = []
        for kind in ("Compute", "Graphics"):
            for one in self._call(look, f"nvmlDeviceGet{kind}RunningProcesses", self._handle):
                held = None if one.usedGpuMemory is None else int(one.usedGpuMemory)
                part = parts.get((one.gpuInstanceId, one.computeInstanceId), "")
                found.append(GpuProcess(int(one.pid), held, kind.lower(), part))
        look.gpu = replace(look.gpu, processes=tuple(found))
        return [Reading(PROCESSES, look.target, float(len({each.pid for each in found})))]

    def _division(self, look: Look) -> Iterator[Reading]:
        """Read whether the GPU is divided into instances, and each of them."""
        divided = bool(self._call(look, "nvmlDeviceGetMigMode", self._handle)[0])
        if divided != self._divided:
            self._forget()  # a divided GPU supports less, and a whole one again more
            self._divided = divided
        yield Reading(MIG, look.target, float(divided))
        found = tuple(self._instances(look)) if divided else ()
        look.gpu = replace(look.gpu, instances=found)
        for part in found:
            label = (("instance", part.uuid),)
            total, used = float(part.memory_bytes), float(part.memory_used_bytes)
            yield Reading("gpu_instance_memory_total_bytes", look.target, total, label)
            yield Reading("gpu_instance_memory_used_bytes", look.target, used, label)

    def _instances(self, look: Look) -> Iterator[MigInstance]:
        for number in range(self._call(look, "nvmlDeviceGetMaxMigDeviceCount", self._handle)):
            try:
                part = self._call(look, "nvmlDeviceGetMigDeviceHandleByIndex", self._handle, number)
            except self._nvml.NVMLError_NotFound:
                continue  # fewer parts than there could be
            memory = self._call(look, "nvmlDeviceGetMemoryInfo", part)
            yield MigInstance(
                uuid=_text(self._call(look, "nvmlDeviceGetUUID", part)),
                gpu_instance=int(self._call(look, "nvmlDeviceGetGpuInstanceId", part)),
                compute_instance=int(self._call(look, "nvmlDeviceGetComputeInstanceId", part)),
                memory_bytes=int(memory.total),
                memory_used_bytes=int(memory.used),
            )


def _labels(gpu: Gpu) -> Labels:
    """Return what the GPU is, as labels of a reading that says nothing else."""
    names = (*_NAMES, "pci", "index", "minor")
    return tuple((name, str(getattr(gpu, name))) for name in names)


def _part(found: Any, of: str | int | None) -> float:
    if of is None:
        return float(found)
    return float(found[of] if isinstance(of, int) else getattr(found, of))


def _text(found: object) -> str:
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)
