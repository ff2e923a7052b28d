"""Processors, temperatures and memory errors, as the kernel's drivers tell them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.checks.check import Finding, State, counted, degraded, state_of, unhealthy
from agent.checks.machine import Machine, folders, number, text
from agent.checks.recent import Growth

# Below a sensor's own critical temperature by this much, a machine is about to protect itself.
NEAR_CRITICAL_C = 5.0
# Sensors that tell this much or less, or more than no metal bears, are not connected.
LEAST_C, MOST_C = 0.0, 150.0
# Corrected errors an hour, in one module, from which on it is worth a look: a healthy module has
# none for months; a module of a field study that had any had some hundred a month (Schroeder 2009).
CORRECTED_AN_HOUR = 100.0
_MILLI = 1e-3


@dataclass(frozen=True, slots=True)
class Processors:
    """Processors that are switched off, and those that slow themselves down for heat."""

    at: Machine
    name: str = "cpu"
    deadline_s: float = 5.0
    _throttled: Growth = field(default_factory=Growth)

    def run(self) -> State:
        """Hold the processors that are on against those there are; heat, over the last hour."""
        root = self.at.sys / "devices/system/cpu"
        there, on = (_listed(text(root / name) or "") for name in ("present", "online"))
        return state_of(self.name, self._findings(root, there, on), fine=f"{on} of {there} on")

    def _findings(self, root: Path, there: int, on: int) -> Iterator[Finding]:
        if on < there:
            reason = f"{there - on} of {there} processors are switched off"
            yield degraded(reason, "Look into dmesg, or switch them on: chcpu --enable.")
        now_s = self.at.clock.monotonic_s()
        hot = [
            core.parent.name
            for core in folders(root, "cpu[0-9]*/thermal_throttle")
            if self._throttled.of(core, number(core / "core_throttle_count") or 0.0, now_s)
        ]
        if hot:
            reason = f"{counted(len(hot), 'processor')} slowed down for heat within the last hour"
            yield degraded(reason, "Look at fans, filters and the air at the inlet.")


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Thermal zones and sensors, each against the limits that its own driver gives."""

    at: Machine
    name: str = "temperature"
    deadline_s: float = 5.0

    def run(self) -> State:
        """Read every zone and sensor that has a limit."""
        sensors = [*self._zones(), *self._sensors()]
        if not sensors:
            return state_of(self.name, (), fine="no sensor with a limit is exported here")
        hottest = max(sensors, key=lambda sensor: sensor.now_c - sensor.critical_c)
        fine = f"{counted(len(sensors), 'sensor')}, nearest to its limit {hottest}"
        return state_of(self.name, (f for s in sensors for f in s.findings()), fine=fine)

    def _zones(self) -> Iterator["Sensor"]:
        for zone in folders(self.at.sys / "class/thermal", "thermal_zone*"):
            now = number(zone / "temp")
            limits = {
                text(kind): number(zone / kind.name.replace("type", "temp"))
                for kind in folders(zone, "trip_point_*_type")
            }
            critical = limits.get("critical")
            if now is not None and critical:
                high = limits.get("hot") or critical
                name = text(zone / "type") or zone.name
                yield Sensor(name, now * _MILLI, high * _MILLI, critical * _MILLI)

    def _sensors(self) -> Iterator["Sensor"]:
        for file in folders(self.at.sys / "class/hwmon", "hwmon*/temp*_input"):
            stem = str(file)[: -len("input")]
            now, high, critical = (
                number(Path(f"{stem}{word}")) for word in ("input", "max", "crit")
            )
            if now is not None and critical:
                label = text(Path(f"{stem}label")) or file.name.partition("_")[0]
                name = f"{text(file.parent / 'name') or file.parent.name} {label}"
                yield Sensor(name, now * _MILLI, (high or critical) * _MILLI, critical * _MILLI)


@dataclass(frozen=True, slots=True)
class Sensor:
    """A temperature with the limits of its own driver, in degrees Celsius."""

    name: str
    now_c: float
    high_c: float
    critical_c: float

    def __str__(self) -> str:
        """Read as ``coretemp Package id 0 at 61 °C of 100``."""
        return f"{self.name} at {self.now_c:.0f} °C of {self.critical_c:.0f}"

    def findings(self) -> Iterator[Finding]:
        """Yield what is to say of it: at most one finding."""
        if not LEAST_C < self.now_c < MOST_C or self.critical_c >= MOST_C:
            return
        if self.now_c >= self.critical_c - NEAR_CRITICAL_C:
            reason = f"{self}: the machine is about to switch off or slow down"
            yield unhealthy(reason, "Take work off it; look at fans and the air at the inlet.")
        elif self.now_c >= self.high_c:
            yield degraded(f"{self} is too warm", "Look at fans and the air at the inlet.")


@dataclass(frozen=True, slots=True)
class MemoryErrors:
    """Errors of the main memory that the machine's controllers counted (EDAC)."""

    at: Machine
    name: str = "memory-errors"
    deadline_s: float = 5.0
    _corrected: Growth = field(default_factory=Growth)

    def run(self) -> State:
        """Tell uncorrected errors since the start, and corrected ones of the last hour."""
        modules = [*folders(self.at.sys / "devices/system/edac/mc", "mc*/dimm*")]
        modules += [
            folder
            for folder in folders(self.at.sys / "devices/system/edac/mc", "mc*")
            if not [*folder.glob("dimm*")]
        ]
        fine = f"{counted(len(modules), 'memory module')} without news"
        if not modules:
            fine = "no memory controller reports errors here (no EDAC driver)"
        return state_of(self.name, (f for m in modules for f in self._of(m)), fine=fine)

    def _of(self, module: Path) -> Iterator[Finding]:
        prefix = "dimm_" if module.name.startswith("dimm") else ""
        label = text(module / "dimm_label") or f"{module.parent.name}/{module.name}"
        if lost := number(module / f"{prefix}ue_count"):
            reason = f"{counted(int(lost), 'uncorrected error')} in {label} since the start"
            yield unhealthy(reason, f"Drain the node and replace the module {label}.")
        now_s = self.at.clock.monotonic_s()
        mended = self._corrected.of(module, number(module / f"{prefix}ce_count") or 0.0, now_s)
        if mended >= CORRECTED_AN_HOUR:
            reason = f"{mended:.0f} corrected errors in {label} within the last hour"
            yield degraded(reason, f"Plan to replace the module {label}.")


def _listed(ranges: str) -> int:
    """Count what ``0-3,8`` lists."""
    found = re.findall(r"(\d+)(?:-(\d+))?", ranges)
    return sum(int(last or first) - int(first) + 1 for first, last in found)
