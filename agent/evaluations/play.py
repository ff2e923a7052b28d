"""A simulated world that is watched as a live cluster is: read, listened to, looked at, grouped."""

from collections.abc import Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from core.errors import ActionFailed
from core.target import Target, TargetKind
from core.types import Action, Event, Floats, Incident, IncidentState, Severity, Window
from detectors.detect import DetectSettings, detectors, plausible
from detectors.detector import Detector, Hearing, Symptoms
from detectors.group import GroupSettings, group
from sim.telemetry import METRICS, readings
from sim.world import World

CYCLE_S, STEP_S, SPAN_S = 15.0, 15.0, 600.0
SWAP_AFTER_S = 120.0


@dataclass(slots=True)
class Play:
    """A world that is watched; ``seen`` are all incidents there were, in their newest form.

    missing: series that nobody reads
    swap_after_s: after a critical event on a node its jobs move; inf: nobody moves them
    """

    world: World
    group: GroupSettings = field(default_factory=GroupSettings)
    detect: DetectSettings = field(default_factory=DetectSettings)
    missing: frozenset[tuple[str, Target]] = frozenset()
    swap_after_s: float = SWAP_AFTER_S
    seen: dict[str, Incident] = field(default_factory=dict)

    _detectors: Mapping[str, Detector] = field(init=False)
    _live: tuple[Incident, ...] = ()
    _kept: dict[str, tuple[tuple[Target, ...], tuple[int, ...]]] = field(default_factory=dict)
    _told: int = field(init=False)
    _number: "count[int]" = field(default_factory=count)
    _swapped: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._detectors = detectors(self.detect)
        self._told = len(self.world.events)

    def run(self, duration_s: float, *, cycle_s: float = CYCLE_S) -> None:
        """Watch the world for so long."""
        end_s = self.world.now_s + duration_s
        while self.world.now_s < end_s:
            self.world.advance(self.world.now_s + cycle_s)
            self._look()
            self._swap()

    def continued(self, world: World) -> "Play":
        """Return the same watch on a world that was the same until now, this one left as it is."""
        twin = copy(self)
        twin.world, twin._told = world, len(world.events)
        twin.seen, twin._swapped = dict(self.seen), set(self._swapped)
        twin._detectors, twin._number = deepcopy(self._detectors), copy(self._number)
        return twin

    def read(self, time_s: Floats) -> dict[str, Window]:
        """Return the readings there are at those times."""
        found = readings(self.world, METRICS, time_s)
        return {window.metric: self._read(window) for window in found}

    def _read(self, window: Window) -> Window:
        known, rows = self._kept.get(window.metric, ((), ()))
        if known is not window.targets:
            rows = tuple(
                row
                for row, target in enumerate(window.targets)
                if (window.metric, target) not in self.missing
            )
            self._kept[window.metric] = window.targets, rows
        if len(rows) == len(window.targets):
            return window
        kept = tuple(window.targets[row] for row in rows)
        return replace(window, targets=kept, value=window.value[list(rows)])

    def _look(self) -> None:
        now_s, topology = self.world.now_s, self.world.topology()
        last = np.floor(now_s / STEP_S) * STEP_S
        time_s = np.arange(last - SPAN_S, last + STEP_S / 2, STEP_S)
        windows, symptoms = plausible(self.read(time_s)), Symptoms()
        told = self._news()
        for detector in self._detectors.values():
            symptoms += detector.look(windows, topology=topology, now_s=now_s)
            if isinstance(detector, Hearing):
                told = detector.hear(told, topology=topology, now_s=now_s)
        trouble = tuple(e for e in told if e.severity is not Severity.INFO)
        self._live = group(
            self._live,
            symptoms + Symptoms(events=trouble),
            topology=topology,
            now_s=now_s,
            settings=self.group,
            new_id=lambda: f"{next(self._number):06d}",
        )
        self.seen |= {incident.id: incident for incident in self._live}

    def _news(self) -> tuple[Event, ...]:
        new = self.world.events[self._told :]
        self._told += len(new)
        return new

    def _swap(self) -> None:
        """Give jobs a spare for the nodes that a critical event of their own tells of."""
        for node, since_s in sorted(self._broken()):
            if node in self._swapped or self.world.now_s - since_s < self.swap_after_s:
                continue
            self._swapped.add(node)
            action = Action(f"swap:{node}", "swap_node", Target(node=node), (), 900.0, "")
            try:
                self.world.perform(action)
            except ActionFailed:
                continue

    def _broken(self) -> Iterator[tuple[str, float]]:
        for incident in self._live:
            for event in incident.events:
                own = event.target.kind in {TargetKind.GPU, TargetKind.NODE}
                bad = event.severity is Severity.CRITICAL
                if own and bad and incident.state is IncidentState.OPEN:
                    yield event.target.node, event.time_s
