"""The design matrix that every series of a grid shares, exactly as prophet 1.5 builds it.

A series y, divided by its scale, is modelled as

    y(t) = k t + m + sum_j delta_j (t - s_j)+ + X(t) beta + noise,    noise ~ N(0, sigma)

with t running from 0 at the first reading to 1 at the last, knots s_j (the changepoints), and X the
seasonal sines and cosines, the events and the regressors. Columns are ordered
[k, m, beta ..., delta ...]: first the P "smooth" ones with a normal prior, then the K knots with a
Laplace prior. With flat growth there is no k and no knot.
"""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from detectors.forecast.prophet.settings import (
    DAY_S,
    Event,
    Mode,
    ProphetSettings,
    Regressor,
    Seasonality,
    Switch,
)

TREND_PRIOR_SCALE = 5.0  # k, m ~ normal(0, 5): prophet.stan
YEAR_S, WEEK_S = 365.25 * DAY_S, 7 * DAY_S
# (name, period, order when on, least history): Prophet.set_auto_seasonalities
BUILT_IN = (
    ("yearly", YEAR_S, 10, 730 * DAY_S),
    ("weekly", WEEK_S, 3, 14 * DAY_S),
    ("daily", DAY_S, 4, 2 * DAY_S),
)

Effect = Seasonality | Event | Regressor


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Neighbouring columns of X that belong to one effect.

    start, stop: within beta
    mean, sd:    what a regressor's column is shifted and divided by; 0 and 1 for all others
    """

    effect: Effect
    start: int
    stop: int
    mean: float = 0.0
    sd: float = 1.0

    def columns(self, time_s: Floats) -> Floats:
        """Return (T, stop - start)."""
        if isinstance(self.effect, Seasonality):
            return fourier(time_s, self.effect.period_s, self.effect.order)
        return ((self.effect.column(time_s) - self.mean) / self.sd)[:, np.newaxis]


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """How a time becomes a row of the design matrix.

    time_s:       (T,) the grid of the fit, and of readings added since
    start_s, span_s: first reading and length of the fit's window: t is 0 and 1 at its ends
    changepoints: (K,) knots in scaled time; where prophet has none it keeps a dummy at 0, whose
                  coefficient is added to k after the fit: ``is_dummy``
    blocks:       the effects, in the order of beta
    precision:    (P,) 1 / prior variance of the smooth columns
    tau:          scale of the Laplace prior of the knots
    """

    time_s: Floats
    start_s: float
    span_s: float
    has_rate: bool
    changepoints: Floats
    is_dummy: bool
    blocks: tuple[Block, ...]
    precision: Floats
    tau: float

    @property
    def step_s(self) -> float:
        """Spacing of the grid."""
        return float(self.time_s[-1] - self.time_s[0]) / (len(self.time_s) - 1)

    @property
    def smooth(self) -> int:
        """P: the number of columns with a normal prior."""
        return len(self.precision)

    @property
    def width(self) -> int:
        """P + K: the number of columns."""
        return self.smooth + len(self.changepoints)

    @property
    def offset_column(self) -> int:
        """Where m is."""
        return 1 if self.has_rate else 0

    @property
    def first_effect(self) -> int:
        """Where beta begins."""
        return self.offset_column + 1

    def scaled(self, time_s: Floats) -> Floats:
        """Return t: 0 at the first reading, 1 at the last, beyond 1 in the future."""
        return (time_s - self.start_s) / self.span_s

    def trend_rows(self, time_s: Floats) -> Floats:
        """Return (T, 2 + K): the columns of k, m and the knots; (T, 1) when growth is flat."""
        t = self.scaled(time_s)[:, np.newaxis]
        one = np.ones_like(t)
        if not self.has_rate:
            return one
        return np.hstack([t, one, np.maximum(t - self.changepoints, 0.0)])

    def effect_rows(self, time_s: Floats) -> Floats:
        """Return X: (T, number of betas)."""
        parts = [block.columns(time_s) for block in self.blocks]
        return np.hstack([np.empty((len(time_s), 0)), *parts])

    def rows(self, time_s: Floats) -> Floats:
        """Return (T, P + K): the whole design matrix at any times."""
        trend, smooth = self.trend_rows(time_s), self.first_effect
        return np.hstack([trend[:, :smooth], self.effect_rows(time_s), trend[:, smooth:]])


def make_design(settings: ProphetSettings, time_s: Floats) -> Design:
    """Return the design for a grid: (T,) seconds, even spacing."""
    blocks = _blocks(settings, time_s)
    has_rate = settings.growth != "flat"
    start_s, span_s = float(time_s[0]), float(time_s[-1] - time_s[0])
    knots = (_changepoints(settings, time_s) - start_s) / span_s if has_rate else np.empty(0)
    is_dummy = has_rate and len(knots) == 0
    trend_scales = [TREND_PRIOR_SCALE] * (2 if has_rate else 1)
    effect_scales = [b.effect.prior_scale for b in blocks for _ in range(b.stop - b.start)]
    return Design(
        time_s=time_s,
        start_s=start_s,
        span_s=span_s,
        has_rate=has_rate,
        changepoints=np.zeros(1) if is_dummy else np.sort(knots),
        is_dummy=is_dummy,
        blocks=blocks,
        precision=1.0 / np.square([*trend_scales, *effect_scales]),
        tau=settings.changepoint_prior_scale,
    )


def fourier(time_s: Floats, period_s: float, order: int) -> Floats:
    """Return (T, 2 order): sin 1, cos 1, sin 2, cos 2 ... of time since the epoch."""
    # Days, as prophet computes them: the same rounding, so the same columns.
    angle = 2 * np.pi * (time_s / DAY_S)
    period_days = period_s / DAY_S
    columns = np.empty((len(time_s), 2 * order))
    for i in range(order):
        columns[:, 2 * i] = np.sin((i + 1) / period_days * angle)
        columns[:, 2 * i + 1] = np.cos((i + 1) / period_days * angle)
    return columns


def chosen_seasonalities(settings: ProphetSettings, time_s: Floats) -> tuple[Seasonality, ...]:
    """Return the custom seasonalities and those of yearly, weekly and daily that are on."""
    span_s = float(time_s[-1] - time_s[0])
    step_s = span_s / (len(time_s) - 1)
    named = {s.name for s in settings.seasonalities}
    chosen = list(settings.seasonalities)
    for name, period_s, default, least_s in BUILT_IN:
        # Prophet asks no spacing of the yearly one.
        too_wide = name != "yearly" and step_s >= period_s
        enough = span_s >= least_s and not too_wide and name not in named
        order = _order(getattr(settings, name), default=default, automatic=enough)
        if order:
            chosen.append(
                Seasonality(
                    name,
                    period_s,
                    order,
                    settings.seasonality_prior_scale,
                    settings.seasonality_mode,
                )
            )
    return tuple(chosen)


def mode_of(block: Block) -> Mode:
    """Return whether the effect adds to the trend or multiplies it."""
    return block.effect.mode


def _order(switch: Switch, *, default: int, automatic: bool) -> int:
    if switch == "auto":
        return default if automatic else 0
    if switch is True:
        return default
    return int(switch)


def _blocks(settings: ProphetSettings, time_s: Floats) -> tuple[Block, ...]:
    blocks: list[Block] = []
    start = 0
    effects: list[Effect] = [*chosen_seasonalities(settings, time_s)]
    effects += [*settings.events, *settings.regressors]
    for effect in effects:
        width = 2 * effect.order if isinstance(effect, Seasonality) else 1
        mean, sd = _standard(effect, time_s)
        blocks.append(Block(effect, start, start + width, mean, sd))
        start += width
    return tuple(blocks)


def _standard(effect: Effect, time_s: Floats) -> tuple[float, float]:
    """Return what a regressor is standardised by: nothing if it has one value, or is 0 and 1."""
    if not isinstance(effect, Regressor):
        return 0.0, 1.0
    column = effect.column(time_s)
    values = np.unique(column)
    if len(values) < 2 or set(values) == {0.0, 1.0}:
        return 0.0, 1.0
    return float(column.mean()), float(column.std(ddof=1))


def _changepoints(settings: ProphetSettings, time_s: Floats) -> Floats:
    """Return (K,) seconds: those named, or evenly over the first part of the readings."""
    if settings.changepoints_s is not None:
        named = np.asarray(settings.changepoints_s, dtype=np.float64)
        if len(named) and (named.min() < time_s[0] or named.max() > time_s[-1]):
            raise ValueError(
                f"changepoints run from {named.min():.0f} to {named.max():.0f} s, the series from "
                f"{time_s[0]:.0f} to {time_s[-1]:.0f} s: name those within"
            )
        return named
    candidates = int(np.floor(len(time_s) * settings.changepoint_range))
    count = min(settings.n_changepoints, candidates - 1)
    if count < 1:
        return np.empty(0)
    at = np.linspace(0, candidates - 1, count + 1).round().astype(int)
    return np.asarray(time_s[at[1:]])
