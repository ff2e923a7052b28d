"""Xids as events: from the gauge of the last one seen, and what is said of each."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from core.target import Target
from core.types import Event, Floats, Severity, Window
from detectors.faults.catalogue import sxid, xid
from detectors.faults.recovery import KIND as RECOVERY
from detectors.faults.recovery import RECOVERY_STEPS, action_of

KIND = "xid"
SWITCH_KIND = "sxid"
MASK = NDArray[np.bool_]


def xid_event(target: Target, time_s: float, code: int, recovery: str = "") -> Event:
    """Make the event of an Xid on a GPU.

    recovery: the driver's recovery action (``recovery.RECOVERY_ACTIONS``), "" where not known
    """
    known, step = xid(code), action_of(code, recovery).words
    text = f"Xid {code} on {target}: {known.meaning}{_after(step)}"
    return Event(target, time_s, KIND, str(code), text, known.severity)


def recovery_event(target: Target, time_s: float, action: str) -> Event:
    """Make the event of a driver that says what its GPU needs; as bad as an Xid that needs it."""
    step = RECOVERY_STEPS.get(action)
    text = f"the driver's recovery action for {target}: {step.words if step else action}"
    severity = Severity.CRITICAL if step else Severity.INFO
    return Event(target, time_s, RECOVERY, action, text, severity)


def sxid_event(target: Target, time_s: float, code: int) -> Event:
    """Make the event of an NVSwitch's error; ``target`` is its node."""
    known = sxid(code)
    text = f"SXid {code} on {target}: {known.meaning}{_after(known.step.words)}"
    return Event(target, time_s, SWITCH_KIND, str(code), text, known.severity)


def code_of(event: Event) -> int | None:
    """Return the number of an Xid or SXid; None where the code is none."""
    return int(event.code) if event.code.strip().isdecimal() else None


def turned_xids(window: Window) -> Iterator[Event]:
    """Yield an event for each time the last-Xid gauge turns to another code than 0.

    The gauge keeps its value for days: without an earlier reading it is no news. It cannot show the
    same code twice in a row; the kernel's log can.
    """
    filled, known = _carried(window.value)
    turned = known[:, :-1] & (filled[:, 1:] != filled[:, :-1]) & (filled[:, 1:] > 0)
    for row, column in zip(*np.nonzero(turned), strict=True):
        code = int(filled[row, column + 1])
        yield xid_event(window.targets[row], float(window.time_s[column + 1]), code)


def _after(step: str) -> str:
    return f"; {step}" if step else ""


def _carried(value: Floats) -> tuple[Floats, MASK]:
    """Return (S, T) with each gap filled by the reading before it, and where there is one."""
    columns = np.where(np.isnan(value), 0, np.arange(value.shape[1]))
    filled = np.take_along_axis(value, np.maximum.accumulate(columns, axis=1), axis=1)
    return filled, np.isfinite(filled)
