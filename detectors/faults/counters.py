"""Rules for counters and state flags: what a single count or a changed bit says by itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.counters import growth
from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Event, Ints, Severity, Window
from core.units import CATALOG
from detectors.detector import Symptoms
from detectors.faults.xids import turned_xids
from detectors.words import amount

Mask = NDArray[np.bool_]

DETECTOR = "counters"
MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Growth:
    """Any growth of a counter is an event."""

    metric: str
    kind: str
    severity: Severity
    text: str


@dataclass(frozen=True, slots=True)
class Rate:
    """A counter that grows faster than ``per_s``, over the whole window, is an anomaly."""

    metric: str
    per_s: float
    severity: Severity


@dataclass(frozen=True, slots=True)
class Level:
    """A gauge whose mean over the window is above ``most`` is an anomaly."""

    metric: str
    most: float
    severity: Severity


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag at its bad value is an anomaly while it is there, and turning to it an event."""

    metric: str
    bad: float
    kind: str
    code: str
    severity: Severity


GROWTHS = (
    # DCGM health: VOLATILE_DBE_DETECTED fails the GPU and asks for a reset.
    Growth("gpu_ecc_uncorrected_total", "ecc_uncorrected", Severity.CRITICAL, "uncorrected error"),
    # The kernel's own word: out of memory, a process was killed.
    Growth("node_oom_kills_total", "oom_kill", Severity.WARNING, "process killed for memory"),
    # The port counts its own fall; one that came back between two readings shows only here.
    Growth("port_link_down_total", "link_down", Severity.WARNING, "loss of the link"),
)

RATES = (
    # DcgmGPUHardwareLimits.h: 8 PCIe replays a minute are the most that is normal.
    Rate("gpu_pcie_replay_total", 8 / MINUTE_S, Severity.WARNING),
    # Same file: NVLink CRC errors matter from 100 a second on.
    Rate("gpu_nvlink_errors_total", 100.0, Severity.CRITICAL),
    # A good InfiniBand or RoCE link has none for hours; 1 a second is far from chance.
    Rate("port_errors_total", 1.0, Severity.WARNING),
    # Assumed: a storm of single-bit errors. They are corrected, so this is evidence and no trouble
    # (DCGM's own limit of 10 is a placeholder, by the comment beside it).
    Rate("gpu_ecc_corrected_total", 10 / MINUTE_S, Severity.INFO),
)

LEVELS = (
    # Assumed: held back for heat half of the time. gpud warns from 0.6 slowdowns a minute over ten
    # minutes; a share of time says more about what it costs.
    Level("gpu_throttle_ratio", 0.5, Severity.WARNING),
)

FLAGS = (
    # NVIDIA's row remapping guide: pending takes effect at the next reset, failed is for RMA.
    Flag("gpu_rows_remap_pending", 1.0, "row_remap", "pending", Severity.WARNING),
    Flag("gpu_rows_remap_failed", 1.0, "row_remap", "failed", Severity.CRITICAL),
    Flag("port_up", 0.0, "link_down", "", Severity.CRITICAL),
    # Prometheus' `up`: the scrape itself was refused or timed out.
    Flag("node_up", 0.0, "silent", "", Severity.CRITICAL),
    # The kernel remounts a file system read-only after errors on its disk. Some are so by intent.
    Flag("volume_readonly", 1.0, "volume_readonly", "", Severity.CRITICAL),
)


