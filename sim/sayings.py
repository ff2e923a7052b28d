"""What kernel logs and the scheduler say: the rows that a world keeps, in their words.

The kind of an event is its name in ``Said``; the code of an Xid is NVIDIA's, that of a failed job
is its reason. Lines of the kernel are in the form of NVIDIA's, mlx5's and the kernel's own.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.target import Target
from core.types import Event, Severity
from sim.engine.port_readings import bad_port
from sim.engine.tables import Table
from sim.engine.words import NONE, Ending, Reason, Said
from sim.names import Names
from sim.scenario import SCRATCH

_C, _W, _I = Severity.CRITICAL, Severity.WARNING, Severity.INFO
_HOST_GUESS = "a node"
_MACHINE_CHECK = 18  # x86's number of the exception

# Reason -> the code of a failed job and what its scheduler gives as the cause.
REASONS: Mapping[Reason, tuple[str, str]] = {
    Reason.NONE: ("unknown", "no reason given"),
    Reason.CUDA_ERROR: (
        "cuda_error",
        "CUDA error on {host}: unspecified launch failure, NCCL remote error",
    ),
    Reason.GPU_MISSING: ("gpu_missing", "CUDA sees fewer GPUs than it should on {host}"),
    Reason.OUT_OF_MEMORY: ("oom", "a rank on {host} was killed, exit status 137"),
    Reason.NO_SPACE: ("no_space", "no space left on device on {host}"),
    Reason.NODE_DOWN: ("node_down", "{host} does not answer, its ranks are lost"),
    Reason.NETWORK: ("network", "NCCL: network error on {host}, connection closed by peer"),
    Reason.HANG: ("hang", "NCCL watchdog: a collective timed out"),
    Reason.NAN: ("nan", "the loss is NaN"),
    Reason.USER_BUG: ("user_bug", "the program ended with an error, exit status 1"),
    Reason.PREEMPTED: ("preempted", "preempted by a job of higher priority"),
    Reason.ORDERED: ("ordered", "ended by order"),
    Reason.STORAGE: ("storage", "reading the shared storage failed: input/output error"),
    Reason.SOFTWARE: ("software", "a library on {host} failed, exit status 134"),
    Reason.ECC: ("ecc", "CUDA error on {host}: uncorrectable ECC error encountered"),
}

# Xid -> the driver's line after "NVRM: Xid (PCI:...): N, " and how bad it is.
XIDS: Mapping[int, tuple[str, Severity]] = {
    13: ("Graphics Exception: illegal instruction.", _W),
    31: ("MMU Fault: page not present.", _W),
    43: ("channel reset, its process is stopped.", _I),
    45: ("preemptive channel removal.", _I),
    46: ("GPU stopped processing.", _C),
    48: ("DBE (double bit error) in the frame buffer.", _C),
    54: ("auxiliary power is not connected.", _C),
    62: ("PMU halt.", _C),
    63: ("Row Remapper: a row is marked to be remapped at the next reset.", _W),
    64: ("Row Remapper: the remap could not be recorded.", _C),
    74: ("NVLink: fatal error on a link.", _C),
    79: ("GPU has fallen off the bus.", _C),
    92: ("high rate of single-bit ECC errors.", _W),
    94: ("contained ECC error, its process is stopped.", _C),
    95: ("uncontained ECC error.", _C),
    109: ("CTX SWITCH TIMEOUT.", _C),
    119: ("timeout waiting for an RPC from the GSP.", _C),
    120: ("GSP task failed.", _C),
    136: ("NVLink: link training failed.", _C),
    140: ("unrecovered ECC error.", _C),
    143: ("GPU failed to initialise.", _C),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A row with the names that its text needs; ``job`` and ``host`` are "" where there is none."""

    code: int
    node: int
    gpu: int
    target: Target
    names: Names
    job: str
    host: str


_Told = tuple[Target, str, str, Severity]  # on what, code, text, how bad


def sayings(rows: Table, names: Names) -> Iterator[Event]:
    """Yield the event of each row of ``said``, in its order."""
    for row in rows:
        kind = Said(int(row["said"]))
        target, code, text, severity = _TEXTS[kind](_named(row, names))
        yield Event(target, float(row["time_s"]), kind.name.lower(), code, text, severity)


def _named(row: Any, names: Names) -> _Row:
    node, gpu, job = int(row["node"]), int(row["gpu"]), int(row["job"])
    target = Target() if node == NONE else names.target(node, gpu)
    host = "" if node == NONE else names.nodes[node]
    id_of = "" if job == NONE else names.job(job)
    return _Row(int(row["code"]), node, gpu, target, names, id_of, host)


def pci_address(gpu: int) -> str:
    """Return where a node's kernel finds the GPU of that place, as NVIDIA's driver writes it."""
    return f"0000:{0x1A + 16 * gpu:02x}:00"


def _xid(row: _Row) -> _Told:
    text, severity = XIDS.get(row.code, ("see NVIDIA's Xid catalogue.", Severity.WARNING))
    line = f"NVRM: Xid (PCI:{pci_address(row.gpu)}): {row.code}, {text}"
    return row.target, str(row.code), line, severity


def _job_failed(row: _Row) -> _Told:
    code, text = REASONS[Reason(row.code)]
    why = text.format(host=row.host or _HOST_GUESS)
    return Target(job=row.job), code, f"job {row.job} failed: {why}", _C


