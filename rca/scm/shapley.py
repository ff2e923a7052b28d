"""How much of a target's deviation, and of its surprise, each mechanism brought."""

import numpy as np

from core.types import Floats, Ints
from rca.scm.model import Model
from rca.scm.residual import State

EXACT_PLAYERS = 12  # 4,096 coalitions in one array; beyond, permutations are sampled
PERMUTATIONS = 200  # half of them the other half reversed; facts: 29 ms at 1,000 players
MOST_PLAYERS = 256  # of which each is weighed alone; the smaller ones together


def deviation_shares(model: Model, state: State, target: int) -> Floats:
    """(V,) share of the target's deviation, in its unit: they sum to it exactly.

    Each mechanism's own contribution times its total effect on the target: the Shapley value of
    the deviation for mechanisms that add up. One pass backwards along the links.
    """
    return model.laws.links.total(state.slope, target) * state.noise


def surprise_shares(
    model: Model, state: State, target: int, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Floats:
    """(V,) share of the target's surprise -log P(as far off as it is), in nats.

    Shapley values over the noises that reach the target: those of a coalition are as observed,
    the others normal (Budhathoki et al., ICML 2022), here in closed form for normal noise.
    """
    total = model.laws.links.total(state.slope, target)
    push = total * state.noise
    sigma = np.abs(total) * np.nan_to_num(model.tails.scale)
    players = np.flatnonzero((push != 0) | (sigma > 0))
    weight = np.abs(push[players]) + sigma[players]
    by_size = players[np.argsort(-weight, kind="stable")]
    alone, rest = by_size[:MOST_PLAYERS], by_size[MOST_PLAYERS:]
    value = gaussian_shapley(
        np.append(push[alone], push[rest].sum()),
        np.append(sigma[alone] ** 2, (sigma[rest] ** 2).sum()),
        permutations=permutations,
        seed=seed,
    )
    shares = np.zeros(len(push))
    shares[alone] = value[:-1]
    size = weight[np.argsort(-weight, kind="stable")][MOST_PLAYERS:]
    shares[rest] = value[-1] * size / max(size.sum(), 1e-300)
    return shares


def gaussian_shapley(
    push: Floats, variance: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Floats:
    """(k,) Shapley values of log P(|sum| >= |sum of push|), a coalition's noises as observed.

    push: (k,) observed, variance: (k,) normal, of independent normal noises that add up. Exact up
    to EXACT_PLAYERS; then antithetic random permutations, the same for the same seed. They sum to
    the surprise of the whole in either case.
    """
    if len(push) <= EXACT_PLAYERS:
        return _exact(push, variance)
    rng = np.random.default_rng(seed)
    half = rng.permuted(np.tile(np.arange(len(push)), (max(1, permutations // 2), 1)), axis=1)
    order = np.concatenate([half, half[:, ::-1]])
    known = np.pad(np.cumsum(push[order], axis=1), ((0, 0), (1, 0)))
    left = np.pad(np.cumsum(variance[order], axis=1), ((0, 0), (1, 0)))
    worth = _log_chance(known, variance.sum() - left, away=push.sum())
    gained = np.diff(worth, axis=1)
    return np.asarray(np.bincount(order.ravel(), gained.ravel(), len(push)) / len(order))


def _exact(push: Floats, variance: Floats) -> Floats:
    """Return the Shapley values from all 2^k coalitions."""
    size = len(push)
    number: Ints = np.arange(2**size)
    member = (number[:, None] >> np.arange(size)) & 1
    worth = _log_chance(member @ push, (1 - member) @ variance, away=push.sum())
    count = member.sum(axis=1)
    ways = np.cumprod(np.concatenate([[1.0], np.arange(size, 0, -1) / np.arange(1, size + 1)]))
    value = np.zeros(size)
    for player in range(size):
        without = number[member[:, player] == 0]
        gained = worth[without | (1 << player)] - worth[without]
        # A coalition of s others has weight s! (k - s - 1)! / k! = 1 / (k C(k - 1, s)).
        share = 1.0 / ((size - count[without]) * ways[count[without]])
        value[player] = (share * gained).sum()
    return value


def _log_chance(known: Floats, variance: Floats, *, away: float) -> Floats:
    """Return log P(|known + noise| >= |away|), 0 where there is no noise left."""
    # What rounding leaves of the whole variance is no noise.
    silent = variance <= 1e-12 * variance.max(initial=0.0)
    sigma = np.sqrt(np.where(silent, 1.0, variance))
    above = log_upper((abs(away) - known * np.sign(away or 1.0)) / sigma)
    below = log_upper((abs(away) + known * np.sign(away or 1.0)) / sigma)
    return np.where(silent, 0.0, np.minimum(np.logaddexp(above, below), 0.0))


# Chebyshev fit of erfc, relative error below 1.2e-7 everywhere: Press et al., Numerical Recipes
# in C, 2nd edition, section 6.2.
_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806,
    0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
)  # fmt: skip


def log_upper(z: Floats) -> Floats:
    """Return log P(Z > z) of a standard normal Z, without underflow far out."""
    away = np.abs(z) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.5 * away)
    power = np.zeros_like(t)
    for factor in reversed(_ERFC):
        power = power * t + factor
    log_tail = np.log(0.5 * t) - away**2 + power
    return np.asarray(np.where(z >= 0, log_tail, np.log1p(-np.exp(log_tail))))
