"""Fit Prophet's model to a thousand series at once, in a script or a notebook, without gpumedic."""

import sys

import numpy as np

from detectors.forecast import FleetProphet

MINUTE_S, HOUR_S = 60.0, 3600.0
SERIES, LEAKS = 1000, 20


def made_up() -> tuple[np.ndarray, np.ndarray]:
    """Return (T,) times and (S, T) memory in use: a day of minutes; some leak at its end."""
    rng = np.random.default_rng(1)
    minute = np.arange(1440)
    phase = rng.uniform(0, 2 * np.pi, (SERIES, 1))
    value = 0.5 + 0.05 * np.sin(2 * np.pi * minute / 1440 + phase)
    value += rng.normal(0, 0.01, value.shape)
    value[:LEAKS] += 0.0008 * np.maximum(0, minute - 1100)
    value[rng.random(value.shape) < 0.01] = np.nan  # scrapes that failed
    return 1_700_000_000 + MINUTE_S * minute, value


time_s, value = made_up()
fit = FleetProphet(weekly=False, ar=True).fit(time_s, value)
ahead = fit.predict(2 * HOUR_S, coverage=0.8)  # mean, lower, upper: (S, 120) each
seen = fit.breach(0.9, horizon_s=4 * HOUR_S)  # probability and times: (S,) each

worst = np.argsort(-seen.probability, kind="stable")[:5]
for row in worst:
    hours = (seen.expected_s[row] - time_s[-1]) / HOUR_S
    sys.stdout.write(
        f"series {row}: {ahead.mean[row, -1]:.2f} in 2 h "
        f"({ahead.lower[row, -1]:.2f} to {ahead.upper[row, -1]:.2f}), "
        f"above 0.9 with p = {seen.probability[row]:.2f} in {hours:.1f} h\n"
    )
