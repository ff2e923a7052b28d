"""Half widths of intervals on the device: looked up in the table of ``prophet.intervals``."""

import torch
from torch import Tensor

from detectors.forecast.prophet.intervals import LOG_RATIO, TINY, TrendLaw, unit_table


class Table:
    """The look-up for one grid of future times and one coverage."""

    def __init__(self, law: TrendLaw, coverage: float, device: torch.device) -> None:
        low, high, points = LOG_RATIO
        ten = torch.log(torch.tensor(10.0, dtype=torch.float64)).item()
        self._start, self._step = low * ten, (high - low) * ten / (points - 1)
        self._factor = torch.from_numpy(unit_table(law, coverage)).to(device)
        self._spread = torch.from_numpy(law.spread).to(device)

    def half_widths(self, sigma: Tensor, rate: Tensor, persistence: Tensor) -> Tensor:
        """Return (N, H) half widths; sigma, rate, persistence: (N,) as ``half_widths`` has them.

        NaN where one of them is.
        """
        steps, points = self._factor.shape
        ahead = torch.arange(1, steps + 1, device=sigma.device, dtype=sigma.dtype)
        variance = sigma.square()[:, None] * (1.0 - persistence.square()[:, None] ** ahead)
        turns = rate.clamp(min=TINY)[:, None] * self._spread
        ratio = 0.5 * (variance + TINY).log() - (turns + TINY).log()
        place = ((ratio - self._start) / self._step).clamp(0.0, points - 1.000001).nan_to_num(0.0)
        cell = place.long()
        share = place - cell
        cell += points * torch.arange(steps, device=cell.device)
        factor = self._factor.flatten()
        low, high = factor[cell], factor[cell + 1]
        return (low + share * (high - low)) * (turns.square() + variance).sqrt()
