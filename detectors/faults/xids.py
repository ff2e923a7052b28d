"""Xids as events: from the gauge of the last one seen, and what is said of each."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from core.target import Target
from core.types import Event, Floats, Window
from detectors.faults.catalogue import SXid, Xid, sxid, xid

KIND = "xid"
SWITCH_KIND = "sxid"
MASK = NDArray[np.bool_]


def xid_event(target: Target, time_s: float, code: int) -> Event:
    """Make the event of an Xid on a GPU."""
    known = xid(code)
    return Event(target, time_s, KIND, str(code), say(target, known), known.severity)


def sxid_event(target: Target, time_s: float, code: int) -> Event:
    """Make the event of an NVSwitch's error; ``target`` is its node."""
    known = sxid(code)
    text = f"SXid {code} on {target}: {known.meaning}{_step(known)}"
    return Event(target, time_s, SWITCH_KIND, str(code), text, known.severity)


def say(target: Target, known: Xid) -> str:
    """Say what happened and what to do next."""
    return f"Xid {known.code} on {target}: {known.meaning}{_step(known)}"


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


def _step(known: Xid | SXid) -> str:
    return f"; {known.step}" if known.step else ""


def _carried(value: Floats) -> tuple[Floats, MASK]:
    """Return (S, T) with each gap filled by the reading before it, and where there is one."""
    columns = np.where(np.isnan(value), 0, np.arange(value.shape[1]))
    filled = np.take_along_axis(value, np.maximum.accumulate(columns, axis=1), axis=1)
    return filled, np.isfinite(filled)
