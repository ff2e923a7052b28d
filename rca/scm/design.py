"""What each variable is regressed on: lagged causes, bent at knots, in equal-sized blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.types import Floats, Ints
from rca.scm.links import Kind, Links

Bools = NDArray[np.bool_]

LINEAR = -np.inf  # the knot of a term that is not bent
# Readings gathered together, 1 MiB of them: they then fit a processor's cache. 20,000 variables are
# fitted in 3.0 s so, in 3.9 s with 32 MiB.
_AT_ONCE = 2**17


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where each of V variables lay in the first normal rows; sums are counted from there.

    centre, scale: 0 and 1 where there were no readings
    low, high:     the range it was seen in, at least 6 scales either way
    measured:      whether most rows had a reading; a cause that is not may be missing from a row
    """

    centre: Floats
    scale: Floats
    low: Floats
    high: Floats
    measured: Bools


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Variables with the same number p of lagged causes, for one batched product.

    kind: of all of them; variables: (n,); cause, lag: (n, p)
    knots: (k,) where each of them bends; term: (n, k * p) place of each column in ``Terms``, all
           causes of one knot beside each other. Both empty where the kind is arithmetic.
    """

    kind: Kind
    variables: Ints
    cause: Ints
    lag: Ints
    knots: Floats
    term: Ints

    @property
    def width(self) -> int:
        """Return the columns of its design: its terms, or one that arithmetic makes."""
        return self.term.shape[1] if self.kind is Kind.FITTED else 1

    def part(self, rows: slice | Ints) -> "Block":
        """Return the block of these of its variables."""
        return Block(
            self.kind,
            self.variables[rows],
            cause=self.cause[rows],
            lag=self.lag[rows],
            knots=self.knots,
            term=self.term[rows],
        )

    def straight(self) -> "Block":
        """Return the block without its bent columns."""
        size = self.cause.shape[1] if len(self.knots) else 0
        return replace(self, knots=self.knots[:1], term=self.term[:, :size])

    def chunks(self, rows: int) -> Iterator[tuple[slice, "Block"]]:
        """Yield the block in parts of which so many rows each are small enough to be gathered."""
        step = max(1, _AT_ONCE // max(1, (self.width + 1) * rows))
        for start in range(0, len(self.variables), step):
            part = slice(start, start + step)
            yield part, self.part(part)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """N terms, each one column of one variable's regression, ordered by variable.

    effect, cause, lag, link: (N,); knot: (N,) in scales from the cause's centre, LINEAR for none
    group: (V,) variables of one number share coefficients; slot: (N,) which of the group's
    width: (groups,) coefficients of each group
    """

    effect: Ints
    cause: Ints
    lag: Ints
    link: Ints
    knot: Floats
    group: Ints
    slot: Ints
    width: Ints
    blocks: tuple[Block, ...]


def terms_of(links: Links, knots: tuple[float, ...] = ()) -> Terms:
    """Return a linear term for each lag of each fitted link, and for each of ``knots`` a bent one.

    Links into arithmetic variables have no terms, only a block.
    """
    bends = np.array([LINEAR, *knots])
    fitted = np.flatnonzero(links.kind[links.effect] == Kind.FITTED)
    count = links.last[fitted] - links.first[fitted] + 1
    row = np.repeat(fitted, count)
    lag = links.first[row] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    row, lag = np.repeat(row, len(bends)), np.repeat(lag, len(bends))
    bend = np.tile(np.arange(len(bends)), count.sum())
    by = np.lexsort((lag, row, bend, links.effect[row]))
    row, lag, bend = row[by], lag[by], bend[by]
    effect, cause = links.effect[row], links.cause[row]
    group, slot, width = _shared(links, row=row, lag=lag, bend=bend)
    blocks = []
    for at, term in _equal_sized(effect, np.flatnonzero(_is_fitted(links))):
        own = term[:, : term.shape[1] // len(bends)]
        blocks.append(Block(Kind.FITTED, at, cause[own], lag[own], bends, term))
    return Terms(
        effect=effect,
        cause=cause,
        lag=lag,
        link=row,
        knot=bends[bend],
        group=group,
        slot=slot,
        width=width,
        blocks=(*blocks, *_arithmetic(links)),
    )


def _is_fitted(links: Links) -> Bools:
    """(V,) which variables are fitted: arithmetic on no causes says nothing."""
    has_causes = np.bincount(links.effect, minlength=links.size) > 0
    return np.asarray((links.kind == Kind.FITTED) | ~has_causes)


def _arithmetic(links: Links) -> Iterator[Block]:
    by = np.argsort(links.effect, kind="stable")
    for kind in (Kind.MAX, Kind.SUM):
        variables = np.flatnonzero((links.kind == kind) & ~_is_fitted(links))
        for at, place in _equal_sized(links.effect[by], variables):
            link, none = by[place], np.zeros((len(at), 0), dtype=np.int64)
            yield Block(kind, at, links.cause[link], links.first[link], np.zeros(0), none)


def _equal_sized(effect: Ints, variables: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield (n,) of ``variables`` and (n, p) places in the ascending ``effect``, for each p."""
    start = np.searchsorted(effect, variables)
    count = np.searchsorted(effect, variables, side="right") - start
    for size in np.unique(count).tolist():
        rows = count == size
        yield variables[rows], start[rows][:, None] + np.arange(size)


