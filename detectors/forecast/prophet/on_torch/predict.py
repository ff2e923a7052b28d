"""The forecast and its interval on a torch device, a chunk of series at a time."""

import numpy as np
import torch

from core.types import Floats
from detectors.forecast.prophet.on_torch.device import torch_device
from detectors.forecast.prophet.on_torch.widths import Table
from detectors.forecast.prophet.prediction import Fit, Prediction

_CHUNK = 65_536  # series: 0.8 GB of scratch at 120 steps


def predict_on(fit: Fit, time_s: Floats, coverage: float) -> Prediction:
    """Return what ``FleetFit.predict`` does, of a linear, additive model."""
    device = torch_device(fit.device)
    rows = torch.from_numpy(fit.design.rows(time_s)).to(device)
    table = Table(fit.trend_law(time_s), coverage, device)
    steps = torch.from_numpy((time_s - fit.design.time_s[-1]) / fit.design.step_s).to(device)
    rate_of, shape = fit.rate, (len(fit), len(time_s))
    mean, lower, upper = (np.empty(shape, dtype=fit.dtype) for _ in range(3))
    for start in range(0, len(fit), _CHUNK):
        part = slice(start, start + _CHUNK)
        weight, floor, sigma, rate, lasting, newest = (
            torch.from_numpy(np.ascontiguousarray(each)).to(device)
            for each in (
                fit.coefficients[part] * fit.scale[part, np.newaxis],
                fit.floor[part],
                fit.scale[part] * fit.sigma[part],
                rate_of[part],
                fit.persistence[part],
                fit.scale[part] * fit.residual[part],
            )
        )
        expected = torch.addmm(floor[:, None], weight, rows.T)
        expected += newest[:, None] * lasting[:, None] ** steps
        half = table.half_widths(sigma, rate, lasting ** steps[0])
        for out, value in ((mean, expected), (lower, expected - half), (upper, expected + half)):
            torch.from_numpy(out[part]).copy_(value)
    return Prediction(time_s, mean, lower, upper, coverage)
