"""What NVIDIA's Xid codes mean, and how bad each is by what the vendor says to do about it."""

from collections.abc import Mapping

from core.target import Target
from core.types import Event, Severity

# NVIDIA's Xid catalogue: the usual codes in its words.
MEANING: Mapping[int, str] = {
    13: "graphics engine exception",
    31: "GPU memory page fault",
    43: "GPU stopped processing",
    45: "preemptive cleanup after an earlier error",
    46: "GPU stopped processing",
    48: "double-bit ECC error",
    54: "auxiliary power is not connected",
    61: "internal micro-controller breakpoint",
    62: "internal micro-controller halt",
    63: "GPU memory remapping event",
    64: "GPU memory remapping failure",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "high single-bit ECC error rate",
    94: "contained memory error",
    95: "uncontained memory error",
    109: "context switch timeout",
    119: "GSP RPC timeout",
    120: "GSP error",
    136: "link training failed",
    140: "unrecovered ECC error",
    143: "GPU initialization error",
}

# Immediate action "reset GPU", "restart node" or a hardware work flow.
_HARDWARE = frozenset(
    {46, 48, 54, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 143, *range(144, 151)}
)
# Immediate action "ignore": follow-ups of another error, or news without a consequence.
_IGNORED = frozenset({14, 37, 38, 43, 44, 45, 63, 66, 67, 92, 93, 106, 108})


def severity(code: int) -> Severity:
    """Rate an Xid: hardware that needs a hand is critical, "ignore" is info, the rest a warning."""
    if code in _HARDWARE:
        return Severity.CRITICAL
    return Severity.INFO if code in _IGNORED else Severity.WARNING


def xid_event(target: Target, time_s: float, code: int) -> Event:
    """Make the event of an Xid on a GPU."""
    meaning = MEANING.get(code, "see NVIDIA's Xid catalogue")
    text = f"Xid {code} on {target}: {meaning}"
    return Event(target, time_s, "xid", str(code), text, severity(code))
