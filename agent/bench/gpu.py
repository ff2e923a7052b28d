"""The fleet's Prophet on a GPU, where there is one: speed, and against reading the data once."""

import json
import os
import subprocess
import sys

from agent.bench.fleet_child import STEPS_AHEAD
from agent.bench.gpu_child import Measured
from core.figures import Row

_NAMES = (("gpu_series_per_s", "1/s"), ("gpu_ratio_of_bandwidth", "ratio"))


def gpu_rows() -> tuple[Row, ...]:
    """Return the rows, without figures where there is no GPU. Wall clock: a GPU has no CPU time."""
    done = subprocess.run(
        [sys.executable, "-m", "agent.bench.gpu_child"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    if found is None:
        return tuple(Row(name, None, unit, note="no GPU on this machine") for name, unit in _NAMES)
    measured = Measured(**found)
    size = f"{measured.gpu}: {measured.series} x {measured.points} readings that lie there"
    both = measured.series / (measured.fit_s + measured.predict_s)
    # A copy reads and writes each reading once; a fit has to read it once.
    ratio = 0.5 * measured.copy_s / measured.fit_s
    notes = (
        f"{size}; fit and {STEPS_AHEAD} steps with an interval, answer in memory; wall clock",
        f"{size}; time to read all of them once, from a copy, over the fit's; wall clock",
    )
    return tuple(
        Row(name, value, unit, note=note)
        for (name, unit), value, note in zip(_NAMES, (both, ratio), notes, strict=True)
    )
