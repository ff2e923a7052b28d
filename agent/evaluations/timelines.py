"""Recorded timelines of real jobs as the readings that their ranks would have given.

ByteDance's StragglerAnalysis (Apache-2.0; arXiv:2505.05713): the duration of each operation of some
steps of two jobs, by data-parallel replica and pipeline stage.
"""

from pathlib import Path

import numpy as np

from core.target import Target
from core.types import Ints, Window
from detectors.progress import Stragglers

COMPUTE = ("forward-compute", "backward-compute")
EVERY_S = 15.0


def timeline(recorded: Path, name: str) -> tuple[Window, Ints] | tuple[None, None]:
    """Return each rank's own seconds a step and (S,) its replica; None where it is not there."""
    from pyarrow import parquet as pq  # noqa: PLC0415

    path = recorded / "telemetry" / f"bytedance_straggler_trace_{name}.parquet"
    if not path.is_file():
        return None, None
    table = pq.read_table(path, columns=["dp_rank", "rank", "step", "optype", "duration"])
    busy = np.isin(np.array(table["optype"].to_pylist(), dtype=str), COMPUTE)
    part = {key: table[key].to_numpy()[busy] for key in ("dp_rank", "rank", "step", "duration")}
    numbers, row = np.unique(part["rank"], return_inverse=True)
    steps, column = np.unique(part["step"], return_inverse=True)
    value = np.zeros((len(numbers), len(steps)))
    np.add.at(value, (row, column), part["duration"])
    replica = np.zeros(len(numbers), dtype=np.int64)
    replica[row] = part["dp_rank"]
    targets = tuple(Target(gpu=f"GPU-{n}", job=name, rank=str(n)) for n in numbers.tolist())
    return Window(
        "rank_step_time_s", targets, EVERY_S * np.arange(len(steps), dtype=np.float64), value
    ), replica


def blamed_replicas(window: Window, replica: Ints) -> set[int]:
    """Return the replicas of the ranks blamed at any step."""
    stragglers, out = Stragglers(), set[int]()
    for column in range(len(window.time_s)):
        part = slice(0, column + 1)
        cut = Window(window.metric, window.targets, window.time_s[part], window.value[:, part])
        found = stragglers.look({window.metric: cut}, topology=None, now_s=window.time_s[column])
        blamed = {anomaly.target for anomaly in found.anomalies}
        out |= {int(replica[n]) for n, target in enumerate(window.targets) if target in blamed}
    return out
