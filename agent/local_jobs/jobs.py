"""Which jobs a GPU's trouble hits: who holds each GPU now, and who held it when it began."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.collect.nvml import Gpu
from agent.collect.reading import Reader, Reading, Snapshot
from agent.local_jobs.holders import Holder, holders_of, lives
from agent.local_jobs.owners import NOBODY, Owner
from core.clock import Clock
from core.target import Target

PROCESSES = "gpu_job_processes"
# Who came to a GPU so soon after its trouble was there already, or ran into it.
SOON_S = 60.0
# Trouble is told of a reading late, or a few; a GPU that is shared has changes at each.
MOST_CHANGES = 64

Holders = tuple[Holder, ...]


@dataclass(slots=True)
class LocalJobs:
    """Knows who holds each GPU by its UUID; of one that no longer answers, who did.

    gpus: what was seen of them last, see ``NvmlReader.gpus``
    """

    node: str
    gpus: Callable[[], Sequence[Gpu]]
    clock: Clock
    proc: Path = Path("/proc")
    holders: Mapping[str, Holders] = field(default_factory=dict)
    _changes: dict[str, deque[tuple[float, Holders]]] = field(default_factory=dict)

    def look(self) -> None:
        """Look who is there now; a driver in trouble no longer lists processes."""
        now: dict[str, Holders] = {}
        for gpu in self.gpus():
            found = tuple(holders_of(self.proc, (each.pid for each in gpu.processes)))
            if gpu.trouble:
                found = tuple(h for h in self.holders.get(gpu.uuid, ()) if lives(self.proc, h))
            now[gpu.uuid] = found
            self._note(gpu.uuid, found)
        self.holders = now

    def all(self) -> Holders:
        """Return every process that holds a GPU, as of the last look."""
        return tuple(holder for holders in self.holders.values() for holder in holders)

    def hit(self, gpu: str) -> str:
        """Return the end of a sentence on a GPU: whom its trouble hits now, each job once."""
        first = _first_of_each(self.holders.get(gpu, ()))
        return f"; it hits {' and '.join(map(str, first.values()))}" if first else ""

    def hit_at(self, gpu: str, time_s: float) -> str:
        """Return the jobs that trouble at a moment hit, each once; "" for none.

        A fault soon ends the processes that it hits: these were seen at the last look before it,
        or, where nobody was, at the first after it.
        """
        first = _first_of_each(self._held(gpu, time_s))
        return " and ".join(each.job for owner, each in first.items() if owner != NOBODY)

    def readings(self) -> Iterator[Reading]:
        """Yield the number of processes of each job on each GPU, as of the last look."""
        counts = Counter(
            (gpu, holder.owner.scheduler.value, holder.owner.job, holder.user)
            for gpu, holders in self.holders.items()
            for holder in holders
        )
        for (gpu, scheduler, job, user), count in sorted(counts.items()):
            labels = (("scheduler", scheduler), ("job_id", job), ("user", user))
            yield Reading(PROCESSES, Target(node=self.node, gpu=gpu), float(count), labels)

    def _note(self, gpu: str, found: Holders) -> None:
        changes = self._changes.setdefault(gpu, deque(maxlen=MOST_CHANGES))
        if not changes or changes[-1][1] != found:
            changes.append((self.clock.now_s(), found))

    def _held(self, gpu: str, time_s: float) -> Holders:
        before: Holders = ()
        for since_s, holders in tuple(self._changes.get(gpu, ())):
            if since_s > time_s and (before or since_s > time_s + SOON_S):
                break
            before = holders
        return before


@dataclass(frozen=True, slots=True)
class GpusWithJobs:
    """Reads the GPUs, and right after that whose processes are on them, before they end."""

    nvml: Reader
    jobs: LocalJobs

    @property
    def name(self) -> str:
        """Return the name in messages."""
        return self.nvml.name

    def snapshot(self) -> Snapshot:
        """Read both once."""
        found = self.nvml.snapshot()
        self.jobs.look()
        return replace(found, readings=(*found.readings, *self.jobs.readings()))


def _first_of_each(holders: Holders) -> dict[Owner, Holder]:
    first: dict[Owner, Holder] = {}
    for holder in holders:
        first.setdefault(replace(holder.owner, part=""), holder)
    return first
