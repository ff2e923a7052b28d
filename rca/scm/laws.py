"""What causes make of their effects: at every row with its lags, and at a lasting level."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from core.types import Floats, Ints
from rca.scm.design import LINEAR, Block, Place, Terms, columns_of
from rca.scm.fit import Fitted
from rca.scm.links import Kind, Links

_STILL = 1e-9  # scales; a cause that moved less has no secant, only a tangent


@dataclass(frozen=True, slots=True, eq=False)
class Laws:
    """All mechanisms of V variables, ready to be evaluated."""

    links: Links
    terms: Terms
    place: Place
    fitted: Fitted


def expectations(value: Floats, laws: Laws, *, start: int = 0) -> Iterator[tuple[Block, Floats]]:
    """Yield blocks of variables with (n, T - start) what their causes make of them at each row.

    value: (V, T); causes outside the range they were seen in are held at its end. NaN where a
    cause has no reading.
    """
    columns = slice(start, value.shape[1])
    place, fitted = laws.place, laws.fitted
    for block in _needed(laws):
        for _, chunk in block.chunks(columns.stop - start):
            at = chunk.variables
            base = (place.centre[at] + fitted.intercept[at])[:, None]
            if chunk.width == 0:
                yield chunk, np.broadcast_to(base, (len(at), columns.stop - start))
                continue
            x = columns_of(value, chunk, place, columns, clip=True)
            summed = np.einsum("np,npc->nc", _weight(chunk, fitted), x)
            yield chunk, base + summed


def _needed(laws: Laws) -> Iterator[Block]:
    """Yield all variables in blocks; those whose law is straight without bent columns."""
    for block in laws.terms.blocks:
        straight = block.straight()
        bent = (laws.fitted.coefficient[block.term[:, straight.term.shape[1] :]] != 0).any(axis=1)
        yield block.part(np.flatnonzero(bent))
        yield straight.part(np.flatnonzero(~bent))


def _weight(block: Block, fitted: Fitted) -> Floats:
    if block.kind is Kind.FITTED:
        return fitted.coefficient[block.term]
    return np.ones((len(block.variables), 1))


def settle(laws: Laws, level: Floats) -> Floats:
    """(V,) fill the levels that are NaN with what the variable's causes make of it in the end.

    One pass, causes first; a variable without causes gets its mean.
    """
    links, terms, fitted = laws.links, laws.terms, laws.fitted
    wanted = np.isnan(level)
    level = np.where(wanted, laws.place.centre + fitted.intercept, level)
    if not wanted.any():
        return level
    for step, part in zip(links.steps, links.in_order(terms.effect), strict=True):
        inside = part[wanted[terms.effect[part]]]
        np.add.at(level, terms.effect[inside], _carried(laws, level, inside))
        exact = step[wanted[links.effect[step]] & (links.kind[links.effect[step]] != Kind.FITTED)]
        for kind in (Kind.MAX, Kind.SUM):
            chosen = exact[links.kind[links.effect[exact]] == kind]
            effects = np.unique(links.effect[chosen])
            level[effects] = -np.inf if kind is Kind.MAX else 0.0
            join = np.maximum if kind is Kind.MAX else np.add
            join.at(level, links.effect[chosen], level[links.cause[chosen]])
            level[effects] += fitted.intercept[effects]
    return level


def _carried(laws: Laws, level: Floats, part: Ints) -> Floats:
    """Return what each of these terms adds to its effect when its cause lasts at ``level``."""
    place, terms = laws.place, laws.terms
    cause = terms.cause[part]
    held = np.clip(level[cause], place.low[cause], place.high[cause]) - place.centre[cause]
    knot = terms.knot[part]
    straight = knot == LINEAR
    at = np.where(straight, 0.0, knot) * place.scale[cause]
    beyond = np.where(straight, held, np.maximum(held - at, 0.0))
    return np.asarray(laws.fitted.coefficient[part] * np.nan_to_num(beyond))


def slopes(laws: Laws, normal: Floats, level: Floats) -> Floats:
    """(E,) change of each link's effect for each unit its cause has moved from normal to level.

    The secant of a bent mechanism; less than its gain where the cause has left the range it was
    seen in; of a maximum the share that its deciding cause carries. What all links of an effect
    carry together is so the sum of slope times movement, exactly.
    """
    terms, links, place = laws.terms, laws.links, laws.place
    every = np.arange(len(terms.effect))
    moved = (level - normal)[terms.cause]
    flow = _carried(laws, level, every) - _carried(laws, normal, every)
    away = (normal - place.centre)[terms.cause]
    bent = terms.knot != LINEAR
    at = np.where(bent, terms.knot, 0.0) * place.scale[terms.cause]
    tangent = np.where(bent & (away <= at), 0.0, laws.fitted.coefficient)
    still = np.abs(moved) <= _STILL * place.scale[terms.cause]
    each = np.where(still, tangent, flow / np.where(still, 1.0, moved))
    slope = np.bincount(terms.link, each, len(links.cause)).astype(np.float64)
    kind = links.kind[links.effect]
    slope[kind == Kind.SUM] = 1.0
    _decide(slope, np.flatnonzero(kind == Kind.MAX), links=links, normal=normal, level=level)
    return slope


def _decide(slope: Floats, chosen: Ints, *, links: Links, normal: Floats, level: Floats) -> None:
    """Set the slopes into maxima: the highest cause carries a rise, the once highest a fall."""
    if not len(chosen):
        return
    effect, cause = links.effect[chosen], links.cause[chosen]
    top, was = (_last_of_each(effect, state[cause]) for state in (level, normal))
    change = level[cause[top]] - normal[cause[was]]
    carrier = np.where(change > 0, top, was)
    moved = (level - normal)[cause[carrier]]
    slope[chosen] = 0.0
    slope[chosen[carrier]] = np.where(moved == 0, 0.0, change / np.where(moved == 0, 1.0, moved))


def _last_of_each(group: Ints, value: Floats) -> Ints:
    """Return for each distinct group, ascending, the place of its largest value."""
    by = np.lexsort((value, group))
    return np.asarray(by[np.append(np.flatnonzero(np.diff(group[by])), len(by) - 1)])
