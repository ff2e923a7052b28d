"""The rules that early warnings are held against, each a score of every decision.

A score rises with the danger; what it means beyond that is the method's own affair, as every method
gets the threshold that keeps the same false alarms on development series.
"""

from collections.abc import Callable, Mapping
from statistics import NormalDist

import numpy as np

from agent.evaluations.warning_learning import MINUTE_S, features_of, urgencies
from agent.evaluations.warning_sets import Watched
from core.types import Floats
from detectors.forecast.prophet.fleet import FleetProphet
from detectors.forecast.risk import shipped

OURS = "ours"
# Prophet sees 8 hours of minutes, its forecast is read every 15 minutes of the next 2 hours.
PROPHET_MIN = 480
READ_MIN = 15
AHEAD_MIN = 120
RULE_AHEAD_MIN = 240
COVERAGE = 0.8
MIN_READINGS = 15

Progress = Callable[[str, int, int], None]


def method_scores(watched: Watched, progress: Progress) -> Mapping[str, Floats]:
    """Return (S, G) scores of every method; -inf where a method has nothing to say."""
    found = dict(quick_scores(watched))
    four, four_sigma = _line(watched, 240)
    plain, _ = _prophet(watched, ar=False, progress=progress)
    fading, sigma = _prophet(watched, ar=True, progress=progress)
    limit = watched.limit[:, None]
    found["fleet_prophet"] = (plain - limit) / np.maximum(np.abs(limit), 1e-9)
    found["agreement"] = np.minimum((four - limit) / four_sigma, (fading - limit) / sigma)
    return {name: np.nan_to_num(score, nan=-np.inf) for name, score in found.items()}


def quick_scores(watched: Watched) -> Mapping[str, Floats]:
    """Return those of the methods that take no fit: levels, lines, and ours."""
    level = watched.value[:, watched.at]
    hour, _ = _line(watched, 60)
    rule, _ = _line(watched, 60, ahead=RULE_AHEAD_MIN)
    four, _ = _line(watched, 240)
    limit = watched.limit[:, None]
    scale = np.maximum(np.abs(limit), 1e-9)
    found = {
        "static": (level - limit) / scale,
        "standard_rule": (rule - limit) / scale,
        "predict_linear_1h": (hour - limit) / scale,
        "predict_linear_4h": (four - limit) / scale,
        OURS: urgencies(shipped(), features_of(watched)),
    }
    return {name: np.nan_to_num(score, nan=-np.inf) for name, score in found.items()}


def _line(watched: Watched, span: int, *, ahead: int = AHEAD_MIN) -> tuple[Floats, Floats]:
    """Return (S, G) where the least-squares line of the last minutes leads, and its sigma there."""
    led, unsure = [], []
    for at in watched.at:
        y = watched.value[:, max(0, at - span + 1) : at + 1]
        t = np.arange(y.shape[1]) - (y.shape[1] - 1.0)
        known = np.isfinite(y)
        n = np.maximum(known.sum(axis=1), 1)
        mean_t = (known * t).sum(axis=1) / n
        mean_y = np.where(known, y, 0.0).sum(axis=1) / n
        from_t = np.where(known, t - mean_t[:, None], 0.0)
        from_y = np.where(known, y - mean_y[:, None], 0.0)
        spread = np.maximum((from_t**2).sum(axis=1), 1e-9)
        slope = (from_t * from_y).sum(axis=1) / spread
        left = ((from_y - slope[:, None] * from_t) ** 2).sum(axis=1) / np.maximum(n - 2, 1)
        away = ahead - mean_t
        led.append(np.where(n >= MIN_READINGS, mean_y + slope * away, np.nan))
        unsure.append(np.sqrt(left * (1 + 1 / n + away**2 / spread)) + 1e-9)
    return np.stack(led, axis=1), np.stack(unsure, axis=1)


def _prophet(watched: Watched, *, ar: bool, progress: Progress) -> tuple[Floats, Floats]:
    """Return (S, G) the highest median within two hours, and the sigma there.

    A series whose median crosses later than another's crosses by less, so height ranks them.
    """
    engine = FleetProphet(ar=ar)
    sigmas = NormalDist().inv_cdf((1 + COVERAGE) / 2)
    highest, unsure = [], []
    for done, at in enumerate(watched.at):
        first = max(0, at - PROPHET_MIN + 1)
        time_s = np.arange(first, at + 1) * MINUTE_S
        fit = engine.fit(time_s, watched.value[:, first : at + 1])
        made = fit.predict(AHEAD_MIN * MINUTE_S, READ_MIN * MINUTE_S, coverage=COVERAGE)
        peak = np.argmax(np.where(np.isfinite(made.mean), made.mean, -np.inf), axis=1)
        row = np.arange(len(peak))
        highest.append(made.mean[row, peak])
        half = made.upper[row, peak] - made.mean[row, peak]
        unsure.append(np.maximum(half, 1e-9) / sigmas)
        progress(f"prophet on {watched.name}", done + 1 + ar * len(watched.at), 2 * len(watched.at))
    return np.stack(highest, axis=1), np.stack(unsure, axis=1)
