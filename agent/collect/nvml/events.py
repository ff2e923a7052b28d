"""Xids as the driver tells of them: a thread of its own that waits for NVML's events."""

import ctypes
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from agent.collect.nvml import errors
from core.clock import Clock, RealClock
from core.ports import Problem
from core.target import Target
from core.types import Event, Severity

# nvmlEventType of nvml.h -> kind and code; an Xid's code is in the event's data.
_SINGLE_BIT, _DOUBLE_BIT, _XID = 0x1, 0x2, 0x8
_WANTED = _SINGLE_BIT | _DOUBLE_BIT | _XID
WAIT_S = 2.0
RETRY_S = 30.0
# A GPU in agony tells of thousands; the newest say as much.
MOST_EVENTS = 1000


class XidEvents:
    """Gathers events from now on; ``events`` gives those since the call before.

    retry_s: pause before the driver is asked again, after it was found to be gone
    wait_s:  longest wait in the driver, and so the longest that ``close`` takes
    """

    name = "nvml_events"

    def __init__(
        self,
        node: str,
        *,
        clock: Clock | None = None,
        retry_s: float = RETRY_S,
        wait_s: float = WAIT_S,
    ) -> None:
        self._node, self._clock, self._retry_s = node, clock or RealClock(), retry_s
        self._wait_ms = int(wait_s * 1000)
        self._found: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._end, self._came = threading.Event(), threading.Event()
        self._trouble = ""
        self._away_until_s = 0.0
        self.listening, self._closed = threading.Event(), threading.Event()
        self._closed.set()
        self._thread = threading.Thread(target=self._run, daemon=True, name=self.name)
        self._thread.start()

    def events(self, wait_s: float = 0.0) -> tuple[Event, ...]:
        """Return the events since the last call, oldest first; waits so long for the first."""
        self._came.wait(wait_s)
        self._came.clear()
        return tuple(self._found.popleft() for _ in range(len(self._found)))

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return why no events come, where that is so and a driver is here."""
        trouble = self._trouble
        return (Problem(self.name, "events", trouble),) if trouble else ()

    def let_go(self, for_s: float) -> None:
        """Close NVML for so long; waits for that, unless the driver holds the thread."""
        self._away_until_s = self._clock.monotonic_s() + for_s
        self._closed.wait(2 * self._wait_ms / 1000)

    def close(self) -> None:
        """End the thread and wait for it, unless the driver holds it."""
        self._end.set()
        self._thread.join(2 * self._wait_ms / 1000)

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._trouble = ""
                self._listen()
            except ModuleNotFoundError:
                return
            except Exception as error:  # the driver's trouble is never the agent's
                text = f"NVML's events: {error}; asked again in {self._retry_s:g} s."
                self._trouble = "" if errors.absent(error) else text
            self.listening.clear()
            self._end.wait(self._retry_s)

    def _listen(self) -> None:
        import pynvml  # noqa: PLC0415 - as in agent.collect.nvml.driver

        if self._away():
            return
        self._closed.clear()
        try:
            self._hear(pynvml)
        finally:
            self._closed.set()

    def _hear(self, nvml: Any) -> None:
        nvml.nvmlInit()
        try:
            into = nvml.nvmlEventSetCreate()
            try:
                names = self._register(nvml, into)
                self.listening.set()
                while not (self._end.is_set() or self._away()):
                    self._wait(nvml, into, names)
            finally:
                nvml.nvmlEventSetFree(into)
        finally:
            nvml.nvmlShutdown()

    def _away(self) -> bool:
        return self._clock.monotonic_s() < self._away_until_s

    def _register(self, nvml: Any, into: Any) -> Mapping[int, tuple[str, str]]:
        """Ask for every GPU's events; return UUID and address by handle.

        A GPU that tells of its own loss can no longer say who it is.
        """
        names = {}
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                gpu = nvml.nvmlDeviceGetHandleByIndex(index)
                name = str(nvml.nvmlDeviceGetUUID(gpu)), _bus_id(nvml, gpu)
                wanted = nvml.nvmlDeviceGetSupportedEventTypes(gpu) & _WANTED
                nvml.nvmlDeviceRegisterEvents(gpu, wanted, into)
            except nvml.NVMLError:
                continue  # it is lost, or tells of nothing; the others still do
            names[_address(gpu)] = name
        return names

    def _wait(self, nvml: Any, into: Any, names: Mapping[int, tuple[str, str]]) -> None:
        try:
            said = nvml.nvmlEventSetWait_v2(into, self._wait_ms)
        except nvml.NVMLError_Timeout:
            return
        uuid, where = names.get(_address(said.device), ("", "of an unknown address"))
        kind, code = "xid", str(said.eventData)
        if said.eventType != _XID:
            kind, code = "ecc", "double_bit" if said.eventType == _DOUBLE_BIT else "single_bit"
        text = f"NVML: {kind.upper() if kind == 'ecc' else 'Xid'} {code} on GPU {where}"
        target, now_s = Target(node=self._node, gpu=uuid), self._clock.now_s()
        self._found.append(Event(target, now_s, kind, code, text, Severity.WARNING))
        self._came.set()


def _address(handle: Any) -> int:
    return int(ctypes.cast(handle, ctypes.c_void_p).value or 0)


def _bus_id(nvml: Any, gpu: Any) -> str:
    found = nvml.nvmlDeviceGetPciInfo(gpu).busId
    return found.decode() if isinstance(found, bytes) else str(found)