@dataclass(frozen=True, slots=True)
class Counters:
    """Says what the rules find.

    event_span_s: an event older than this has been reported by an earlier look
    fresh_s:      a series with nothing newer says nothing about now
    """

    event_span_s: float = 120.0
    fresh_s: float = 120.0

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return what the rules find; the topology does not matter to them."""
        del topology
        seen = {name: window for name, window in windows.items() if window.value.size}
        anomalies: list[Anomaly] = []
        events: list[Event] = []
        for growing in GROWTHS:
            events += _growths(growing, seen[growing.metric]) if growing.metric in seen else ()
        for rate in RATES:
            anomalies += _rates(rate, seen[rate.metric]) if rate.metric in seen else ()
        for level in LEVELS:
            anomalies += _levels(level, seen[level.metric]) if level.metric in seen else ()
        for flag in FLAGS:
            held, turned = _flags(flag, seen[flag.metric]) if flag.metric in seen else ([], [])
            anomalies += held
            events += turned
        if "gpu_xid_code" in seen:
            events += turned_xids(seen["gpu_xid_code"])
        return Symptoms(
            tuple(found for found in anomalies if now_s - found.end_s <= self.fresh_s),
            tuple(found for found in events if now_s - found.time_s <= self.event_span_s),
        )


def _growths(rule: Growth, window: Window) -> Iterator[Event]:
    """Yield one event a series: its newest growth, with how much it grew in the window in all."""
    grown = growth(window.value)
    grew = grown > 0
    for row in np.flatnonzero(grew.any(axis=1)):
        target, last = window.targets[row], int(np.flatnonzero(grew[row])[-1])
        count = float(np.nansum(grown[row]))
        text = f"{count:.0f} × {rule.text} on {target}"
        yield Event(target, float(window.time_s[last]), rule.kind, "", text, rule.severity)


def _rates(rule: Rate, window: Window) -> Iterator[Anomaly]:
    grown = growth(window.value)
    known = np.isfinite(window.value)
    first, last = _ends(known)
    span_s = window.time_s[last] - window.time_s[first]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(span_s > 0, np.nansum(grown, axis=1) / span_s, 0.0)
    for row in np.flatnonzero(rate > rule.per_s):
        target, found = window.targets[row], float(rate[row])
        onset = int(np.argmax(grown[row] > 0))
        yield Anomaly(
            target=target,
            metric=rule.metric,
            start_s=float(window.time_s[onset]),
            end_s=float(window.time_s[last[row]]),
            value=found,
            lower=0.0,
            upper=rule.per_s,
            score=float(0.5 + 0.5 * (1 - rule.per_s / found)),
            detector=DETECTOR,
            severity=rule.severity,
            text=f"{CATALOG[rule.metric].text} of {target}: {found:.3g} a second, "
            f"normal is up to {rule.per_s:.3g}",
        )


def _levels(rule: Level, window: Window) -> Iterator[Anomaly]:
    known = np.isfinite(window.value)
    _, last = _ends(known)
    count = np.maximum(known.sum(axis=1), 1)
    mean = np.nansum(window.value, axis=1) / count
    # Over the whole window: a row that has half of it at least.
    for row in np.flatnonzero((mean > rule.most) & (2 * count >= window.value.shape[1])):
        target, found = window.targets[row], float(mean[row])
        yield Anomaly(
            target=target,
            metric=rule.metric,
            start_s=float(window.time_s[int(np.argmax(window.value[row] > rule.most))]),
            end_s=float(window.time_s[last[row]]),
            value=found,
            lower=0.0,
            upper=rule.most,
            score=float(0.5 + 0.5 * (1 - rule.most / found)),
            detector=DETECTOR,
            severity=rule.severity,
            text=f"{CATALOG[rule.metric].text} of {target} is {amount(found, rule.metric)}, "
            f"normal is up to {amount(rule.most, rule.metric)}",
        )


def _flags(rule: Flag, window: Window) -> tuple[list[Anomaly], list[Event]]:
    anomalies, events = [], []
    known = np.isfinite(window.value)
    _, last = _ends(known)
    is_bad = window.value == rule.bad
    metric = CATALOG[rule.metric]
    for row in np.flatnonzero(is_bad[np.arange(len(last)), last]):
        good = np.flatnonzero(known[row] & ~is_bad[row])
        after = int(good[-1]) + 1 if good.size else 0
        start = after + int(np.argmax(is_bad[row, after:]))
        target, start_s = window.targets[row], float(window.time_s[start])
        text = f"{metric.text} is {rule.bad:.0f} on {target}"
        anomalies.append(_held(rule, target, (start_s, float(window.time_s[last[row]])), text))
        if good.size:
            # Without a good reading before it, when it turned is not known.
            events.append(Event(target, start_s, rule.kind, rule.code, text, rule.severity))
    return anomalies, events


def _held(rule: Flag, target: Target, span_s: tuple[float, float], text: str) -> Anomaly:
    normal = 1.0 - rule.bad
    return Anomaly(
        target=target,
        metric=rule.metric,
        start_s=span_s[0],
        end_s=span_s[1],
        value=rule.bad,
        lower=normal,
        upper=normal,
        score=1.0,
        detector=DETECTOR,
        severity=rule.severity,
        text=text,
    )


def _ends(known: Mask) -> tuple[Ints, Ints]:
    """Return (S,) columns of the first and the newest reading."""
    return np.argmax(known, axis=1), known.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
