"""Energy as the controller shows it: what each job has used, and what would use less."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from agent.energy.saving import Card, Saving, cheapest, cooling
from agent.energy.used import Bill, EnergyUsed, Rates
from agent.history import History
from core.cluster import ClusterState, JobPhase, JobState

POWER, WARMTH = "gpu_power_watts", "gpu_temperature_celsius"
# Readings older than this say nothing about now.
NEW_S = 120.0


@dataclass(frozen=True, slots=True)
class JobEnergy:
    """One job's energy; ``saving`` is None where nothing would save, or too little is known."""

    bill: Bill
    saving: Saving | None


@dataclass(slots=True)
class EnergyWatch:
    """Adds up power at every cycle and looks for what would take less.

    most_slowdown: how much longer a step may take for it
    """

    history: History
    rates: Rates
    most_slowdown: float
    used: EnergyUsed = field(default_factory=EnergyUsed)
    jobs: tuple[JobEnergy, ...] = ()

    def note(self, state: ClusterState | None, now_s: float) -> None:
        """Add what was read since the last time."""
        if state is None:
            return
        power = self.history.window(POWER, start_s=self.used.since(now_s), end_s=now_s)
        self.used.note(state, power, now_s=now_s)
        warmth = self._warmest(now_s)
        self.jobs = tuple(
            JobEnergy(bill, self._saving(state, bill, warmth))
            for bill in self.used.bills(self.rates)
        )

    def _saving(
        self, state: ClusterState, bill: Bill, warmth: Mapping[str, float]
    ) -> Saving | None:
        job = state.job(bill.job)
        if job is None or job.phase is not JobPhase.RUNNING or not bill.watts or not job.gpus:
            return None
        if _held(state, job):
            return None  # what it draws at full clock is not known
        card = Card(bill.watts / job.gpus, host_watts=self.rates.host_watts)
        celsius = max((warmth.get(name, math.nan) for name in job.nodes), default=math.nan)
        return cooling(card, celsius) or cheapest(card, most_slowdown=self.most_slowdown)

    def _warmest(self, now_s: float) -> Mapping[str, float]:
        """Return the temperature of each node's warmest GPU, degC."""
        window = self.history.window(WARMTH, start_s=now_s - NEW_S, end_s=now_s)
        warmest: dict[str, float] = {}
        for target, values in zip(window.targets, window.value, strict=True):
            known = values[~np.isnan(values)]
            if known.size:
                warmest[target.node] = max(warmest.get(target.node, -math.inf), float(known[-1]))
        return warmest


def _held(state: ClusterState, job: JobState) -> bool:
    nodes = (state.node(name) for name in job.nodes)
    return any(node and (node.power_watts is not None or node.clocks < 1.0) for node in nodes)
