"""What a step of each rank takes of late, and where its time goes."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.progress.records import Record


@dataclass(frozen=True, slots=True)
class Pace:
    """Means a step, in seconds: all of it, waiting for data, in collectives; NaN: not known."""

    step_s: float = math.nan
    data_s: float = math.nan
    comm_s: float = math.nan

    @property
    def own_s(self) -> float:
        """Return what the rank itself takes, without waiting."""
        return max(0.0, self.step_s - self.data_s - self.comm_s)


@dataclass(slots=True)
class Paces:
    """Means over the steps between two looks; at the first look, over all since the start."""

    _before: dict[tuple[str, int, int], tuple[Record, Pace]] = field(default_factory=dict)

    def of(self, records: Iterable[Record]) -> list[tuple[Record, Pace]]:
        """Return each record with its pace; where no step was made, that of before."""
        before, self._before = self._before, {}
        for record in records:
            key = (record.job, record.rank, record.pid)
            old, pace = before.get(key, (None, Pace()))
            self._before[key] = (record, _pace(record, old) or pace)
        return list(self._before.values())


def _pace(record: Record, old: Record | None) -> Pace | None:
    steps = record.steps - (old.steps if old else 0)
    if steps <= 0:
        return None
    now = (record.step_s, record.data_s, record.comm_s)
    then = (old.step_s, old.data_s, old.comm_s) if old else (0.0, 0.0, 0.0)
    return Pace(*((new - past) / steps for new, past in zip(now, then, strict=True)))
