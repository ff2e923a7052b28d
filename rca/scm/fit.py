"""Coefficients from sums: every variable's regression at once, those of equal size in one solve."""

from dataclasses import dataclass
from functools import reduce

import numpy as np

from core.types import Floats
from rca.scm.design import LINEAR, Block, Bools, Terms
from rca.scm.links import Kind
from rca.scm.moments import Moments, merged

MIN_ROWS = 10  # complete rows, over all variables that share coefficients, below which nothing fits
RIDGE = 1e-3  # of each column's own variance: parents that move as one share what they explain
FOLDS = 5  # of the normal rows, in time; the last two are forecast from those before
_FIRST_TESTED = 3
# Complete rows below which noise passes for a bend: 6 % of straight mechanisms at 100 rows and
# 0.4 % at 300 were taken for bent, one cause each (tests/test_scm_fit.py).
MIN_BENT_ROWS = 200
_BETTER = 0.05  # a smaller share of error saved is not worth a bend


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """y = intercept + terms @ coefficient + noise, all counted from their centres.

    coefficient: (N,), 0 where nothing could be fitted
    intercept, sd: (V,) of y and of the noise, in y's unit
    explained:   (V,) share of y's variance that its terms explain, in [0, 1]
    rows:        (V,) complete rows
    """

    coefficient: Floats
    intercept: Floats
    sd: Floats
    explained: Floats
    rows: Floats


def solve(moments: Moments, terms: Terms, *, ridge: float = RIDGE, use: Bools) -> Fitted:
    """Return the ridge fit of every variable on the terms that ``use`` (N,) allows.

    Constant columns get 0, and so does a group of fewer than MIN_ROWS rows or than twice its
    coefficients. ``ridge`` is a share of each column's own variance.
    """
    coefficient = _coefficients(moments, terms, ridge=ridge, use=use)
    intercept, sd, explained, rows = np.zeros((4, len(terms.group)))
    for block, sums in zip(terms.blocks, moments, strict=True):
        at, count = block.variables, np.maximum(sums.count, 1e-300)
        away = _away(coefficient, block)
        centred = sums.centred()
        left = np.maximum(np.einsum("np,npq,nq->n", away, centred, away), 0.0)
        all_of_it = centred[:, -1, -1]
        intercept[at] = np.einsum("np,np->n", away, sums.total) / count
        sd[at] = np.sqrt(left / count)
        explained[at] = 1 - np.minimum(left / np.where(all_of_it > 0, all_of_it, np.inf), 1.0)
        explained[at[all_of_it <= 0]] = 0.0
        rows[at] = sums.count
    return Fitted(coefficient, intercept, sd, explained, rows)


def _coefficients(moments: Moments, terms: Terms, *, ridge: float, use: Bools) -> Floats:
    """(N,) solve the normal equations of every group, batched over groups of equal width."""
    width = terms.width
    corner, edge = np.cumsum(width**2) - width**2, np.cumsum(width) - width
    gram, right = np.zeros((width**2).sum()), np.zeros(width.sum())
    rows = _rows(moments, terms)
    for block, sums in zip(terms.blocks, moments, strict=True):
        if block.kind is not Kind.FITTED:
            continue
        group, slot = terms.group[block.variables], terms.slot[block.term]
        centred = sums.centred()
        wide = width[group][:, None, None]
        cell = corner[group][:, None, None] + slot[:, :, None] * wide + slot[:, None, :]
        place = edge[group][:, None] + slot
        gram += np.bincount(cell.ravel(), centred[:, :-1, :-1].ravel(), len(gram))
        right += np.bincount(place.ravel(), centred[:, :-1, -1].ravel(), len(right))
    allowed = np.zeros(len(right), dtype=bool)
    allowed[edge[terms.group[terms.effect]] + terms.slot] = use
    solved = np.zeros(len(right))
    for size in np.unique(width[width > 0]).tolist():
        groups = np.flatnonzero(width == size)
        cells = corner[groups][:, None] + np.arange(size * size)
        places = edge[groups][:, None] + np.arange(size)
        square = gram[cells].reshape(-1, size, size)
        enough = rows[groups] >= np.maximum(MIN_ROWS, 2 * allowed[places].sum(axis=1))
        wanted = allowed[places] & enough[:, None]
        solved[places] = _unit_solve(square, right[places], ridge=ridge, use=wanted)
    return np.asarray(solved[edge[terms.group[terms.effect]] + terms.slot])


def _unit_solve(gram: Floats, right: Floats, *, ridge: float, use: Bools) -> Floats:
    """(G, P) solve G systems in units of their columns' own size; columns of none get 0."""
    size = np.sqrt(np.maximum(np.einsum("gpp->gp", gram), 0.0))
    alive = use & (size > 0)
    unit = np.where(alive, 1 / np.where(alive, size, 1.0), 0.0)
    square = gram * unit[:, :, None] * unit[:, None, :]
    # At ridge 0 two equal columns would have no solution.
    square += np.eye(gram.shape[1]) * np.where(alive, max(ridge, 1e-12), 1.0)[:, None, :]
    return np.asarray(np.linalg.solve(square, (right * unit)[..., None])[..., 0] * unit)


def choose(folds: tuple[Moments, ...], terms: Terms, *, ridge: float = RIDGE) -> Bools:
    """(N,) which terms to use: the bent ones only where they forecast later rows better.

    folds: sums of consecutive parts of the normal rows. Each of the last is forecast from all
    before it, straight and bent; a group bends if that is better by _BETTER over them all.
    Arithmetic on the sums: no reading is looked at again.
    """
    straight = terms.knot == LINEAR
    if straight.all():
        return np.asarray(straight)
    error = np.zeros((2, len(terms.width)))
    for tested in range(_FIRST_TESTED, len(folds)):
        known = reduce(merged, folds[:tested])
        for number, use in enumerate((straight, np.ones_like(straight))):
            forecast = solve(known, terms, ridge=ridge, use=use)
            error[number] += _error(forecast, folds[tested], terms)
    bends = error[1] < (1 - _BETTER) * error[0]
    bends &= _rows(reduce(merged, folds), terms) >= MIN_BENT_ROWS
    return np.asarray(straight | bends[terms.group[terms.effect]])


def _rows(moments: Moments, terms: Terms) -> Floats:
    """(groups,) complete rows of each group."""
    rows = np.zeros(len(terms.width))
    for block, sums in zip(terms.blocks, moments, strict=True):
        rows += np.bincount(terms.group[block.variables], sums.count, len(rows))
    return rows


def _error(fitted: Fitted, moments: Moments, terms: Terms) -> Floats:
    """(groups,) squared error of a fit on other rows, in y's unit."""
    error = np.zeros(len(terms.width))
    for block, sums in zip(terms.blocks, moments, strict=True):
        weight = _away(fitted.coefficient, block)
        start = fitted.intercept[block.variables]
        square = np.einsum("np,npq,nq->n", weight, sums.gram, weight)
        cross = np.einsum("np,np->n", weight, sums.total)
        of_each = square - 2 * start * cross + start**2 * sums.count
        error += np.bincount(terms.group[block.variables], of_each, len(error))
    return error


def _away(coefficient: Floats, block: Block) -> Floats:
    """(n, p + 1) what to multiply columns and variable with for the variable less its causes."""
    if block.kind is not Kind.FITTED:
        return np.tile([-1.0, 1.0], (len(block.variables), 1))
    return np.concatenate([-coefficient[block.term], np.ones((len(block.variables), 1))], axis=1)
