"""Replays the recent past: what would each member have said, and what came.

Every number comes from the window itself, so nothing has to be kept between forecasts.
"""

from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from detectors.forecast import members

ORIGINS = 6
# Origins lie in the newer half of a window, at most a day back: older errors say less.
SPAN_SHARE = 0.5
SPAN_S = 86_400.0
# The newest origin; each further one lies as many times as far back as the one before, so that a
# series that began half an hour ago is tested too.
NEAREST_S = 900.0
NEAREST_STEPS = 3
MAX_LEADS = 16


@dataclass(frozen=True, slots=True, eq=False)
class BackTest:
    """Forecasts from K earlier origins.

    lead_s:   (L,) after the origin
    expected: (K, M, S, L) by each member
    actual:   (K, S, L) NaN where not read or still to come
    """

    lead_s: Floats
    expected: Floats
    actual: Floats


def back_test(value: Floats, step_s: float, horizon_s: float) -> BackTest:
    """Forecast from earlier origins of (S, T) readings; K is 0 where the window is too short."""
    length = value.shape[1]
    steps = lead_steps(step_s, horizon_s)
    lead_s: Floats = steps * np.float64(step_s)
    back = origins(length, step_s)
    series = len(value)
    expected = np.full((len(back), len(members.NAMES), series, len(steps)), np.nan)
    actual = np.full((len(back), series, len(steps)), np.nan)
    for place, count in enumerate(back):
        end = length - int(count)
        expected[place] = members.expected(value[:, :end], step_s, lead_s)
        come = steps <= count
        actual[place][:, come] = value[:, end - 1 + steps[come]]
    return BackTest(lead_s, expected, actual)


def origins(length: int, step_s: float) -> Ints:
    """Return (K,) how many columns before the newest each origin lies."""
    span = min(length * SPAN_SHARE, SPAN_S / step_s)
    nearest = min(max(NEAREST_S / step_s, NEAREST_STEPS), span)
    back = np.unique(np.rint(np.geomspace(nearest, span, ORIGINS)).astype(np.int64))
    return back[(back >= 1) & (length - back >= 2)]


def lead_steps(step_s: float, horizon_s: float) -> Ints:
    """Return (L,) leads to test, in columns: evenly spread up to the horizon."""
    most = max(1, round(horizon_s / step_s))
    count = min(most, MAX_LEADS)
    return np.unique(np.rint(np.arange(1, count + 1) * most / count).astype(np.int64))
