"""How often what was said on this node: counts for a scrape, the newest events for who asks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from agent.collect.labels import own_labels
from agent.collect.reading import sample
from core.exporters import OWN_PREFIX
from core.target import Target
from core.types import Event
from detectors.faults.xids import KIND as XID
from detectors.words import hitting

# A node's series in Prometheus, and its last events: what is beyond is counted under "other".
MOST_KEYS = 256
MOST_EVENTS = 1000
OTHER = "other"
TIMESTAMP = f"{OWN_PREFIX}node_event_timestamp_seconds"
# Label of the jobs that an event hit; not of the total, whose series would break with each job.
HITS = "hits"
TOTAL = f"{OWN_PREFIX}node_events_total"

Key = tuple[Target, str, str]
# A GPU's UUID and a moment -> the jobs that its trouble hit then, see ``LocalJobs.hit_at``.
HitAt = Callable[[str, float], str]


def nobody(_gpu: str, _time_s: float) -> str:
    """Say that nobody knows of jobs here."""
    return ""


@dataclass(slots=True)
class Count:
    """How often a kind and code of event was on a target, the newest, and the jobs that it hit."""

    times: int
    newest: Event
    jobs: str = ""

    @property
    def hits(self) -> Mapping[str, str]:
        """Return the label of the jobs hit, where there are any."""
        return {HITS: self.jobs} if self.jobs else {}


@dataclass(slots=True)
class Tally:
    """Counts events by target, kind and code, names the jobs hit, keeps the newest for who asks."""

    hit_at: HitAt = nobody
    most_keys: int = MOST_KEYS
    counts: dict[Key, Count] = field(default_factory=dict)
    _events: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST_EVENTS))
    _first: int = 0

    def take(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """Count events; return them with those of one target, kind and code as one."""
        fresh: dict[Key, list[Event]] = {}
        for event in events:
            fresh.setdefault((event.target, event.kind, event.code), []).append(event)
        told = []
        for key, same in fresh.items():
            told.append(self._as_one(same))
            self._count(key, same)
        told.sort(key=lambda event: event.time_s)
        self._first += max(0, len(self._events) + len(told) - MOST_EVENTS)
        self._events.extend(told)
        return tuple(told)

    def after(self, number: int) -> tuple[int, tuple[Event, ...]]:
        """Return the number of the next event and the events from a number on that are kept."""
        end = self._first + len(self._events)
        begin = min(max(number, self._first), end)
        return end, tuple(self._events)[begin - self._first :]

    def last_xids(self) -> dict[str, float]:
        """Return the code of each GPU's newest Xid, by UUID."""
        found = sorted(
            (count.newest.time_s, target.gpu, float(code))
            for (target, kind, code), count in self.counts.items()
            if kind == XID and target.gpu
        )
        return {gpu: code for _, gpu, code in found}

    def text(self) -> str:
        """Return the counts, and when each was last, in Prometheus' text format."""
        if not self.counts:
            return ""
        lines = [
            f"# HELP {TOTAL} events of this node's kernel and driver",
            f"# TYPE {TOTAL} counter",
            *(sample(TOTAL, labels, count.times) for labels, count in self._rows()),
            f"# HELP {TIMESTAMP} when such an event was last",
            f"# TYPE {TIMESTAMP} gauge",
            *(
                sample(TIMESTAMP, {**labels, **count.hits}, count.newest.time_s)
                for labels, count in self._rows()
            ),
        ]
        return "\n".join(lines) + "\n"

    def _count(self, key: Key, same: list[Event]) -> None:
        if key not in self.counts and len(self.counts) >= self.most_keys:
            key = (Target(node=key[0].node), OTHER, "")
        newest = max(same, key=lambda event: event.time_s)
        count = self.counts.setdefault(key, Count(0, newest))
        count.times += len(same)
        count.newest, count.jobs = newest, self._hits(newest)

    def _rows(self) -> Iterator[tuple[Mapping[str, str], Count]]:
        for (target, kind, code), count in self.counts.items():
            severity = str(count.newest.severity)
            yield own_labels(target) | {"kind": kind, "code": code, "severity": severity}, count

    def _as_one(self, same: list[Event]) -> Event:
        """Return events of one target, kind and code as one, at the first one's time."""
        first = min(same, key=lambda event: event.time_s)
        often = f" ({len(same)} times)" if len(same) > 1 else ""
        return replace(first, text=hitting(f"{first.text}{often}", self._hits(first)))

    def _hits(self, event: Event) -> str:
        return self.hit_at(event.target.gpu, event.time_s)
