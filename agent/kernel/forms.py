"""The forms of lines that say something: as the kernel's, NVIDIA's and network drivers write them.

A form is tried where its word is in the line, in lower case: that takes a tenth of a search's time,
and most lines have none. The first that fits counts, so what is worse comes before what is like it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from core.types import Severity

_C, _W, _I = Severity.CRITICAL, Severity.WARNING, Severity.INFO


class Part(StrEnum):
    """What the device of a line is."""

    NODE = "node"
    PCI = "pci"  # 0000:18:00, domain, bus and device
    PORT = "port"  # eth0, or mlx5_0:1
    DISK = "disk"  # nvme0n1p2
    VOLUME = "volume"  # a file server or a mount


@dataclass(frozen=True, slots=True)
class Form:
    """A form of line; the pattern's group ``device`` names what it is about."""

    word: str
    kind: str
    code: str
    severity: Severity
    part: Part
    pattern: re.Pattern[str]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


def _on_node(word: str, kind: str, code: str, severity: Severity, pattern: str = "") -> Form:
    return Form(word, kind, code, severity, Part.NODE, _pattern(pattern or re.escape(word)))


def _on(part: Part, word: str, said: tuple[str, str, Severity], pattern: str) -> Form:
    return Form(word, *said, part, _pattern(pattern))


PCI = r"(?P<device>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2})(?:\.[0-9a-f])?"
_NIC = r"(?:mlx[45]_core|bnxt_en|ixgbe|i40e|ice|igb|e1000e|ena|efa|qede|cxgb4|irdma)"
_NETDEV = r"(?P<device>[a-z][\w.:-]{1,30})"
# A network driver names its bus address, then the interface.
_AT = r"[0-9a-f]{2}\.[0-9a-f],? "
_DISK = r"(?P<device>[\w!-]{2,40})"
_ON_DISK = rf"\((?:device )?{_DISK}(?:: state \w+)?\)"
_FROM = rf".*(?:received: |from ){PCI}"

_FATAL = ("pcie_error", "fatal", _C)
_NONFATAL = ("pcie_error", "nonfatal", _W)
_CORRECTED = ("pcie_error", "corrected", _I)
_UNCORRECTED_MCE = ("machine_check", "uncorrected", _C)
_CORRECTED_MCE = ("machine_check", "corrected", _I)
_READ_ONLY = ("volume_readonly", "", _C)
_FS_ERROR = ("disk_error", "filesystem", _C)
_RESET = ("nic_reset", "", _W)
# mlx5: its firmware's heartbeat is lost, or it no longer takes commands.
_DEAD_NIC = (
    "health compromised",
    "unrecoverable hardware error",
    "health recovery failed",
    "cause a leak of a command resource",
)
_LINK_DOWN, _LINK_UP = ("link_down", "", _W), ("link_up", "", _I)

_BUS = (
    # Xid 79 without its number, on one line or on several.
    _on(Part.PCI, "fallen off the bus", ("xid", "79", _C), rf"GPU (?:at )?(?:PCI:)?{PCI}.*?fallen"),
    _on(
        Part.PCI, "initadapter failed", ("gpu_unreachable", "", _C), rf"NVRM: GPU {PCI}: RmInitAda"
    ),
    _on(Part.PCI, "link down", ("pcie_error", "link_down", _C), rf"pcieport {PCI}: pciehp: .*Link"),
    _on(Part.PCI, "dpc: containment", ("pcie_error", "contained", _C), rf"pcieport {PCI}: DPC: co"),
    _on(Part.PCI, "aer: ", _FATAL, rf"AER: (?:Multiple )?Uncorrect\w+ \(Fatal\) error{_FROM}"),
    _on(Part.PCI, "aer: ", _NONFATAL, rf"AER: (?:Multiple )?Uncorrect\w+ \(Non-Fatal\) e{_FROM}"),
    _on(Part.PCI, "aer: ", _CORRECTED, rf"AER: (?:Multiple )?Correct\w+ error{_FROM}"),
    _on(Part.NODE, "aer: ", _FATAL, r"AER: Uncorrect\w+ \(Fatal\) error"),
    _on(Part.PCI, "pcie bus error", _FATAL, rf"{PCI}: PCIe .*severity=Uncorrect\w+ \(Fatal"),
    _on(Part.PCI, "pcie bus error", _NONFATAL, rf"{PCI}: PCIe .*severity=Uncorrect\w+ \(Non"),
    _on(Part.PCI, "pcie bus error", _CORRECTED, rf"{PCI}: PCIe .*severity=Correct"),
)

