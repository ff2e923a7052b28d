"""The optimisation problem of one series, as its sufficient statistics pose it.

The negative log posterior of prophet.stan, with v = sigma^2, n readings and the scaled series y, is

    n/2 log v + |y - Z w|^2 / (2 v) + 2 v + u' L u / 2 + |d|_1 / tau

where w = (u, d): u are the smooth coefficients (k, m, beta) with the prior precision L, and d are
the K changes of rate. Three facts make it cheap.

1. **Given v, u is linear in d.** With the generalised eigenvectors V of the smooth columns' Gram
   matrix (V' G V = diag(e), V' L V = 1), (G + v L)^-1 = V diag(1 / (e + v)) V' for *every* v. The
   coordinates q = V^-1 u are kept ("whitened"): their prior is N(0, 1). What is left is a LASSO
   in d with the penalty lambda = v / tau.
2. **The LASSO's solution is piecewise linear in lambda**: ``path`` follows it, with the ridge v
   left at a typical value, to where lambda belongs to the noise that is left.
3. **Given the active knots and their signs, everything is smooth in v**: ``polish`` ends the search
   with the exact ridge and Newton's method, and checks the Karush-Kuhn-Tucker conditions.
"""

from typing import NamedTuple

from core.types import Floats, Ints

# The ridge of the Schur complement that all series share: noise of 3 % of the scale.
PATH_RIDGE = 1e-3
# Of a knot that the active ones already span, over its own square: it stays out.
PIVOT = 1e-11
# Where the fit is perfect sigma would go to 0 and the posterior to infinity; prophet gives a
# constant series sigma = 1e-9. RSS is a difference: what is below this share of |y|^2 is rounding.
LEAST_VARIANCE = 1e-18
LEAST_RSS = 1e-13


class Quadratic(NamedTuple):
    """The quadratic form of M Gram matrices: one that all complete series share, or one a mask.

    eigen:  (M, P) e;  cross: (M, P, K) V' G_ud;  knots: (M, K, K) G_dd
    path:   (M, K, K) Schur complement of the knots at v = PATH_RIDGE
    """

    eigen: Floats
    cross: Floats
    knots: Floats
    path: Floats


class Targets(NamedTuple):
    """What N series bring along, centred.

    which:  (N,) row of the Quadratic
    smooth: (N, P) V' Z_u' y;  knots: (N, K) Z_d' y;  square: (N,) y'y;  readings: (N,) how many
    offset: (N, P) by how much centring moved the whitened coefficients
    """

    which: Ints
    smooth: Floats
    knots: Floats
    square: Floats
    readings: Floats
    offset: Floats


class Start(NamedTuple):
    """Where the polish begins: (N, K) changes of rate and (N,) variances above 0."""

    knots: Floats
    variance: Floats


class Solution(NamedTuple):
    """What comes out, written in place.

    whitened: (N, P) q, without the centring's offset;  knots: (N, K);  variance: (N,)
    loss:     (N,) negative log posterior;  rounds: (N,) of the polish
    """

    whitened: Floats
    knots: Floats
    variance: Floats
    loss: Floats
    rounds: Ints
