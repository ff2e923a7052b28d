"""A target that reported and stopped while its source goes on: a missing reading is a symptom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.target import Target, TargetKind
from core.topology import Topology
from core.types import Event, Severity, Window
from detectors.detector import Symptoms
from detectors.words import duration

KIND = "silent"
# The node lives, by its GPUs' word: what stopped is the exporter of its own readings.
EXPORTER = "exporter_silent"
# These stay. A job that ended, a volume unmounted or a container's port stops reporting every day.
LASTING = frozenset({TargetKind.NODE, TargetKind.GPU})


@dataclass(frozen=True, slots=True)
class Silence:
    """Says each node or GPU whose readings, of every metric, stopped ``after_s`` ago or longer.

    Its source counts as up where others reported the same metric in both halves of that time: one
    that is down as a whole is reported as such, not as a thousand silent targets, from its first
    missed scrapes on, and one that comes back is given time to name them all. A node none of whose
    parts reports is one event. A row of NaN is a target that reported before the window began. A
    node that the topology no longer lists was taken away.
    """

    after_s: float = 120.0

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an event for each that is silent."""
        deadline_s = now_s - self.after_s
        quiet: dict[Target, float] = {}
        for window in windows.values():
            for target, last_s in _stopped(window, deadline_s):
                quiet[target] = max(last_s, quiet.get(target, -np.inf))
        watched = {t: at for t, at in quiet.items() if _lasting(t, topology)}
        if not watched:
            return Symptoms()
        alive = _alive(windows, deadline_s, frozenset(target.node for target in watched))
        return Symptoms(events=tuple(_events(watched, alive, now_s)))


def _stopped(window: Window, deadline_s: float) -> list[tuple[Target, float]]:
    """Return targets without readings since the deadline, where others have, and their last.

    The last reading of a row of NaN is put at the window's begin: it was no later.
    """
    known = np.isfinite(window.value)
    if not known.size:
        return []
    since = window.time_s > deadline_s
    fresh = known[:, since].any(axis=1)
    up = np.asarray(known[:, since].any(axis=0))
    half = -(-len(up) // 2)
    if not (up[:half].any() and up[-half:].any()):
        return []
    rows = np.flatnonzero(~fresh)
    last = known.shape[1] - 1 - np.argmax(known[rows, ::-1], axis=1)
    last_s = np.where(known[rows].any(axis=1), window.time_s[last], window.time_s[0])
    return [(window.targets[row], float(at)) for row, at in zip(rows, last_s, strict=True)]


def _alive(
    windows: Mapping[str, Window], deadline_s: float, nodes: frozenset[str]
) -> frozenset[Target]:
    """Return the targets on these nodes (or on none) that still report anything."""
    alive: set[Target] = set()
    for window in windows.values():
        newest = window.value[:, window.time_s > deadline_s]
        fresh: list[bool] = np.asarray(np.isfinite(newest).any(axis=1)).tolist()
        alive.update(
            t for t, ok in zip(window.targets, fresh, strict=True) if ok and t.node in nodes
        )
    return frozenset(alive)


def _lasting(target: Target, topology: Topology | None) -> bool:
    if topology is not None and topology.nodes and target.node not in topology.node_index:
        return False
    return target.kind in LASTING


def _events(
    quiet: Mapping[Target, float], alive: frozenset[Target], now_s: float
) -> Iterator[Event]:
    nodes_up = {target.node for target in alive}
    found: dict[Target, float] = {}
    for target, last_s in quiet.items():
        if target in alive:
            continue
        whole = target.node and target.node not in nodes_up
        named = Target(node=target.node) if whole else target
        found[named] = max(last_s, found.get(named, -np.inf))
    for target, last_s in sorted(found.items()):
        since = duration(now_s - last_s)
        if target.kind is TargetKind.NODE and target.node in nodes_up:
            text = f"{target}'s own readings stopped {since} ago; parts of it still report"
            yield Event(target, last_s, EXPORTER, "no_readings", text, Severity.WARNING)
        else:
            text = f"{target} has reported nothing for {since} while others do"
            yield Event(target, last_s, KIND, "no_readings", text, Severity.CRITICAL)
