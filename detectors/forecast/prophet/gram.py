"""Gram matrices of the design, in coordinates where every noise level is cheap.

The smooth columns are replaced by Z_u V with V' L V = 1 and (Z_u V)' Z_u V = diag(e), both at
once: with L diagonal, V = L^-1/2 W from the singular value decomposition of Z_u L^-1/2. It goes by
the columns' QR decomposition and not by their Gram matrix, which would lose the small e of a season
that is hardly seen (measured: 5e-3 nats in the worst case). Series with readings missing have Gram
matrices of their own; those are turned by one more rotation.
"""

from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from detectors.forecast.prophet.design import Design
from detectors.forecast.prophet.problem import PATH_RIDGE, Quadratic, Targets
from detectors.forecast.prophet.product import gram, triangle


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """The whitened design of a grid.

    rows:   (T, P + K) the columns Z_u V and the knots
    whiten: (P, P) V: smooth coefficients of whitened ones
    gram:   (P + K, P + K) rows' rows, which complete series share
    offset: (P,) V' L e_m: by how much a unit of centring moves the whitened coefficients
    """

    rows: Floats
    whiten: Floats
    gram: Floats
    offset: Floats

    @property
    def smooth(self) -> int:
        """P."""
        return len(self.whiten)

    def spectrum(self) -> "Spectrum":
        """Return what complete series are solved by."""
        return decompose(self.gram[np.newaxis], self.smooth)


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """M Gram matrices, decomposed; ``turn`` (M, P, P) is the rotation of the whitened columns."""

    turn: Floats
    quadratic: Quadratic

    def targets(
        self, cross: Floats, square: Floats, count: Floats, grams: tuple[Ints, Floats | None]
    ) -> Targets:
        """Return the solver's view of N series.

        cross: (N, P + K) Z'y;  square, count: (N,) y'y and readings
        grams: (N,) which of the Gram matrices each uses; (N, P) what centring moved, None nothing
        """
        which, offset = grams
        smooth = self.turn.shape[1]
        moved = np.zeros((len(cross), smooth)) if offset is None else offset
        return Targets(
            which=which,
            smooth=_each(cross[:, :smooth], self.turn, which),
            knots=np.ascontiguousarray(cross[:, smooth:]),
            square=square,
            readings=count,
            offset=_each(moved, self.turn, which),
        )

    def unturned(self, whitened: Floats, which: Ints) -> Floats:
        """Return (N, P) whitened coefficients in the basis that all series share."""
        return _each(whitened, self.turn.transpose(0, 2, 1), which)


def whitened(design: Design) -> Basis:
    """Return the whitened design."""
    rows = design.rows(design.time_s)
    smooth = design.smooth
    root = 1.0 / np.sqrt(design.precision)
    right = np.linalg.svd(triangle(rows[:, :smooth] * root))[2]
    whiten = root[:, np.newaxis] * right.T
    rows[:, :smooth] = rows[:, :smooth] @ whiten
    offset = design.precision[design.offset_column] * whiten[design.offset_column]
    return Basis(rows, whiten, gram(rows), offset)


def decompose(grams: Floats, smooth: int) -> Spectrum:
    """Return the spectrum of (M, P + K, P + K) Gram matrices of the whitened design."""
    eigen, turn = np.linalg.eigh(grams[:, :smooth, :smooth])
    eigen = np.maximum(eigen, 0.0)
    turn = np.ascontiguousarray(turn)
    cross = np.ascontiguousarray(turn.transpose(0, 2, 1) @ grams[:, :smooth, smooth:])
    knots = np.ascontiguousarray(grams[:, smooth:, smooth:])
    shrunk = cross / (eigen + PATH_RIDGE)[:, :, np.newaxis]
    path = np.ascontiguousarray(knots - cross.transpose(0, 2, 1) @ shrunk)
    return Spectrum(turn, Quadratic(eigen, cross, knots, path))


def _each(vectors: Floats, turn: Floats, which: Ints) -> Floats:
    """Return (N, P) each vector times its own matrix, vectors (N, P) from the left."""
    # einsum, not a matrix product: a row must not depend on how many others there are.
    if len(turn) == 1:
        return np.asarray(np.einsum("np,pq->nq", vectors, turn[0]))
    return np.asarray(np.einsum("np,npq->nq", vectors, turn[which]))
