"""Recorded faults of real nodes: which node was out, from when to when, and what it was said to be.

Two forms: InfiniteHBD-Trace's own JSON of beginnings and ends (SIGCOMM'25), in days; and a table
with a row a fault, in seconds.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from core.errors import InputError
from core.target import Target
from sim.scenario import FaultSpec, node_name
from sim.traces.records import Records, open_records
from sim.traces.row import BadCell, Counts, Row, need, parsed

COLUMNS = ("node", "start_s", "end_s", "level", "class", "desc")
EVENT_COLUMNS = ("node_id", "event_time", "event_type", "fault_type")

_DAY_S = 86400.0
_SHORTEST_S = 1.0
_STARTS, _ENDS = "fault_start", "fault_end"
_ELSE = "node_reboot"  # a node that was out for a reason nobody named

# What a recorded class and description are in the fault catalogue; "" stands for any other
# description. Chosen by what each says of the part and of what a job on the node would see.
_CLASSES = {
    ("GPU", "GPU DBE(Double Bit ECC) > Threshold"): "gpu_ecc_uncorrectable",
    ("GPU", "GPU SBE(Single Bit ECC) > Threshold"): "gpu_ecc_contained",
    ("GPU", "GPU Lost"): "gpu_fallen_off_bus",
    ("GPU", "GPU device not found"): "gpu_fallen_off_bus",
    ("GPU", "GPU PCI link width low"): "gpu_pcie_errors",
    ("GPU", "GPU P2P Bandwidth Low"): "gpu_nvlink_errors",
    ("GPU", "GPU Temperature High"): "gpu_thermal_interface",
    ("GPU", "nvidia-smi Timeout"): "gpu_hang",
    ("GPU", "Silent Data Corruption"): "silent_data_corruption",
    ("GPU", "GPU xid Error"): "gpu_cuda_error",
    ("GPU", ""): "gpu_compute_fault",
    ("NIC", "NIC Link Speed low"): "network_cable",
    ("NIC", ""): "nic_failure",
    ("Parameter Plane Cable", "Link Down"): "port_flap",
    ("Parameter Plane Cable", ""): "network_cable",
    ("Fan", ""): "cooling_degraded",
    ("Power Supply", ""): "power_supply",
    ("CPU", ""): "host_cpu",
    ("Motherboard", ""): "host_board",
    ("Motherboard Battery", ""): "host_board",
    ("RAID Card", ""): "host_board",
    ("Riser Card", ""): "host_board",
    ("Operating System", ""): "kernel_panic",
    ("System Crash", ""): "kernel_panic",
    ("File System", ""): "filesystem_mount",
    ("Stress Test Failure", ""): "gpu_compute_fault",
    ("Training Task Troubleshooting", ""): "host_maintenance",
    ("Software Tool", ""): "host_maintenance",
    ("Firmware", ""): "host_maintenance",
    ("Change", ""): "host_maintenance",
    ("Test", ""): "host_maintenance",
}


class RecordedFault(NamedTuple):
    """One time that a node was out of service.

    start_s, end_s: seconds since the trace's own zero; inf: still out when the trace ended
    level, kind, text: the trace's words for it, from coarse to fine
    """

    node: str
    start_s: float
    end_s: float
    level: str = ""
    kind: str = ""
    text: str = ""

    @property
    def fault(self) -> str:
        """Return the class of the fault catalogue that comes nearest."""
        exact = _CLASSES.get((self.kind, self.text))
        return exact or _CLASSES.get((self.kind, ""), _ELSE)


class _Event(NamedTuple):
    node: str
    time_s: float
    starts: bool
    level: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class FaultTrace:
    """The faults in order of their beginning."""

    faults: tuple[RecordedFault, ...]
    counts: Counts


def read_faults(path: Path | str, *, skip_bad: bool = False) -> FaultTrace:
    """Return recorded faults; the columns tell the form.

    InputError for a missing or empty file, missing columns or a bad row (unless skipped). An end
    without a beginning is a bad row.
    """
    records, counts = open_records(Path(path)), Counts()
    if set(records.columns) & set(EVENT_COLUMNS):
        need(records, EVENT_COLUMNS, what="a trace of fault events")
        found = _pairs(records, counts, skip_bad=skip_bad)
    else:
        need(records, COLUMNS[:3], what="a trace of faults")
        found = (fault for _, fault in parsed(records, _fault, counts, skip_bad=skip_bad))
    faults = tuple(sorted(found, key=lambda fault: (fault.start_s, fault.node)))
    if not faults:
        raise InputError(
            f"reading {path}: it holds no fault ({counts.sentence}). Give a row for each time a "
            "node was out."
        )
    counts.kept = len(faults)
    return FaultTrace(faults, counts)


def to_specs(faults: Iterable[RecordedFault], *, nodes: int) -> tuple[FaultSpec, ...]:
    """Return the faults as a scenario's, the first at its start.

    The trace's nodes become the cluster's first ones, in order of their names. InputError where
    the cluster has fewer.
    """
    taken = tuple(faults)
    names = sorted({fault.node for fault in taken})
    if len(names) > nodes:
        raise InputError(
            f"replaying faults of {len(names)} nodes on a cluster of {nodes}. Give it at least "
            f"{len(names)} nodes, or take fewer of the trace's."
        )
    index = {name: node_name(place, nodes) for place, name in enumerate(names)}
    first_s = min((fault.start_s for fault in taken), default=0.0)
    return tuple(
        FaultSpec(
            fault.fault,
            Target(node=index[fault.node]),
            fault.start_s - first_s,
            lasts_s=max(fault.end_s - fault.start_s, _SHORTEST_S),
        )
        for fault in taken
    )


def _fault(row: Row) -> RecordedFault:
    start_s = row.time_s("start_s")
    end_s = row.time_s("end_s", optional=True)
    if end_s < start_s:
        raise BadCell("end_s", f"{end_s:g}", f"{start_s:g} or later")
    words = (row.text("level"), row.text("class"), row.text("desc"))
    return RecordedFault(
        _name(row, "node"), start_s, math.inf if math.isnan(end_s) else end_s, *words
    )


def _name(row: Row, column: str) -> str:
    if not (name := row.text(column)):
        raise BadCell(column, None, "a node's name")
    return name


def _event(row: Row) -> _Event:
    what = row.text("event_type")
    if what not in {_STARTS, _ENDS}:
        raise BadCell("event_type", what, f"{_STARTS} or {_ENDS}")
    kind = row.cell("fault_type")
    if not isinstance(kind, dict):
        raise BadCell("fault_type", kind, "an object with Level, Class and Desc")
    words = (str(kind.get(name, "")) for name in ("Level", "Class", "Desc"))
    time_s = row.number("event_time") * _DAY_S
    return _Event(_name(row, "node_id"), time_s, what == _STARTS, *words)


def _pairs(records: Records, counts: Counts, *, skip_bad: bool) -> Iterator[RecordedFault]:
    """Yield each beginning with its end: the next end of that node that says the same.

    A beginning that comes again before its end is part of the same time out of service.
    """
    open_at: dict[tuple[str, str, str, str], float] = {}

    def close(row: Row) -> RecordedFault | None:
        event = _event(row)
        key = (event.node, event.level, event.kind, event.text)
        if event.starts:
            open_at.setdefault(key, event.time_s)
            return None
        if key not in open_at:
            raise BadCell("event_type", _ENDS, f"a {_STARTS} of this node and fault before it")
        start_s = open_at.pop(key)
        if event.time_s < start_s:
            raise BadCell("event_time", event.time_s / _DAY_S, "no time before its beginning")
        return RecordedFault(event.node, start_s, event.time_s, *key[1:])

    for _, fault in parsed(records, close, counts, skip_bad=skip_bad):
        if fault is not None:
            yield fault
    for (node, *words), start_s in open_at.items():
        yield RecordedFault(node, start_s, math.inf, *words)
