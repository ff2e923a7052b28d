"""Compile the detectors' and forecasters' kernels before they are needed; then they are kept."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from core.target import Target
from core.types import Floats, Window
from detectors.anomaly.detector import AnomalyDetector
from detectors.compiled import kept_in
from detectors.forecast.fleet import forecast
from detectors.forecast.task import ForecastTask, Model

_METRIC = "node_memory_used_ratio"
_LIMIT = 0.9
_READINGS = 480
_STEP_S = 60.0


def warm(tell: Callable[[str], None] = lambda line: None) -> None:
    """Compile every kernel, where that has not been done; ``tell`` is told before it takes long.

    Call it before several processes start, or each of them would compile the same.
    """
    folder = kept_in()
    mark = folder / f"warm-{_sources()}" if folder else None
    if mark is None or mark.exists():
        return
    tell("Compiling the detectors, once for this version: half a minute.")
    time_s, value = _readings()
    targets = tuple(Target(node=f"node-{row}") for row in range(len(value)))
    for model in (Model.POOL, Model.FLEET_PROPHET):
        for seen in (value, value.astype(np.float32)):
            forecast(
                ForecastTask(_METRIC, targets, time_s, seen, 7200.0, limit=_LIMIT, model=model)
            )
    detector = AnomalyDetector()
    window = Window(_METRIC, targets, time_s, value)
    detector.look({_METRIC: window}, topology=None, now_s=float(time_s[-1]))
    mark.touch()


def _sources() -> str:
    """Return a checksum of all files with kernels: what was compiled of others is old."""
    total = sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        text = path.read_bytes()
        if b"@compiled" in text:
            total.update(text)
    return total.hexdigest()[:12]


def _readings() -> tuple[Floats, Floats]:
    """Return ramps that near the limit, one with gaps."""
    time_s = _STEP_S * np.arange(_READINGS, dtype=np.float64)
    noise = np.random.default_rng(0).normal(0, 0.005, (3, _READINGS))
    value = np.linspace(0.4, 0.85, _READINGS) + noise
    value[1, 50:60] = np.nan
    value[2] = 0.5
    return time_s, value
