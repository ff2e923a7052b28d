"""Which ranks of a window belong to one job and which to one node of it, worked out once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.target import Target
from core.types import Floats, Ints
from detectors.robust import row_median

# Of the ranks' own times, in order, what stands for a job where a part of it may be slow: below
# the middle, so that a slow half of two nodes is seen against the other half.
USUAL_SHARE = 0.4

MOST_DIGITS = 18  # of a number of eight bytes


@dataclass(frozen=True, eq=False)
class Ranks:
    """The S rank targets of a window.

    keys: what a rank is remembered by: its job, number and GPU; on another GPU it is another
    jobs:  J job ids; job: (S,) index into them
    node:  (S,) index of the pair of job and node; -1 where the node is not known
    """

    targets: tuple[Target, ...]
    keys: tuple[str, ...]
    jobs: tuple[str, ...]
    job: Ints
    node: Ints

    @classmethod
    def of(cls, targets: tuple[Target, ...]) -> "Ranks":
        """Return what is known of the targets."""
        jobs: dict[str, int] = {}
        nodes: dict[tuple[str, str], int] = {}
        job = [jobs.setdefault(target.job, len(jobs)) for target in targets]
        node = [
            nodes.setdefault((target.job, target.node), len(nodes)) if target.node else -1
            for target in targets
        ]
        keys = tuple(f"{t.job}/{t.rank}@{t.gpu or t.node}" for t in targets)
        as_ints = (np.array(codes, dtype=np.int64) for codes in (job, node))
        return cls(targets, keys, tuple(jobs), *as_ints)

    @cached_property
    def groups(self) -> tuple[Ints, ...]:
        """Return rows (G, n) of the G jobs of n ranks, for each n, ranks in order of number."""
        return by_size(self.job, self.number)

    @cached_property
    def number(self) -> Ints:
        """(S,) a rank's number in its job; its place where that is no number."""
        numbers = (_number(target.rank, place) for place, target in enumerate(self.targets))
        return np.array(list(numbers), dtype=np.int64)

    @cached_property
    def size(self) -> Ints:
        """(J,) ranks of each job."""
        return np.bincount(self.job, minlength=len(self.jobs))

    def per_job(self, value: Floats, share: float) -> Floats:
        """Return (J, T) the value at that share of a job's ranks in order; NaN has no place.

        value: (S, T); share 0 is the least, 1 the greatest
        """
        out = np.full((len(self.jobs), value.shape[1]), np.nan)
        for members in self.groups:
            ordered = np.sort(value[members], axis=1)
            known = np.isfinite(ordered).sum(axis=1)
            place = np.floor(np.maximum(known - 1, 0) * share).astype(np.int64)
            out[self.job[members[:, 0]]] = np.take_along_axis(ordered, place[:, None], axis=1)[:, 0]
        return out


def _number(rank: str, place: int) -> int:
    """Return a rank's label as a number of eight bytes; the place where it is none."""
    return int(rank) if rank.isdecimal() and len(rank) <= MOST_DIGITS else place


def by_size(code: Ints, order: Ints) -> tuple[Ints, ...]:
    """Return rows (G, n) of all groups of one size n, so that numpy is called once for each size.

    code: (S,) which group; order: (S,) by what a group's members are ordered
    """
    rows = np.lexsort((order, code))
    _, first, size = np.unique(code[rows], return_index=True, return_counts=True)
    return tuple(
        np.asarray(rows[first[size == n][:, None] + np.arange(n)]) for n in np.unique(size)
    )


class LastRanks:
    """Remembers the ranks of the last window: most looks have the same."""

    def __init__(self) -> None:
        self._ranks = Ranks.of(())

    def of(self, targets: tuple[Target, ...]) -> Ranks:
        """Return what is known of the targets."""
        if targets != self._ranks.targets:
            self._ranks = Ranks.of(targets)
        return self._ranks


def recent(value: Floats, time_s: Floats, start_s: float) -> Floats:
    """Return (S,) the median of each series' readings since a time."""
    return row_median(value[:, time_s >= start_s])
