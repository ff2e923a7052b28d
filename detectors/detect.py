"""Every detector, made from one set of settings, and the readings they may go by."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from core.types import Window
from core.units import CATALOG
from detectors.anomaly.detector import AnomalyDetector, AnomalySettings
from detectors.detector import Detector
from detectors.faults.hard_faults import HardFaults
from detectors.peer import Peers
from detectors.progress.hang import Hangs
from detectors.progress.lateness import Lateness
from detectors.progress.loss import Losses
from detectors.progress.slowdown import Slowdowns
from detectors.progress.straggler import Stragglers
from detectors.silence import Silence
from detectors.static import StaticLimits


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """How sensitive the detectors are.

    limits:          metric -> static limit over the catalogue's; NaN switches one off
    hold_s:          how long a limit must be exceeded before it is said
    release_ratio:   share of the limit a reading must be back inside of it to end the excess
    silence_after_s: how long a target may say nothing
    event_span_s:    how old an event of the counter rules may be; a few cycles
    peer_span_s:     what a series is compared by: the median of its last seconds
    peer_sigmas:     how far from its peers it must be; 5 leaves 1 in 3 million to chance
    false_alarms_per_day: readings out of the ordinary that are said of a healthy series and day
    """

    limits: Mapping[str, float] = field(default_factory=dict)
    hold_s: float = 30.0
    release_ratio: float = 0.02
    silence_after_s: float = 120.0
    event_span_s: float = 120.0
    peer_span_s: float = 120.0
    peer_sigmas: float = 5.0
    false_alarms_per_day: float = 0.01


def detectors(settings: DetectSettings) -> Mapping[str, Detector]:
    """Return every detector by name, new: those that learn know nothing yet."""
    fresh_s = settings.silence_after_s
    return {
        "static": StaticLimits(settings.limits, settings.hold_s, settings.release_ratio, fresh_s),
        "silence": Silence(fresh_s),
        "faults": HardFaults(settings.event_span_s, fresh_s),
        "peer": Peers(settings.peer_span_s, settings.peer_sigmas),
        "hang": Hangs(),
        "straggler": Stragglers(),
        "slowdown": Slowdowns(),
        "loss": Losses(),
        "lateness": Lateness(),
        "anomaly": AnomalyDetector(AnomalySettings(settings.false_alarms_per_day)),
    }


def plausible(windows: Mapping[str, Window]) -> Mapping[str, Window]:
    """Return what a detector may go by.

    Metrics that the catalogue does not have are left out, and readings outside of what it takes for
    plausible become NaN: those are the source's fault and no news of the target.
    """
    return {name: _plausible(window) for name, window in windows.items() if name in CATALOG}


def _plausible(window: Window) -> Window:
    metric, value = CATALOG[window.metric], window.value
    wrong = (value < metric.low) | (value > metric.high) | np.isinf(value)
    if not wrong.any():
        return window
    return replace(window, value=np.where(wrong, np.nan, value))
