"""The progress of the trainings on this machine as readings, for Prometheus and the controller."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agent.collect.reading import Reading, Snapshot
from agent.progress.paces import Pace, Paces
from agent.progress.records import Record
from core.clock import Clock
from core.target import Target


@dataclass(slots=True)
class ProgressReader:
    """Reads what ranks wrote; times are means over the steps since the last look.

    What is one a job (steps, loss, checkpoint) is told by the node of its rank 0 alone: two nodes
    would give one series two values.
    """

    node: str
    look: Callable[[], tuple[Record, ...]]
    clock: Clock
    name: str = "progress"
    _paces: Paces = field(default_factory=Paces)

    def snapshot(self) -> Snapshot:
        """Read every record once."""
        paced = self._paces.of(self.look())
        return Snapshot(tuple(reading for each in paced for reading in self._of(*each)))

    def _of(self, record: Record, pace: Pace) -> Iterator[Reading]:
        if record.rank == 0:
            yield from _of_job(record, pace.step_s, self.clock.now_s())
        if math.isfinite(pace.step_s):
            target = record.target(self.node)
            yield Reading("rank_step_time_s", target, pace.own_s)
            yield Reading("rank_data_wait_s", target, pace.data_s)
            if record.comm_s:
                yield Reading("rank_collective_time_s", target, pace.comm_s)


def _of_job(record: Record, step_s: float, now_s: float) -> Iterator[Reading]:
    target = Target(job=record.job)
    if record.step >= 0:
        yield Reading("job_steps_total", target, record.step + 1.0)
    if math.isfinite(step_s):
        yield Reading("job_step_time_s", target, step_s)
    if math.isfinite(record.loss):
        yield Reading("job_loss", target, record.loss)
    if math.isfinite(record.grad_norm):
        yield Reading("job_grad_norm", target, record.grad_norm)
    yield Reading("job_nan_steps_total", target, float(record.nan_steps))
    if record.saved_s:
        yield Reading("job_checkpoint_age_s", target, max(0.0, now_s - record.saved_s))
