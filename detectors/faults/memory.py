"""When which fault was seen where, for a day: bounded, and plain arrays when put away."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from core.target import Target
from core.types import Event
from detectors.detector import Array, names

Key = tuple[Target, str, str]  # on what, kind, code

# What is counted is counted within this time.
DAY_S = 86_400.0
# The same within this time is one occurrence: a log and a gauge tell of it some readings apart.
SAME_S = 30.0
FLAPPING = "link_down"
# As many occurrences of one fault tell all that a rule asks.
MOST_TIMES = 16
# A fault on every GPU of a thousand nodes, and one row more for each of ten other targets a node.
MOST_ROWS = 20_000
_PARTS = tuple(part.name for part in fields(Target))


@dataclass(slots=True)
class Row:
    """What is known of one fault on one target.

    last_s, counted_s: when it was seen last, and not as what another fault explains
    said_s: when the occurrence was that was said last
    said:   how bad that was, a severity's rank
    times_s, jobs: its newest occurrences, and the job that was there, "" for none
    """

    last_s: float
    counted_s: float = -np.inf
    said_s: float = -np.inf
    said: int = 0
    times_s: list[float] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    def count(self, since_s: float) -> int:
        """Return how many occurrences there were since; MOST_TIMES stands for any more."""
        return sum(time_s >= since_s for time_s in self.times_s)

    def jobs_since(self, since_s: float) -> frozenset[str]:
        """Return the jobs it has met since."""
        found = zip(self.times_s, self.jobs, strict=True)
        return frozenset(job for time_s, job in found if time_s >= since_s and job)


@dataclass(slots=True)
class FaultMemory:
    """The faults of the last day, by target, kind and code."""

    rows: dict[Key, Row] = field(default_factory=dict)

    def see(self, event: Event) -> Row:
        """Note that a fault is there, without counting it."""
        row = self.rows.setdefault(key_of(event), Row(event.time_s))
        row.last_s = max(row.last_s, event.time_s)
        return row

    def count(self, event: Event, job: str) -> Row:
        """Count an occurrence, unless it is part of one that is known."""
        row = self.see(event)
        # A link that falls every ten seconds flaps; an error that is logged so is one storm.
        flaps = event.kind == FLAPPING and row.times_s
        if event.time_s > (row.times_s[-1] if flaps else row.counted_s) + SAME_S:
            row.times_s = [*row.times_s, event.time_s][-MOST_TIMES:]
            row.jobs = [*row.jobs, job][-MOST_TIMES:]
        row.counted_s = max(row.counted_s, event.time_s)
        return row

    def recent(self, kind: str, since_s: float) -> Iterator[tuple[Target, str, float]]:
        """Yield the faults of a kind that were seen since: target, code, when last."""
        for (target, of, code), row in self.rows.items():
            if of == kind and row.last_s >= since_s:
                yield target, code, row.last_s

    def most_beside(self, event: Event, since_s: float) -> int:
        """Return how often another GPU of the node has had the same fault since, at most."""
        return max(
            (
                row.count(since_s)
                for (target, kind, code), row in self.rows.items()
                if target.gpu
                and target != event.target
                and (target.node, kind, code) == (event.target.node, event.kind, event.code)
            ),
            default=0,
        )

    def forget(self, now_s: float) -> None:
        """Drop what is older than a day, and the oldest of too many.

        What a clock that was set back has put in the future goes too.
        """
        kept = {
            key: row for key, row in self.rows.items() if 0 <= now_s - row.last_s + SAME_S <= DAY_S
        }
        if len(kept) > MOST_ROWS:
            newest = sorted(kept, key=lambda key: (kept[key].last_s, key))[-MOST_ROWS:]
            kept = {key: kept[key] for key in newest}
        self.rows = kept

    def state(self) -> Mapping[str, Array]:
        """Return all rows as arrays; times are padded with NaN, jobs with ""."""
        keys, rows = list(self.rows), list(self.rows.values())
        times = np.full((len(rows), MOST_TIMES), np.nan)
        for at, row in enumerate(rows):
            times[at, : len(row.times_s)] = row.times_s
        jobs = [job for row in rows for job in (*row.jobs, *[""] * (MOST_TIMES - len(row.jobs)))]
        return {
            **{part: names([getattr(key[0], part) for key in keys]) for part in _PARTS},
            "kind": names([key[1] for key in keys]),
            "code": names([key[2] for key in keys]),
            "last_s": np.array([row.last_s for row in rows], dtype=np.float64),
            "counted_s": np.array([row.counted_s for row in rows], dtype=np.float64),
            "said_s": np.array([row.said_s for row in rows], dtype=np.float64),
            "said": np.array([row.said for row in rows], dtype=np.int64),
            "times_s": times,
            "jobs": names(jobs).reshape(len(rows), MOST_TIMES),
        }

    def restore(self, state: Mapping[str, Array]) -> None:
        """Take up what ``state`` returned; ValueError says what does not fit."""
        size = len(state.get("last_s", ()))
        for name in FaultMemory().state():
            if name not in state:
                raise ValueError(f"memory of faults has no {name}")
            if len(state[name]) != size:
                raise ValueError(f"{name} has {len(state[name])} rows, last_s has {size}")
        if state["times_s"].shape[1:] != (MOST_TIMES,):
            raise ValueError(f"times_s is {state['times_s'].shape}, not (rows, {MOST_TIMES})")
        columns = {name: column.tolist() for name, column in state.items()}
        self.rows = {}
        for at in range(size):
            target = Target(**{part: columns[part][at] for part in _PARTS})
            times_s = [time_s for time_s in columns["times_s"][at] if not np.isnan(time_s)]
            self.rows[target, columns["kind"][at], columns["code"][at]] = Row(
                last_s=columns["last_s"][at],
                counted_s=columns["counted_s"][at],
                said_s=columns["said_s"][at],
                said=columns["said"][at],
                times_s=times_s,
                jobs=columns["jobs"][at][: len(times_s)],
            )


def key_of(event: Event) -> Key:
    """Return what makes a fault the same as another."""
    return event.target, event.kind, event.code.strip()
