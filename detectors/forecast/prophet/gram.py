"""Gram matrices of the design, brought into the form that makes every noise level cheap.

The smooth columns' Gram matrix G and their prior precision L are diagonalised together:
V' G V = diag(e), V' L V = 1. With L diagonal that is the eigen-decomposition of L^-1/2 G L^-1/2.
"""

from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from detectors.forecast.prophet.moments import Moments
from detectors.forecast.prophet.solve import PATH_RIDGE, Quadratic, Targets


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """M Gram matrices, decomposed; ``basis`` (M, P, P) is V, ``quadratic`` what the solver reads."""

    basis: Floats
    quadratic: Quadratic
    prior_offset: Floats  # (M, P) V' L e_m: by how much a unit of centring moves q

    def targets(self, moments: Moments, part: Ints, which: Ints) -> Targets:
        """Return the solver's view of the series ``part`` (N,), which use the Grams ``which``."""
        smooth = self.basis.shape[1]
        cross = moments.cross[part]
        if len(self.basis) == 1:
            projected = cross[:, :smooth] @ self.basis[0]
        else:
            projected = np.einsum("np,npq->nq", cross[:, :smooth], self.basis[which])
        return Targets(
            which=which,
            smooth=projected,
            knots=np.ascontiguousarray(cross[:, smooth:]),
            square=moments.square[part],
            count=moments.count[part],
            offset=moments.centre[part, np.newaxis] * self.prior_offset[which],
        )

    def smooth(self, whitened: Floats, which: Ints) -> Floats:
        """Return (N, P) smooth coefficients of the whitened ones."""
        if len(self.basis) == 1:
            return np.asarray(whitened @ self.basis[0].T)
        return np.einsum("nq,npq->np", whitened, self.basis[which])


def decompose(grams: Floats, precision: Floats, offset_column: int) -> Spectrum:
    """Return the spectrum of (M, P + K, P + K) Gram matrices under the prior precision (P,)."""
    smooth = len(precision)
    root = 1.0 / np.sqrt(precision)
    scaled = grams[:, :smooth, :smooth] * (root[:, np.newaxis] * root)
    eigen, vectors = np.linalg.eigh(scaled)
    eigen = np.maximum(eigen, 0.0)
    basis = np.ascontiguousarray(root[:, np.newaxis] * vectors)
    cross = np.ascontiguousarray(basis.transpose(0, 2, 1) @ grams[:, :smooth, smooth:])
    knots = np.ascontiguousarray(grams[:, smooth:, smooth:])
    shrunk = cross / (eigen + PATH_RIDGE)[:, :, np.newaxis]
    path = np.ascontiguousarray(knots - cross.transpose(0, 2, 1) @ shrunk)
    prior_offset = np.ascontiguousarray(precision[offset_column] * basis[:, offset_column, :])
    return Spectrum(basis, Quadratic(eigen, cross, knots, path), prior_offset)
