"""What telling its progress costs a training: a step, and the start."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from agent.launch.jobside.gpumedic_job.progress import FOLDER_ENV, SHARED_MEMORY, Progress
from core.figures import Row, at_most

STEP_GOAL_US = 20.0
AT_ONCE = 200  # steps between two looks at the clock


def progress_rows(*, quick: bool = False) -> tuple[Row, ...]:
    """Measure steps in memory, with loss and waits told, as a training tells them."""
    before = os.environ.get(FOLDER_ENV)
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        os.environ[FOLDER_ENV] = folder
        try:
            return _measured(Path(folder), rounds=100 if quick else 1000)
        finally:
            if before is None:
                del os.environ[FOLDER_ENV]
            else:
                os.environ[FOLDER_ENV] = before


def _measured(folder: Path, *, rounds: int) -> tuple[Row, ...]:
    began_s = time.perf_counter()
    progress = Progress("bench")
    first_us = 1e6 * (time.perf_counter() - began_s)
    took_us = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        for step in range(AT_ONCE):
            progress.step(step, loss=2.5, grad_norm=1.0, data_wait_s=0.01, comm_wait_s=0.02)
        took_us.append(1e6 * (time.perf_counter() - began_s) / AT_ONCE)
    took_us.sort()
    written = sum(file.stat().st_size for file in folder.iterdir())
    note = f"median of {rounds} times {AT_ONCE} steps; low and high: 5th and 95th hundredth of them"
    return (
        at_most(
            "step_us",
            statistics.median(took_us),
            STEP_GOAL_US,
            unit="us",
            low=took_us[rounds // 20],
            high=took_us[-rounds // 20],
            n=rounds * AT_ONCE,
            note=note,
        ),
        Row("begin_us", first_us, "us", note="opening and locking the record, once a rank"),
        Row("record_bytes", float(written), "B", note="in memory, a rank"),
    )