def _shared(links: Links, *, row: Ints, lag: Ints, bend: Ints) -> tuple[Ints, Ints, Ints]:
    """Return (V,) group, (N,) slot and (groups,) width: who shares which coefficient.

    Variables are joined until no pool reaches from one group into another.
    """
    effect, pool = links.effect[row], links.pool[row]
    shared = np.flatnonzero(pool >= 0)
    key = np.stack([pool[shared], lag[shared], bend[shared]])
    number = np.arange(len(row))
    number[shared] = len(row) + np.unique(key, axis=1, return_inverse=True)[1].reshape(-1)
    label = np.arange(links.size)
    while len(row):
        least = np.full(number.max() + 1, links.size)
        np.minimum.at(least, number, label[effect])
        joined = label.copy()
        np.minimum.at(joined, effect, least[number])
        if (joined == label).all():
            break
        label = joined
    _, group = np.unique(label, return_inverse=True)
    wide = int(number.max(initial=0)) + 1
    pairs, which = np.unique(group[effect] * wide + number, return_inverse=True)
    width = np.bincount(pairs // wide, minlength=group.max(initial=-1) + 1)
    return group, which - (np.cumsum(width) - width)[group[effect]], width


def gather(value: Floats, causes: Ints, lag: Ints, columns: slice) -> Floats:
    """Return (n, p, C) readings of (n, p) causes, each ``lag`` rows before ``columns``.

    value: (V, T); rows before the first are NaN.
    """
    taken = value[causes.ravel(), columns]
    for late in np.unique(lag[lag > 0]).tolist():
        rows = np.flatnonzero(lag.ravel() == late)
        start = columns.start - late
        before = value[causes.ravel()[rows], max(0, start) : max(0, columns.stop - late)]
        short = taken.shape[1] - before.shape[1]
        taken[rows] = np.pad(before, ((0, 0), (short, 0)), constant_values=np.nan)
    return taken.reshape(*causes.shape, taken.shape[1])


def columns_of(value: Floats, block: Block, place: Place, columns: slice, *, clip: bool) -> Floats:
    """Return (n, width, C) the design of a block's variables at these rows, about their centres.

    clip: whether causes are held inside the range they were seen in. NaN where a cause has no
    reading, but 0 for one that hardly ever has any.
    """
    x = gather(value, block.cause, block.lag, columns)
    if block.kind is not Kind.FITTED:
        joined = np.fmax.reduce(x, axis=1) if block.kind is Kind.MAX else x.sum(axis=1)
        return np.asarray((joined - place.centre[block.variables][:, None])[:, None])
    if clip:
        np.clip(x, place.low[block.cause][..., None], place.high[block.cause][..., None], out=x)
    x -= place.centre[block.cause][..., None]
    silent = ~place.measured[block.cause]
    if silent.any():
        x[silent] = np.nan_to_num(x[silent])
    if len(block.knots) == 1:
        return x
    size, causes, rows = x.shape
    bent = np.empty((size, len(block.knots), causes, rows))
    bent[:, 0] = x
    for number, knot in enumerate(block.knots[1:].tolist(), start=1):
        at = knot * place.scale[block.cause]
        np.subtract(x, at[..., None], out=bent[:, number])
        np.maximum(bent[:, number], 0.0, out=bent[:, number])
    return bent.reshape(size, block.width, rows)


def cleaned(value: Floats) -> Floats:
    """Return the readings with everything that no sensor can mean (infinities, 1e100) as NaN."""
    if np.fmax.reduce(value, axis=None) < 1e100 and np.fmin.reduce(value, axis=None) > -1e100:
        return value
    return np.where(np.abs(value) < 1e100, value, np.nan)
