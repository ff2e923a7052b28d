"""Whether the trainings on this machine get on: stands, no numbers, late data, a late rank."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from agent.checks.check import Finding, State, counted, degraded, state_of, unhealthy
from agent.checks.recent import Growth
from agent.progress.paces import Pace, Paces
from agent.progress.records import Record
from core.clock import Clock
from detectors.words import duration

# Without the job's history, which the controller's detectors learn: long stalls of first saves and
# compilations are some minutes, and NVRx gives an unlearned section five times its time over.
STANDS_S, STANDS_STEPS = 300.0, 10.0
# Share of a step that waiting for data may take, and by how much a rank may be over the others of
# this machine. Coarse on purpose: the controller's detectors learn what is usual and find 10 %.
WAITS, LATE = 0.3, 0.2
LEAST_RANKS = 3
Ranked = tuple[Record, Pace]


@dataclass(frozen=True, slots=True)
class Progress:
    """Judges each job by what its ranks on this machine wrote."""

    look: Callable[[], tuple[Record, ...]]
    clock: Clock
    name: str = "progress"
    deadline_s: float = 5.0
    _no_numbers: Growth = field(default_factory=Growth)
    _paces: Paces = field(default_factory=Paces)

    def run(self) -> State:
        """Read the records now."""
        jobs: dict[str, list[Ranked]] = {}
        for record, pace in self._paces.of(self.look()):
            jobs.setdefault(record.job, []).append((record, pace))
        findings = [found for job, ranks in jobs.items() for found in self._of(job, ranks)]
        said = [f"job {job} at step {max(r.step for r, _ in of)}" for job, of in jobs.items()]
        fine = ", ".join(said[:4]) or "no training here tells of its progress"
        return state_of(self.name, findings, fine=fine)

    def _of(self, job: str, ranks: Sequence[Ranked]) -> Iterator[Finding]:
        yield from self._stands(job, ranks)
        now_s = self.clock.monotonic_s()
        grown = [
            r for r, _ in ranks if self._no_numbers.of((job, r.rank, r.pid), r.nan_steps, now_s)
        ]
        if grown:
            reason = f"job {job}: loss or gradient was no number in {_named(grown)}"
            yield unhealthy(reason, "Go back to a checkpoint from before; see its data and rate.")
        step_s, data_s = _middle(p.step_s for _, p in ranks), _middle(p.data_s for _, p in ranks)
        if step_s > 0 and data_s >= WAITS * step_s:
            reason = f"job {job} waits for data for {data_s / step_s:.0%} of its steps"
            yield degraded(reason, "Give it more loader processes, or look at the file system.")
        yield from _late(job, ranks)

    def _stands(self, job: str, ranks: Sequence[Ranked]) -> Iterator[Finding]:
        """Yield a job whose ranks here have all stood for too long, and who is behind."""
        newest, pace = max(ranks, key=lambda rank: rank[0].at_s)
        stood_s = self.clock.now_s() - newest.at_s
        if newest.step >= 0 and stood_s >= max(STANDS_S, STANDS_STEPS * pace.step_s):
            reason = f"job {job} stands at step {newest.step} for {duration(stood_s)}"
            behind = [rank for rank, _ in ranks if rank.step < newest.step]
            if behind:
                reason += f", {_named(behind)} at step {min(rank.step for rank in behind)}"
            yield unhealthy(
                reason, "See where: `py-spy dump --pid PID` of the rank that is behind."
            )


def _late(job: str, ranks: Sequence[Ranked]) -> Iterator[Finding]:
    usual = _middle(pace.own_s for _, pace in ranks)
    late = [(rank, pace) for rank, pace in ranks if pace.own_s > (1 + LATE) * usual > 0]
    if len(ranks) >= LEAST_RANKS and 0 < len(late) <= len(ranks) // 3:
        slowest = max(pace.own_s for _, pace in late)
        reason = f"job {job}: {_named([r for r, _ in late])} computes {slowest:.3g} s a step"
        remedy = "Look at its GPU's clocks, temperature and processes: `nvidia-smi -q`."
        yield degraded(f"{reason}, the others {usual:.3g} s", remedy)


def _middle(values: Iterable[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return median(known) if known else math.nan


def _named(ranks: Sequence[Record]) -> str:
    listed = ", ".join(str(rank.rank) for rank in ranks[:4])
    return f"rank {listed}" if len(ranks) <= 4 else f"{counted(len(ranks), 'rank')}"
