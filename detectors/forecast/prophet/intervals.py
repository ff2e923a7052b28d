"""How wide a forecast's interval is: upstream's law of turns and noise without drawing samples.

Upstream draws 1,000 futures a series. At each step ahead the slope turns with the probability
p = changepoints x step (time scaled so that the history is 1 long), by a Laplace variable whose
scale is the rate = mean |delta|; half of a turn counts at once and half a step later. After h steps
the trend is off by

    rate * D_h,    D_h = sum over i < h of step * (i + 1/2) * B_i * L_i

with B_i Bernoulli(p) and L_i Laplace(0, 1), and the reading by sigma * N(0, 1) more. D_h is the
same for every series of a grid, so its law is worked out once: its characteristic function

    phi_h(w) = prod over i < h of [1 - p + p / (1 + (w * step * (i + 1/2))^2)]

times that of the noise is turned into a distribution by FFT for a few horizons and ratios of noise
to turns, and each series and horizon then looks its half width up. No random number is drawn.
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from core.types import Floats
from detectors.compiled import compiled

# Horizons tabulated, evenly in their logarithm; all of them where there are no more.
_KNOTS = 16
# Ratio of noise to turns, both as standard deviations: log10 from, to, and points between.
# Beyond 30 the sum is normal to 1e-3 even for the longest tails there are (kurtosis 600).
LOG_RATIO = (-2.5, 1.5, 33)
_GRID = 2048  # points of the FFT; 4,096 moved no half width by more than 0.1 % (measured)
# More lags than these are summed by the midpoint rule; the product is smooth in the lag.
_LAGS = 512
# upstream's own, added to the mean |delta|
RATE_FLOOR = 1e-8
TINY = 1e-300  # keeps logarithms finite


@dataclass(frozen=True, slots=True)
class TrendLaw:
    """What decides how a trend may turn after its last reading; the same for all of a grid.

    changepoints: how many the history has; step: between two forecast times, in scaled time
    steps: how many are forecast
    """

    changepoints: int
    step: float
    steps: int

    @property
    def turning(self) -> float:
        """Return the probability that the slope turns within a step."""
        return min(1.0, self.changepoints * self.step)

    @property
    def lags(self) -> Floats:
        """Return (H,) by how much a unit turn i steps before the end has moved the trend."""
        return np.asarray(self.step * (np.arange(self.steps) + 0.5))

    @property
    def spread(self) -> Floats:
        """Return (H,) standard deviation of D_h; the variance of Laplace(0, 1) is 2."""
        return np.asarray(np.sqrt(2 * self.turning * np.cumsum(self.lags**2)))


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """What else a forecast is unsure of, beside turns and independent noise; scaled like sigma.

    persistence: (S,) of an AR(1) residual that the mean carries on: after h steps its variance is
                 sigma^2 (1 - persistence^2h); None: noise is the same at each horizon
    extra:       (S, H) variance to add, such as that of the parameters; None: none
    gain:        (S, H) by which a turn moves the forecast: 1 + seasonal share where seasons
                 multiply the trend, the logistic curve's steepness; None: 1
    """

    persistence: Floats | None = None
    extra: Floats | None = None
    gain: Floats | None = None


_PLAIN = Noise()


def half_widths(
    law: TrendLaw, sigma: Floats, rate: Floats, *, coverage: float, noise: Noise = _PLAIN
) -> Floats:
    """Return (S, H) half the width of the central interval of that coverage.

    sigma: (S,) noise; rate: (S,) mean |delta|; both in the unit that the answer is to have
    The law is symmetric, so an interval is mean -+ half width. One look-up a series and horizon:
    120,000 x 120 take 0.1 CPU-s.
    """
    out = np.empty((len(sigma), law.steps))
    write_half_widths(law, sigma, rate, coverage=coverage, noise=noise, out=out)
    return out


def write_half_widths(
    law: TrendLaw,
    sigma: Floats,
    rate: Floats,
    *,
    coverage: float,
    out: np.ndarray[tuple[int, int], np.dtype[np.floating]],
    noise: Noise = _PLAIN,
) -> None:
    """Write what ``half_widths`` returns to ``out`` (S, H), float32 or float64."""
    factor = unit_table(law, coverage)
    low, high, points = LOG_RATIO
    series = len(sigma)
    none = np.empty((0, 0))
    _look_up(
        (
            np.ascontiguousarray(sigma, dtype=np.float64),
            np.maximum(np.asarray(rate, dtype=np.float64), TINY),
            np.zeros(series) if noise.persistence is None else noise.persistence,
        ),
        (none if noise.extra is None else noise.extra, none if noise.gain is None else noise.gain),
        (law.spread, factor),
        (low * np.log(10), (high - low) * np.log(10) / (points - 1)),
        out,
    )


@lru_cache(maxsize=16)
def unit_table(law: TrendLaw, coverage: float) -> Floats:
    """Return (H, R) half widths over sqrt(turns' variance + noise's), for R ratios of the two."""
    knots = np.arange(1, law.steps + 1)
    if law.steps > _KNOTS:
        knots = np.unique(np.geomspace(1, law.steps, _KNOTS).round().astype(int))
    ratios = np.logspace(*LOG_RATIO)
    if law.turning * law.steps < 1e-12:
        normal = NormalDist().inv_cdf(0.5 + coverage / 2)
        return np.full((law.steps, len(ratios)), normal)
    table = np.array([_half_widths_at(law, int(h), ratios, coverage) for h in knots])
    steps = np.log(np.arange(1, law.steps + 1))
    return np.array([np.interp(steps, np.log(knots), column) for column in table.T]).T.copy()


def _half_widths_at(law: TrendLaw, h: int, ratios: Floats, coverage: float) -> Floats:
    """Return (R,) half widths after ``h`` steps over the total standard deviation.

    Time is scaled so that the longest lag is 1. No turn at all has the probability (1 - p)^h: that
    part is normal with the noise's own width and is kept out of the FFT, which could not resolve it
    where there is little noise.
    """
    longest = law.step * h
    spread = law.spread[h - 1] / longest
    noise = ratios * spread
    still = (1 - law.turning) ** h
    jumps = law.turning * h
    # One jump is Laplace and leaves e^-16 outside; many are nearly normal, as is the noise.
    reach = 16 + 8 * np.sqrt(jumps) + 8 * noise
    grid_step = 2 * reach / _GRID
    frequency = np.pi / reach[:, None] * np.arange(_GRID // 2 + 1)
    turned = np.exp(_log_phi(law, h, frequency)) - still
    smooth = np.maximum(noise, grid_step)  # narrower noise would ring on the grid
    turned *= np.exp(-0.5 * (smooth[:, None] * frequency) ** 2)
    density = np.fft.irfft(turned, axis=1)[:, : _GRID // 2] / grid_step[:, None]
    rises = (density[:, 1:] + density[:, :-1]) / 2 * grid_step[:, None]
    mass = np.concatenate([np.zeros((len(ratios), 1)), np.cumsum(rises, axis=1)], axis=1)
    half = _solve(mass, grid_step, still, noise, coverage / 2)
    return np.asarray(half / np.hypot(spread, noise))


def _log_phi(law: TrendLaw, h: int, frequency: Floats) -> Floats:
    """Return log phi_h at frequencies over the longest lag, by interpolation in their logarithm."""
    lags = (np.arange(min(h, _LAGS)) + 0.5) / min(h, _LAGS)
    knots = np.logspace(-4, np.log10(frequency.max()), 400)
    factor = law.turning / (1 + (knots[:, None] * lags) ** 2)
    # log1p(-1) where a turn is certain and the frequency is high: the factor alone is left.
    log_phi = np.log(1 - law.turning + factor).sum(axis=1) * (h / len(lags))
    log_frequency = np.log(np.maximum(frequency, knots[0]))
    return np.asarray(np.interp(log_frequency, np.log(knots), log_phi))


def _solve(mass: Floats, grid_step: Floats, still: float, noise: Floats, wanted: float) -> Floats:
    """Bisect for (R,) x where still * P(0 < noise N < x) + mass between 0 and x is as wanted."""
    rows = np.arange(len(noise))
    low, high = np.zeros(len(noise)), grid_step * (mass.shape[1] - 1)
    for _ in range(50):
        x = (low + high) / 2
        place = np.minimum(x / grid_step, mass.shape[1] - 1 - 1e-9)
        cell = place.astype(int)
        share = place - cell
        turned = mass[rows, cell] * (1 - share) + mass[rows, cell + 1] * share
        enough = turned + still * _normal_mass(x / noise) >= wanted
        low, high = np.where(enough, low, x), np.where(enough, x, high)
    return np.asarray((low + high) / 2)


def _normal_mass(x: Floats) -> Floats:
    """Return P(0 < N(0, 1) < x)."""
    cdf = NormalDist().cdf
    return np.array([cdf(each) - 0.5 for each in x])


@compiled
def _look_up(
    series: tuple[Floats, Floats, Floats],
    further: tuple[Floats, Floats],
    table: tuple[Floats, Floats],
    ratio_grid: tuple[float, float],
    out: np.ndarray[tuple[int, int], np.dtype[np.floating]],
) -> None:
    """Interpolate each half width in the logarithm of the ratio of noise to turns."""
    sigma, rate, persistence = series
    extra, gain = further
    spread, factor = table
    start, step = ratio_grid
    points = factor.shape[1]
    plain = extra.size == 0 and gain.size == 0
    log_spread = np.log(spread + TINY)
    for s in range(len(sigma)):
        noise, left = sigma[s] * sigma[s], 1.0
        log_ratio = np.log(sigma[s] + TINY) - np.log(rate[s])
        same = plain and persistence[s] == 0.0
        for h in range(len(spread)):
            turns = rate[s] * spread[h]
            variance = noise
            if same:
                place = (log_ratio - log_spread[h] - start) / step
            else:
                left *= persistence[s] * persistence[s]
                variance = noise * (1.0 - left)
                if extra.size:
                    variance += extra[s, h]
                if gain.size:
                    turns *= abs(gain[s, h])
                place = (0.5 * np.log(variance + TINY) - np.log(turns + TINY) - start) / step
            place = min(max(place, 0.0), points - 1.000001)
            cell = int(place)
            share = place - cell
            width = factor[h, cell] + share * (factor[h, cell + 1] - factor[h, cell])
            out[s, h] = width * np.sqrt(turns * turns + variance)
