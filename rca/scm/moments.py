"""The sums that a fit needs, additive over rows: what is kept to fit again without the readings."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from rca.scm.design import Block, Bools, Place, Terms, columns_of


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over the complete rows of n variables with p columns each, the variable itself last.

    count: (n,); total: (n, p + 1); gram: (n, p + 1, p + 1)
    """

    count: Floats
    total: Floats
    gram: Floats

    def centred(self) -> Floats:
        """(n, p + 1, p + 1) the Gram matrices about the means."""
        share = self.total / np.maximum(self.count, 1e-300)[:, None]
        return np.asarray(self.gram - self.total[:, :, None] * share[:, None, :])


Moments = tuple[Sums, ...]  # one for each block of the terms


def moments(value: Floats, terms: Terms, place: Place, columns: slice) -> Moments:
    """Sum up the rows ``columns`` of (V, T) readings; O(T) for each term, in cached chunks.

    A row counts for a variable where it and all its causes have readings.
    """
    return tuple(_of_block(value, block, place, columns) for block in terms.blocks)


def merged(old: Moments, new: Moments) -> Moments:
    """Return the sums over both."""
    return tuple(
        Sums(mine.count + more.count, mine.total + more.total, mine.gram + more.gram)
        for mine, more in zip(old, new, strict=True)
    )


def scaled(old: Moments, keep: float) -> Moments:
    """Return the sums with every row counted ``keep`` times."""
    return tuple(Sums(keep * mine.count, keep * mine.total, keep * mine.gram) for mine in old)


def _of_block(value: Floats, block: Block, place: Place, columns: slice) -> Sums:
    size, width = len(block.variables), block.width + 1
    made = Sums(np.zeros(size), np.zeros((size, width)), np.zeros((size, width, width)))
    for part, chunk in block.chunks():
        x, whole = _rows(value, chunk, place, columns)
        made.count[part] = whole.sum(axis=1)
        made.total[part] = x.sum(axis=2)
        made.gram[part] = x @ x.transpose(0, 2, 1)
    return made


def _rows(value: Floats, block: Block, place: Place, columns: slice) -> tuple[Floats, Bools]:
    """Return (n, p + 1, C) the columns and the variable, 0 in rows that are not complete."""
    own = value[block.variables, columns] - place.centre[block.variables][:, None]
    x = np.concatenate([columns_of(value, block, place, columns, clip=False), own[:, None]], axis=1)
    whole = np.isfinite(x).all(axis=1)
    if not whole.all():
        x[np.broadcast_to(~whole[:, None, :], x.shape)] = 0.0
    return x, whole
