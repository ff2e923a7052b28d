"""The sums that a fit needs, additive over rows: what is kept to fit again without the readings."""

from dataclasses import dataclass

import numpy as np

from core.types import Floats
from rca.scm.design import Block, Place, Terms, columns_of


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


def with_newest(old: tuple[Moments, ...], new: Moments) -> tuple[Moments, ...]:
    """Add the new rows to the newest fold, or start another once that one has its share of all.

    So the back-test always forecasts the newest rows, and never only a handful of them.
    """
    if len(old) == 1:
        return (merged(old[0], new),)
    rows = [sum(float(sums.count.sum()) for sums in fold) for fold in old]
    if rows[-1] * len(old) < sum(rows):
        return (*old[:-1], merged(old[-1], new))
    return (merged(old[0], old[1]), *old[2:], new)


def _of_block(value: Floats, block: Block, place: Place, columns: slice) -> Sums:
    size, width = len(block.variables), block.width + 1
    made = Sums(np.zeros(size), np.zeros((size, width)), np.zeros((size, width, width)))
    rows = columns.stop - columns.start
    for part, chunk in block.chunks(rows):
        own = value[chunk.variables, columns] - place.centre[chunk.variables][:, None]
        design = columns_of(value, chunk, place, columns, clip=False)
        x = np.concatenate([design, own[:, None]], axis=1)
        made.count[part], made.total[part] = rows, x.sum(axis=2)
        # A sum tells of a missing reading; only then are all of them looked at.
        if not np.isfinite(made.total[part]).all():
            whole = np.isfinite(x).all(axis=1)
            x[np.broadcast_to(~whole[:, None, :], x.shape)] = 0.0
            made.count[part], made.total[part] = whole.sum(axis=1), x.sum(axis=2)
        # Not x times all of itself: numpy has another routine for that, which with 41 columns takes
        # 6.6 ms instead of 0.05 where it may use two busy cores.
        made.gram[part, :, :-1] = x @ x[:, :-1].transpose(0, 2, 1)
        made.gram[part, :-1, -1] = made.gram[part, -1, :-1]
        made.gram[part, -1, -1] = np.einsum("nc,nc->n", x[:, -1], x[:, -1])
    return made