def _job_ended(row: _Row) -> _Told:
    ending = Ending(row.code).name.lower()
    return Target(job=row.job), ending, f"job {row.job} has ended: {ending}", _I


def _link(row: _Row, *, is_up: bool) -> _Told:
    machines = row.names.scenario.machines
    port = f"mlx5_{bad_port(np.uint64(row.names.seed % 2**64), row.node, machines.nics)}"
    text = f"mlx5_core: {port} port 1: Link {'up' if is_up else 'down'}"
    return replace(row.target, gpu="", port=f"{port}:1"), "", text, _I if is_up else _C


def _switch(row: _Row, *, is_up: bool) -> _Told:
    known = 0 <= row.code < len(row.names.leaves)
    name = row.names.leaves[row.code] if known else "a leaf switch"
    target = Target(switch=name) if known else row.target
    return target, "", f"{name} is {'up again' if is_up else 'down'}", _I if is_up else _C


def _power(row: _Row, *, is_back: bool) -> _Told:
    what = row.host or f"power domain {row.code}"
    return (
        row.target,
        "",
        f"{what} {'has power again' if is_back else 'has lost power'}",
        (_I if is_back else _C),
    )


def _of_job(text: str, severity: Severity = _I) -> Callable[[_Row], _Told]:
    def told(row: _Row) -> _Told:
        return Target(job=row.job), "", text.format(job=row.job, code=row.code), severity

    return told


def _on_host(text: str, severity: Severity) -> Callable[[_Row], _Told]:
    def told(row: _Row) -> _Told:
        where = row.host or (f"job {row.job}" if row.job else "the cluster")
        target = row.target if row.host or not row.job else Target(job=row.job)
        return target, "", text.format(host=where, gpu=row.gpu, code=row.code), severity

    return told


def _panic(row: _Row) -> _Told:
    """Tell a panic by its exception: a machine check is the host's hardware, any other is code."""
    what = "Fatal machine check" if row.code == _MACHINE_CHECK else "Fatal exception"
    code = "machine_check" if row.code == _MACHINE_CHECK else ""
    return row.target, code, f"Kernel panic - not syncing: {what}", _C


def _volume_full(row: _Row) -> _Told:
    target = replace(row.target, gpu="", volume=SCRATCH)
    return target, "", f"{SCRATCH}: no space left on device", _C


_TEXTS: Mapping[Said, Callable[[_Row], _Told]] = {
    Said.XID: _xid,
    Said.PCIE_ERROR: _on_host("pcieport: AER: uncorrected (fatal) error, link lost", _W),
    Said.OOM_KILL: _on_host("Out of memory: Killed process (data loader)", _C),
    Said.VOLUME_FULL: _volume_full,
    Said.JOB_FAILED: _job_failed,
    Said.JOB_STARTED: _of_job("job {job} runs again from step {code}"),
    Said.JOB_COMPLETED: _job_ended,
    Said.JOB_SUBMITTED: _of_job("job {job} is submitted"),
    Said.JOB_PREEMPTED: _of_job("job {job} gives its GPUs to one of higher priority", _W),
    Said.NODE_REBOOT: _on_host("{host} reboots", _I),
    Said.NODE_RETURNED: _on_host("{host} is up again", _I),
    Said.NODE_DOWN: _on_host("{host} does not answer", _C),
    Said.NODE_DRAINED: _on_host("{host} is drained by the site's health checks", _W),
    Said.LINK_DOWN: lambda row: _link(row, is_up=False),
    Said.LINK_UP: lambda row: _link(row, is_up=True),
    Said.SWITCH_DOWN: lambda row: _switch(row, is_up=False),
    Said.SWITCH_UP: lambda row: _switch(row, is_up=True),
    Said.POWER_LOST: lambda row: _power(row, is_back=False),
    Said.POWER_BACK: lambda row: _power(row, is_back=True),
    Said.STORAGE_SLOW: _on_host("shared storage: a server answers slowly", _W),
    Said.ECC: _on_host("NVRM: corrected ECC errors on GPU {gpu} are rising", _W),
    Said.ROW_REMAP: _on_host("NVRM: GPU {gpu} waits for a reset to remap a row", _W),
    Said.NAN_LOSS: _of_job("job {job}: the loss is NaN", _W),
    Said.THERMAL: _on_host("GPU {gpu} of {host} slows its clocks: too hot", _W),
    Said.MAINTENANCE: _on_host("planned maintenance of {host}", _I),
    Said.FALSE_ALARM: _on_host("a check of {host} failed once and passed when repeated", _W),
    Said.DRIVER_CHANGED: _on_host("{host} has a new driver", _I),
    Said.CANARY: _on_host("{host}: a new version serves part of the requests", _I),
    Said.POWER_CAPPED: _on_host("{host}: power is capped", _I),
    Said.KERNEL_PANIC: _panic,
    Said.CHECK_FAILED: _on_host("health check of {host} failed", _W),
    Said.CHECKPOINT: _of_job("job {job} saves a checkpoint out of turn"),
    Said.DISK_ERROR: _on_host("blk_update_request: I/O error, dev nvme1n1, op 0x0:(READ)", _C),
    Said.MOUNT_LOST: _on_host("nfs: server storage not responding, timed out", _W),
    Said.TRANSPORT_ERROR: _on_host("mlx5_0: transport retry counter exceeded on a queue pair", _W),
}