_MACHINE = (
    _on_node("kernel panic", "kernel_panic", "machine_check", _C, r"Kernel panic.*machine check"),
    _on_node("kernel panic", "kernel_panic", "", _C, r"Kernel panic - not syncing"),
    _on_node("bug: unable to handle", "kernel_panic", "oops", _C),
    _on_node("kernel bug at ", "kernel_panic", "oops", _C),
    _on_node("oops: ", "kernel_panic", "oops", _C, r"^Oops: |: Oops: "),
    # Bit 61 of a bank's status is UC: the processor could not correct it (Intel SDM 3B, 16.3.2.2).
    _on_node("machine check", *_UNCORRECTED_MCE, r"Bank \d+: [2367abef][0-9a-f]{15}\b"),
    _on_node("machine check", *_CORRECTED_MCE, r"Bank \d+: [0-9a-f]{16}\b|check events logged"),
    _on_node("event severity: fatal", *_UNCORRECTED_MCE),
    _on_node("event severity: recoverable", *_UNCORRECTED_MCE),
    _on_node("event severity: corrected", *_CORRECTED_MCE),
    _on_node("hardware error]: uncorrected", *_UNCORRECTED_MCE),
    _on_node("hardware error]: corrected", *_CORRECTED_MCE),
    _on_node("edac ", *_UNCORRECTED_MCE, r"EDAC \w+: \d+ UE "),
    _on_node("edac ", *_CORRECTED_MCE, r"EDAC \w+: \d+ CE "),
    _on_node("memory failure: 0x", *_UNCORRECTED_MCE),
    _on_node("hard lockup", "lockup", "hard", _C),
    _on_node("soft lockup", "lockup", "soft", _C, r"BUG: soft lockup - CPU#"),
    _on_node("stall", "lockup", "rcu", _C, r"detected stalls? on CPU|self-detected stall on CPU"),
    _on_node(
        "blocked ", "hung_task", "", _W, r"task .{1,64}:\d+ blocked (?:in I/O wait )?for more than"
    ),
    _on_node("temperature above threshold", "thermal", "", _W),
    _on_node("killed process", "oom_kill", "", _W, r"\bKilled process\b"),
    # Programs: evidence, no trouble of the node's.
    _on_node("segfault at ", "segfault", "", _I, r"\w\[\d+\]: segfault at "),
)

_DISKS = (
    _on(Part.DISK, "remounting filesystem read-only", _READ_ONLY, _ON_DISK),
    _on(Part.DISK, "forced readonly", _READ_ONLY, rf"BTRFS.{{0,40}}{_ON_DISK}"),
    _on(Part.DISK, "xfs (", _READ_ONLY, rf"XFS {_ON_DISK}.*(?:Shutting down f|has been shut d)"),
    _on(Part.DISK, "ext4-fs error", _FS_ERROR, rf"EXT4-fs error {_ON_DISK}"),
    _on(Part.DISK, "btrfs", _FS_ERROR, rf"BTRFS:? (?:critical|error) {_ON_DISK}"),
    _on(Part.DISK, "xfs (", _FS_ERROR, rf"XFS {_ON_DISK}: (?:metadata I/O e|Corruption|log I/O e)"),
    _on(
        Part.DISK, "error, dev ", ("disk_error", "medium", _C), rf"critical \w+ error, dev {_DISK}"
    ),
    _on(Part.DISK, "i/o error", ("disk_error", "io", _C), rf"\bI/O error,? (?:on )?dev {_DISK}"),
    _on(
        *(Part.DISK, "nvme ", ("disk_error", "gone", _C)),
        r"nvme (?P<device>nvme\d+): (?:Disabling device|Device not ready; abort|Removing after)",
    ),
    _on(
        *(Part.DISK, "timeout, ", ("disk_error", "timeout", _W)),
        r"nvme (?P<device>nvme\d+): I/O .{0,80}timeout, (?:aborting|reset controller|disable)",
    ),
    _on(
        *(Part.DISK, "disk failure on ", ("disk_error", "raid", _C)),
        r"md/raid\S*:(?P<device>md\w{1,20}): Disk failure on ",
    ),
    _on(
        *(Part.VOLUME, "not responding", ("mount_lost", "", _W)),
        r"nfs: server (?P<device>\S{1,200}) not responding",
    ),
    _on(
        *(Part.VOLUME, "was lost", ("mount_lost", "", _W)),
        r"Lustre: (?P<device>[\w.-]{1,120}): Connection to \S+ .*was lost",
    ),
)

_NETWORKS = (
    *(
        _on(Part.PCI, word, ("nic_reset", "firmware", _C), rf"{_NIC} {PCI}.*{word}")
        for word in _DEAD_NIC
    ),
    _on(Part.PORT, "netdev watchdog: ", _RESET, rf"WATCHDOG: {_NETDEV} \(\w+\): transmit queue \d"),
    _on(Part.PORT, "netdev watchdog: ", _RESET, rf"{_AT}{_NETDEV}: NETDEV WATCHDOG: CPU"),
    _on(
        *(Part.PORT, "reset", _RESET),
        rf"{_AT}{_NETDEV}: .{{0,60}}(?:Reset adapter|initiating reset|PF reset issued|Resetting)",
    ),
    _on(Part.PORT, "timeout detected", _RESET, rf"{_AT}{_NETDEV}: [TR]X timeout detected"),
    _on(
        *(Part.PCI, "reset", _RESET),
        rf"{_NIC} {PCI}: .{{0,60}}(?:Reset adapter|initiating reset|PF reset issued|Resetting)",
    ),
    _on(Part.PCI, "high temperature", ("thermal", "nic", _W), rf"{_NIC} {PCI}.*High Temp"),
    _on(Part.PCI, "cable unplugged", _LINK_DOWN, rf"{_NIC} {PCI}: Port module event"),
    _on(Part.PORT, "link down", _LINK_DOWN, r"(?P<device>mlx5_\d+ port \d+): Link down"),
    _on(Part.PORT, "link up", _LINK_UP, r"(?P<device>mlx5_\d+ port \d+): Link up"),
    _on(Part.PORT, "link ", _LINK_DOWN, rf"{_AT}{_NETDEV}: (?:.{{0,60}}NIC )?Link (?:is )?down"),
    _on(Part.PORT, "link ", _LINK_UP, rf"{_AT}{_NETDEV}: (?:.{{0,60}}NIC )?Link (?:is )?up"),
    _on(Part.PORT, "link status", _LINK_DOWN, rf"definitely down for interface {_NETDEV}"),
    _on(Part.PORT, "link status", _LINK_UP, rf"definitely up for interface {_NETDEV}"),
)

FORMS: tuple[Form, ...] = (*_BUS, *_MACHINE, *_DISKS, *_NETWORKS)
