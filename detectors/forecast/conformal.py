"""Intervals: half widths from what a series did lately.

The half widths are sums of five scales of a series, with coefficients learned on other series by
pinball loss, and scaled so that series left out fell inside as often as stated (split conformal:
Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005). Forecasts that have come
due then widen or narrow each series' own: ``detectors.forecast.matured``.
"""

from statistics import NormalDist

import numpy as np

from core.types import Floats
from detectors.forecast.averages import mean_of, spread_of
from detectors.forecast.backtest import BackTest
from detectors.forecast.combine import combined

SCALES = ("back_test", "hour_spread", "step_change", "spread", "disagreement")
HOUR_S = 3600.0
# A back-test error at a lead is averaged over leads about it: the standard deviation, in
# logarithms of the lead, of their weights.
NEIGHBOURS = 0.8
# The coverage that the shipped coefficients are for.
SHIPPED_COVERAGE = 0.8


def error_at(test: BackTest, weight: Floats, lead_s: Floats, spread: Floats) -> Floats:
    """Return (S, H) the combination's mean absolute error at each lead on earlier origins.

    weight: (S, L, M) at the test's leads; spread: (S,) stands in where nothing was tested
    Beyond the longest lead that came due the error grows with the root of the lead.
    """
    if not len(test.actual):
        return np.repeat(spread[:, None], len(lead_s), axis=1)
    made = np.stack([combined(one, weight) for one in test.expected])
    by_lead = mean_of(np.abs(made - test.actual), axis=0)
    for place in range(1, by_lead.shape[1]):
        grown = by_lead[:, place - 1] * np.sqrt(test.lead_s[place] / test.lead_s[place - 1])
        by_lead[:, place] = np.where(np.isfinite(by_lead[:, place]), by_lead[:, place], grown)
    tested = np.isfinite(by_lead).any(axis=1, keepdims=True)
    # Leads shorter than the first that came due take its error.
    first = by_lead[np.arange(len(by_lead)), np.isfinite(by_lead).argmax(axis=1)]
    by_lead = np.where(np.isfinite(by_lead), by_lead, first[:, None])
    away = np.log(lead_s[:, None] / test.lead_s) / NEIGHBOURS
    near = np.exp(-0.5 * (away**2 - (away**2).min(axis=1, keepdims=True)))
    smooth = by_lead @ (near / near.sum(axis=1, keepdims=True)).T
    return np.asarray(np.where(tested, smooth, spread[:, None]))


def youth(value: Floats, step_s: float, lead_s: Floats) -> Floats:
    """Return (S, H) what spreads and errors grow by that were seen over little time.

    As the variance of a forecast from a mean does: by one over the age, in leads. It tells on a
    series that is younger than it is asked to look ahead; with it, bands of series that began half
    an hour ago held 72 to 86 % of five data sets' readings instead of 61 to 82 % (development
    series).
    """
    known = np.isfinite(value)
    age_s = (value.shape[1] - known.argmax(axis=1)) * step_s
    return np.asarray(np.sqrt(1.0 + lead_s / age_s[:, None]))


def scales(value: Floats, step_s: float, *, error: Floats, apart: Floats, spread: Floats) -> Floats:
    """Return (F, S, H) the SCALES in the reading's unit.

    error: (S, H) on earlier origins; apart: (S, H) how far the members are from their combination;
    spread: (S, H) standard deviation of the window, times ``youth``
    """
    hour = max(2, round(HOUR_S / step_s))
    lately = spread_of(value[:, -hour:])
    change = mean_of(np.abs(np.diff(value[:, -4 * hour :], axis=1)), axis=1)
    now = np.where(np.isfinite(lately)[:, None], lately[:, None], spread)
    shake = np.where(np.isfinite(change), change, 0.0)[:, None]
    return np.stack([error, now, np.repeat(shake, error.shape[1], axis=1), spread, apart])


def half_widths(width: Floats, scale: Floats, *, widening: Floats, coverage: float) -> Floats:
    """Return (2, S, H) how far the interval reaches below and above.

    width: (H, 2, F) coefficients; scale: (F, S, H); widening: (S,) logarithm of each series' factor
    Other coverages than the shipped one follow the normal law's ratio.
    """
    normal = NormalDist()
    ratio = normal.inv_cdf((1 + coverage) / 2) / normal.inv_cdf((1 + SHIPPED_COVERAGE) / 2)
    half = np.einsum("hof,fsh->osh", width, scale)
    return np.asarray(half * (ratio * np.exp(widening))[None, :, None])
