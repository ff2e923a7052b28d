"""Counters, flags and error codes, and what kernels and switches log: hard faults, each said once.

windows -> Counters ----+
                        +-> the causes of a burst -> repeats escalate -> Symptoms
events of other sources-+
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.target import Target
from core.topology import Topology
from core.types import Event, Window
from detectors.detector import Array, Symptoms
from detectors.faults.bursts import BURST_S, causes_only, jobs_of_gpus
from detectors.faults.counters import Counters
from detectors.faults.memory import FaultMemory, Row, key_of
from detectors.faults.recovery import KIND as RECOVERY
from detectors.faults.recurrence import escalated, suspected
from detectors.faults.xids import KIND, SWITCH_KIND, code_of, recovery_event, sxid_event, xid_event
from detectors.words import hitting_as

READ_ONLY = "volume_readonly"
# What is a fault of hardware, or may be; every other kind of event is passed on as it came.
FAULT_KINDS = frozenset(
    {
        KIND,
        SWITCH_KIND,
        "ecc_uncorrected",
        "gpu_lost",
        RECOVERY,
        "hung_task",
        "link_down",
        "lockup",
        "machine_check",
        "nic_reset",
        "nvlink",
        "oom_kill",
        "pcie_error",
        "row_remap",
        READ_ONLY,
    }
)


@dataclass(slots=True)
class HardFaults:
    """Says hard faults: one for a burst of Xids, worse where they recur.

    event_span_s, fresh_s: of ``Counters``
    hold_s: what other sources tell again within this time is counted and not said, unless it has
            become worse
    """

    event_span_s: float = 120.0
    fresh_s: float = 120.0
    hold_s: float = 120.0
    _memory: FaultMemory = field(default_factory=FaultMemory, init=False)

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return what the readings show."""
        rules = Counters(self.event_span_s, self.fresh_s)
        found = rules.look(windows, topology=topology, now_s=now_s)
        self._memory.forget(now_s)
        events = tuple(said for said, _ in self._said(found.events, topology))
        kept = tuple(
            anomaly
            for anomaly in found.anomalies
            if anomaly.metric != READ_ONLY or self._turned(anomaly.target, anomaly.end_s)
        )
        return Symptoms(kept, events)

    def hear(
        self, events: Sequence[Event], *, topology: Topology | None, now_s: float
    ) -> tuple[Event, ...]:
        """Return what to make of the events of other sources; those of other kinds as they are."""
        self._memory.forget(now_s)
        says = self._drivers_word(events)
        faults = [
            _rated(event, says.get(event.target, ""))
            for event in events
            if event.kind in FAULT_KINDS
        ]
        texts = {(event.target, event.kind): event.text for event in events}
        said = [
            replace(event, text=hitting_as(event.text, texts.get((event.target, event.kind), "")))
            for event, row in self._said(faults, topology)
            if self._is_due(event, row)
        ]
        return (*(event for event in events if event.kind not in FAULT_KINDS), *said)

    def state(self) -> Mapping[str, Array]:
        """Return the faults of the last day."""
        return self._memory.state()

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        self._memory.restore(state)

    def _said(
        self, events: Sequence[Event], topology: Topology | None
    ) -> Iterator[tuple[Event, Row]]:
        """Yield what is to be said of the faults, each with what is known of it."""
        for event in events:
            self._memory.see(event)
        causes = causes_only(events, self._memory, topology)
        job_of = jobs_of_gpus(topology) if topology is not None and causes else {}
        for event in sorted(causes, key=lambda each: (each.time_s, str(key_of(each)), each.text)):
            row = self._memory.count(event, event.target.job or job_of.get(event.target.gpu, ""))
            yield escalated(event, row), row
            for suspicion in suspected(event, row, self._memory):
                yield suspicion, self._memory.see(suspicion)

    def _drivers_word(self, events: Sequence[Event]) -> Mapping[Target, str]:
        """Return the newest recovery action of each GPU that an Xid here may be about."""
        first_s = min((event.time_s for event in events), default=0.0)
        known = sorted(self._memory.recent(RECOVERY, first_s - BURST_S), key=lambda each: each[2])
        now = [(event.target, event.code) for event in events if event.kind == RECOVERY]
        return {target: code for target, code, _ in known} | dict(now)

    def _is_due(self, event: Event, row: Row) -> bool:
        """Say whether an event of another source is news, and note that it is said."""
        rank = event.severity.rank
        if event.time_s < row.said_s + self.hold_s and rank <= row.said:
            return False
        row.said_s, row.said = max(row.said_s, event.time_s), rank
        return True

    def _turned(self, volume: Target, at_s: float) -> bool:
        """Say whether a volume has been writable: one that never was is so by intent."""
        row = self._memory.rows.get((volume, READ_ONLY, ""))
        if row is not None:
            row.last_s = max(row.last_s, at_s)
        return row is not None


def _rated(event: Event, recovery: str) -> Event:
    """Return an error code of a log as the catalogue says it, which names node, GPU and next step.

    The worse of the source's severity and the catalogue's counts.
    """
    code = code_of(event)
    if event.kind == RECOVERY:
        return recovery_event(event.target, event.time_s, event.code)
    if code is None or event.kind not in {KIND, SWITCH_KIND}:
        return event
    if event.kind == KIND:
        known = xid_event(event.target, event.time_s, code, recovery)
    else:
        known = sxid_event(event.target, event.time_s, code)
    worse = max((event.severity, known.severity), key=lambda severity: severity.rank)
    return replace(known, severity=worse)
