"""A service that answers far later than it did: what its users feel, whatever the reason.

A training job's progress is its steps, a service's is its answers. Latencies are compared by their
ratio, as queueing multiplies them: the same test as for slow steps, on logarithms.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.topology import Topology
from core.types import Anomaly, Floats, Severity, Window
from core.units import CATALOG
from detectors.detector import Array, Symptoms
from detectors.progress import shift
from detectors.progress.memory import SEEN, Memory
from detectors.words import amount, duration

LATENCY, QUEUE = "job_latency_p99_s", "job_queue_depth"
DETECTOR = "late"
# Added before the logarithm: a millisecond is no latency, and ten requests are no queue (assumed).
_LEAST = {LATENCY: 1e-3, QUEUE: 10.0}
_SAYS = {LATENCY: "answers late: its", QUEUE: "keeps requests waiting: its"}
# A slow minute is a burst of requests; what lasts longer is trouble (assumed).
WARN_AFTER_S = 120.0
# A reading older than this says nothing about now.
FRESH_S = 120.0


@dataclass(frozen=True, slots=True)
class Lateness:
    """Finds services whose slowest answers take ``factor`` times as long as they used to.

    It is told from ``factor ** shift.WORTH`` on: twice as long. Where a service does not say how
    long its answers take, its queue is all there is. It is known after 20 readings, of noisy ones
    more, and one that has been late for ``adopt_s`` is taken to be so.

    ``factor`` is the least of 2, 2.5 and 3 at which no simulated service of a daily swing and no
    generated noise was told of while nothing was wrong (docs/progress.md).
    """

    factor: float = 2.5
    adopt_s: float = 86_400.0
    _memory: Memory = field(default_factory=lambda: Memory(shift.FIELDS))

    def look(
        self, windows: Mapping[str, Window], *, topology: Topology | None, now_s: float
    ) -> Symptoms:
        """Return an anomaly for each service that is late now."""
        found: list[Anomaly] = []
        told: set[str] = set()
        for metric in (LATENCY, QUEUE):
            window = windows.get(metric)
            if window is not None and window.value.size:
                found += self._watch(window, told, now_s)
        self._memory.forget(now_s)
        return Symptoms(anomalies=tuple(found))

    def state(self) -> Mapping[str, Array]:
        """Return what was learned of each service."""
        return self._memory.state()

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned."""
        self._memory.restore(state)

    def _watch(self, window: Window, told: set[str], now_s: float) -> list[Anomaly]:
        """Learn what is new and tell who is late; adds to ``told`` whose latency is known."""
        memory, metric = self._memory, window.metric
        mine = [n for n, target in enumerate(window.targets) if target.job not in told]
        keys = tuple(f"{metric} {window.targets[n].job}" for n in mine)
        rows = memory.rows(keys)
        value: Floats = np.log(_LEAST[metric] + window.value[mine])
        look = shift.Shift(effect=math.log(self.factor), adopt_s=self.adopt_s)
        look.learn(memory, rows, window.time_s, value)
        fresh = memory.value[SEEN][rows] >= now_s - FRESH_S
        told.update(window.targets[n].job for n, known in zip(mine, fresh, strict=True) if known)
        late = np.flatnonzero(fresh & look.risen(memory, rows))
        return [self._anomaly(window, mine[n], int(rows[n])) for n in late]

    def _anomaly(self, window: Window, place: int, row: int) -> Anomaly:
        m, metric = self._memory.value, CATALOG[window.metric]
        mean, level, target = float(m["mean"][row]), float(m["level"][row]), window.targets[place]
        least = _LEAST[metric.name]
        value, usual = (max(math.exp(x) - least, 0.0) for x in (mean + level, mean))
        since_s, seen_s = float(m["since_s"][row]), float(m[SEEN][row])
        lasted_s = seen_s - since_s
        return Anomaly(
            target=target,
            metric=metric.name,
            start_s=since_s,
            end_s=seen_s,
            value=value,
            lower=metric.low,
            upper=max(self.factor * math.exp(mean) - least, 0.0),
            score=float(np.clip(level / (4 * math.log(self.factor)), 0.5, 1.0)),
            detector=DETECTOR,
            severity=Severity.WARNING if lasted_s >= WARN_AFTER_S else Severity.INFO,
            text=f"{target} {_SAYS[metric.name]} {metric.text} is "
            f"{amount(value, metric.name)}, usually {amount(usual, metric.name)}, "
            f"for {duration(lasted_s)}",
        )
