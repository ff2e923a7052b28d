"""How many GPUs jobs want: noted at every cycle, forecast at every refit.

What jobs that run and wait want -> two weeks of five-minute steps -> quantiles 15 to 60 min ahead
A service counts as the job that it is to the scheduler, with the GPUs of all its replicas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import structlog

from agent.view import DemandView
from core.cluster import ClusterState, JobPhase, NodeCondition
from core.types import Floats
from detectors.detector import Array
from detectors.forecast.demand import Wanted, demand

log = structlog.get_logger()

STEP_S = 300.0
# Two weeks: a weekday has come twice.
STEPS = 14 * 288
# What the page shows of the past, in steps: six hours.
SHOWN = 72
WANTING = (JobPhase.PENDING, JobPhase.STARTING, JobPhase.RUNNING)


def wanted(state: ClusterState) -> float:
    """Return the GPUs of all jobs that run, start or wait."""
    return float(sum(job.gpus for job in state.jobs if job.phase in WANTING))


def in_service(state: ClusterState) -> int:
    """Return the GPUs of all nodes that are ready or have a job."""
    shape = state.topology
    names = {node.name for node in state.nodes if node.condition is NodeCondition.READY}
    names.update(name for job in state.jobs if job.phase in WANTING for name in job.nodes)
    count = np.bincount(shape.gpu_node, minlength=len(shape.nodes))
    return int(sum(count[shape.node_index[name]] for name in names if name in shape.node_index))


@dataclass(slots=True)
class GpusWanted:
    """The history of what is wanted; ``ahead`` says what will be."""

    _gpus: Floats = field(default_factory=lambda: np.full(STEPS, np.nan))
    _number: int = 0
    _state: ClusterState | None = None

    def note(self, state: ClusterState | None) -> None:
        """Take the newest look at the cluster; a step keeps its last."""
        self._state = state
        if state is None:
            return
        number = int(state.observed_s // STEP_S)
        if number != self._number:
            # Where the clock was set back, what lies ahead of it now is forgotten.
            moved, on = np.full(STEPS, np.nan), number - self._number
            if 0 < on < STEPS:
                moved[:-on] = self._gpus[on:]
            elif -STEPS < on < 0:
                moved[-on:] = self._gpus[:on]
            self._gpus, self._number = moved, number
        self._gpus[-1] = wanted(state)

    def ahead(self) -> DemandView | None:
        """Return what will be wanted; None where no scheduler answers or too little was seen."""
        known = np.flatnonzero(np.isfinite(self._gpus))
        if self._state is None or len(known) < 2:
            return None
        gpus = self._gpus[known[0] :]
        time_s = STEP_S * (self._number + 1 - np.arange(float(len(gpus)), 0.0, -1.0))
        seen, have = demand(Wanted(time_s, gpus[None])), in_service(self._state)
        sure = np.flatnonzero(np.isfinite(seen.gpus[0]).all(axis=1))
        if not len(sure):
            return None
        return DemandView(
            made_at_s=self._state.observed_s,
            wanted=float(gpus[-1]),
            have=have,
            history_time_s=time_s[-SHOWN:],
            history_gpus=gpus[-SHOWN:],
            lead_s=tuple(seen.lead_s[lead] for lead in sure),
            level=seen.level,
            gpus=seen.gpus[0, sure],
            to_add=seen.to_add(np.array([float(have)]), level=seen.level[-1])[0, sure],
        )

    def state(self) -> Mapping[str, Array]:
        """Return the history as plain arrays."""
        return {"gpus": self._gpus, "number": np.array([self._number])}

    @classmethod
    def remembering(cls, state: Mapping[str, Array]) -> "GpusWanted":
        """Take up what ``state`` returned; a history that does not fit is said, and begun anew."""
        if not state:
            return cls()
        try:
            gpus, number = np.asarray(state["gpus"], np.float64), int(state["number"][0])
            if gpus.shape == (STEPS,):
                return cls(gpus, number)
            problem = f"{gpus.shape} steps, expected {STEPS}"
        except (ValueError, KeyError, IndexError) as error:
            problem = str(error)
        log.warning("what was learned is lost", part="demand", problem=problem)
        return cls()
