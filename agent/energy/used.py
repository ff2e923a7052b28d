"""Energy that each job has used, added up from its GPUs' power at every cycle.

Power of a node's GPUs (W) x time (s) -> joules, shared among the node's jobs by their GPUs there
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from core.cluster import ClusterState, JobPhase, JobState
from core.types import Floats, Window
from detectors.detector import Array, names

log = structlog.get_logger()

# Ended jobs are kept so long as there is room for them: the newest stay.
MOST_JOBS = 2000
# Over a longer gap nobody knows which job ran where.
MOST_GAP_S = 900.0
JOULES_PER_KWH = 3.6e6
_ON_GPUS = (JobPhase.RUNNING, JobPhase.STARTING)


@dataclass(frozen=True, slots=True)
class Rates:
    """What energy costs; 0 where it is not known.

    host_watts: what a host draws for each of its GPUs, whatever these do
    overhead:   energy drawn in all for one that the machines draw, such as by cooling
    """

    price_per_kwh: float = 0.0
    currency: str = "EUR"
    co2_g_per_kwh: float = 0.0
    host_watts: float = 0.0
    overhead: float = 1.0


@dataclass(slots=True)
class Used:
    """One job: joules of its GPUs, over so many seconds of one GPU; ``watts`` of all of them now.

    missing_s: seconds of one GPU whose power nobody read; they are in no sum
    """

    since_s: float
    until_s: float
    joules: float = 0.0
    gpu_s: float = 0.0
    missing_s: float = 0.0
    watts: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """A job's energy as people count it; cost and CO2 are None where the rate is not known."""

    job: str
    since_s: float
    until_s: float
    watts: float
    kwh: float
    cost: float | None
    currency: str
    co2_g: float | None
    measured_ratio: float


@dataclass(slots=True)
class EnergyUsed:
    """The account of all jobs."""

    jobs: dict[str, Used] = field(default_factory=dict)
    until_s: float = math.nan

    def since(self, now_s: float) -> float:
        """Return from when on readings are still to be added; never a longer gap than allowed."""
        known = not math.isnan(self.until_s) and 0 <= now_s - self.until_s <= MOST_GAP_S
        return self.until_s if known else now_s

    def note(self, state: ClusterState, power: Window, *, now_s: float) -> None:
        """Add readings of ``gpu_power_watts``, (S, T), of the time after the last call."""
        since_s, self.until_s = self.since(now_s), now_s
        new = power.time_s > since_s
        step_s = (now_s - since_s) / max(int(new.sum()), 1)
        nodes, watts, read = _by_node(power, new)
        running = [job for job in state.jobs if job.phase in _ON_GPUS and job.nodes]
        shares = _shares(running)
        for job in running:
            mine = self.jobs.setdefault(job.id, Used(now_s, now_s))
            mine.until_s, mine.watts = now_s, 0.0
            for name in job.nodes:
                gpus = job.gpus / len(job.nodes)
                at = nodes.get(name)
                share = shares[job.id, name]
                mine.gpu_s += gpus * (now_s - since_s)
                if at is None or not new.any():
                    mine.missing_s += gpus * (now_s - since_s)
                    continue
                mine.joules += share * float(watts[at].sum()) * step_s
                mine.missing_s += gpus * (1.0 - float(read[at].mean())) * (now_s - since_s)
                seen = max(int((read[at] > 0).sum()), 1)
                mine.watts += share * float(watts[at].sum()) / seen
        self._forget(running)

    def bills(self, rates: Rates) -> tuple[Bill, ...]:
        """Return what each job has used, most first."""
        made = (_bill(job, used, rates) for job, used in self.jobs.items())
        return tuple(sorted(made, key=lambda bill: -bill.kwh))

    def state(self) -> Mapping[str, Array]:
        """Return the account as plain arrays."""
        rows = [
            (u.since_s, u.until_s, u.joules, u.gpu_s, u.missing_s, u.watts)
            for u in self.jobs.values()
        ]
        return {
            "job": names(list(self.jobs)),
            "used": np.array(rows, dtype=np.float64).reshape(-1, 6),
            "until_s": np.array([self.until_s]),
        }

    @classmethod
    def remembering(cls, state: Mapping[str, Array]) -> "EnergyUsed":
        """Take up what ``state`` returned; what does not fit is said, and begun anew."""
        try:
            if not state:
                return cls()
            rows = zip(state["job"].tolist(), state["used"].tolist(), strict=True)
            return cls({str(job): Used(*row) for job, row in rows}, float(state["until_s"][0]))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("what was learned is lost", part="energy", problem=str(error))
            return cls()

    def _forget(self, running: Iterable[JobState]) -> None:
        on = {job.id for job in running}
        for name, used in self.jobs.items():
            if name not in on:
                used.watts = 0.0
        ended = sorted((u.until_s, name) for name, u in self.jobs.items() if name not in on)
        for _, name in ended[: max(0, len(self.jobs) - MOST_JOBS)]:
            del self.jobs[name]


def _by_node(power: Window, new: Array) -> tuple[Mapping[str, int], Floats, Floats]:
    """Return nodes by row, their GPUs' power (N, T), and the share of GPUs that was read (N, T)."""
    nodes = {name: row for row, name in enumerate(dict.fromkeys(t.node for t in power.targets))}
    row = np.array([nodes[target.node] for target in power.targets], dtype=np.int64)
    value = power.value[:, new]
    watts, read = np.zeros((len(nodes), value.shape[1])), np.zeros((len(nodes), value.shape[1]))
    np.add.at(watts, row, np.nan_to_num(value))
    np.add.at(read, row, ~np.isnan(value))
    count = np.bincount(row, minlength=len(nodes))[:, None]
    return nodes, watts, read / np.maximum(count, 1)


def _shares(running: Iterable[JobState]) -> Mapping[tuple[str, str], float]:
    """Return which share of the GPUs in use on a node is a job's."""
    on: dict[str, float] = {}
    jobs = list(running)
    for job in jobs:
        for name in job.nodes:
            on[name] = on.get(name, 0.0) + job.gpus / len(job.nodes)
    return {
        (job.id, name): job.gpus / len(job.nodes) / on[name] if on[name] else 0.0
        for job in jobs
        for name in job.nodes
    }


def _bill(job: str, used: Used, rates: Rates) -> Bill:
    measured_s = used.gpu_s - used.missing_s
    kwh = (used.joules + rates.host_watts * measured_s) * rates.overhead / JOULES_PER_KWH
    return Bill(
        job=job,
        since_s=used.since_s,
        until_s=used.until_s,
        watts=used.watts,
        kwh=kwh,
        cost=kwh * rates.price_per_kwh if rates.price_per_kwh else None,
        currency=rates.currency,
        co2_g=kwh * rates.co2_g_per_kwh if rates.co2_g_per_kwh else None,
        measured_ratio=measured_s / used.gpu_s if used.gpu_s else 0.0,
    )
