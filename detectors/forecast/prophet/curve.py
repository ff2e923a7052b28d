"""The model where it is not linear in its parameters: saturating growth, seasons that multiply.

    f(t) = g(z(t)) * (1 + X_m(t) beta) + X_a(t) beta

Linear growth: z = k t + m + sum_j delta_j (t - s_j)+ and g(z) = z. Logistic growth between 0 and
the capacity C: z = k (t - m) + sum_j delta_j (t - s_j)+ and g(z) = C / (1 + exp(-z)). Upstream
writes the logistic trend as rate * (t - offset) with an offset that jumps at each changepoint so
that the curve does not; that product is the z above, which is why z is linear in delta here.
"""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from detectors.forecast.prophet.design import Design, mode_of
from detectors.forecast.prophet.settings import Growth

_STEEPEST = 500.0  # exp of more would overflow; the curve is flat there


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The model's columns at H times, ready to be evaluated for many series.

    time: (H,) scaled; hinges: (H, K) of the changepoints
    added, multiplied: (H, B) columns of the effects, 0 where an effect is of the other mode
    """

    time: Floats
    hinges: Floats
    added: Floats
    multiplied: Floats
    has_rate: bool
    is_logistic: bool

    def value(self, theta: Floats, cap: Floats) -> Floats:
        """Return f (S, H). theta: (S, P + K) as [k, m, beta, delta]; cap: (S,) scaled capacity."""
        beta = self._beta(theta)
        trend = self.trend(theta, cap)
        return np.asarray(trend * (1 + beta @ self.multiplied.T) + beta @ self.added.T)

    def trend(self, theta: Floats, cap: Floats) -> Floats:
        """Return g(z) (S, H)."""
        z = self._argument(theta)
        if not self.is_logistic:
            return z
        return np.asarray(cap[:, None] / (1 + np.exp(np.clip(-z, -_STEEPEST, _STEEPEST))))

    def gain(self, theta: Floats, cap: Floats) -> Floats:
        """Return df/dz (S, H): by how much a turn of the trend moves the forecast."""
        return self._slope(self.trend(theta, cap), cap) * (
            1 + self._beta(theta) @ self.multiplied.T
        )

    def jacobian(self, theta: Floats, cap: Floats) -> Floats:
        """Return df/dtheta (S, H, P + K)."""
        trend, gain = self.trend(theta, cap), self.gain(theta, cap)
        out = np.empty((*trend.shape, theta.shape[1]))
        first = 1
        if self.is_logistic:
            out[:, :, 0] = gain * (self.time - theta[:, 1:2])
            out[:, :, 1] = -gain * theta[:, 0:1]
            first = 2
        elif self.has_rate:
            out[:, :, 0], out[:, :, 1] = gain * self.time, gain
            first = 2
        else:
            out[:, :, 0] = gain
        smooth = first + self.added.shape[1]
        out[:, :, first:smooth] = trend[:, :, None] * self.multiplied + self.added
        out[:, :, smooth:] = gain[:, :, None] * self.hinges
        return out

    def _argument(self, theta: Floats) -> Floats:
        if not self.has_rate:
            return np.broadcast_to(theta[:, :1], (len(theta), len(self.time)))
        turned = theta[:, theta.shape[1] - self.hinges.shape[1] :] @ self.hinges.T
        k, m = theta[:, 0:1], theta[:, 1:2]
        line = k * (self.time - m) if self.is_logistic else k * self.time + m
        return np.asarray(line + turned)

    def _beta(self, theta: Floats) -> Floats:
        first = 2 if self.has_rate else 1
        return theta[:, first : first + self.added.shape[1]]

    def _slope(self, trend: Floats, cap: Floats) -> Floats:
        return trend * (1 - trend / cap[:, None]) if self.is_logistic else np.ones_like(trend)


def is_curved(design: Design, growth: Growth) -> bool:
    """Say whether the model is not linear in its parameters."""
    return growth == "logistic" or any(mode_of(b) == "multiplicative" for b in design.blocks)


def curve_at(design: Design, time_s: Floats, growth: Growth) -> Curve:
    """Return the curve's columns at any times (H,)."""
    effects = design.effect_rows(time_s)
    multiplies = np.zeros(effects.shape[1], dtype=bool)
    for block in design.blocks:
        multiplies[block.start : block.stop] = mode_of(block) == "multiplicative"
    time = design.scaled(time_s)
    return Curve(
        time=time,
        hinges=np.maximum(time[:, None] - design.changepoints, 0.0),
        added=np.where(multiplies, 0.0, effects),
        multiplied=np.where(multiplies, effects, 0.0),
        has_rate=design.has_rate,
        is_logistic=growth == "logistic",
    )
