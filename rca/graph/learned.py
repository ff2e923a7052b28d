"""Links that normal readings suggest and nobody knows: hypotheses to look at, never to act on.

For every two metrics whose targets can be linked, the effect is tested on the cause's past with its
known causes and its own past held fixed; what stands is tested again beside what else stands. Off
line only: never during an incident, whose readings are not normal.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rca.graph.dependence import Dependence, dependence, discoveries
from rca.graph.falsify import FALSE_SHARE, MATTERS
from rca.graph.links import joins_of
from rca.graph.pooled import Pooled
from rca.graph.templates import LEARNED_STRENGTH, Join, Provenance, Template

MOST_LAG = 4  # readings; beyond, a slow common cause is likelier than a link
_MOST_HELD = 6  # causes held fixed at once
_NOT_LEARNED = (Join.SWITCH_JOB,)  # everything under a leaf would be linked with everything


@dataclass(frozen=True, slots=True)
class Suggested:
    """A dependence that the known links do not explain.

    directed: the cause comes first, in time or because the known links forbid the other way;
              else either may be the cause, or both have one that nobody measures
    """

    link: Template
    found: Dependence
    directed: bool


def learn(pooled: Pooled, links: Collection[Template]) -> tuple[Suggested, ...]:
    """Return what normal readings suggest beside the known links, strongest evidence first.

    links: known ones, of which feedback counts as known too
    At most FALSE_SHARE of what is returned is expected to be chance; what is weaker than MATTERS
    is left out. No suggestion closes a cycle with the known links and those before it.
    """
    tried = list(_candidates(pooled, links))
    first = [_held_fixed(pooled, link, links) for link in tried]
    real = discoveries([one.p for one in first], FALSE_SHARE)
    standing = [
        (link, one)
        for link, one, is_real in zip(tried, first, real, strict=True)
        if is_real and abs(one.r) >= MATTERS
    ]
    again = [
        (link, _held_fixed(pooled, link, links, _rivals(link, standing))) for link, _ in standing
    ]
    kept = discoveries([one.p for _, one in again], FALSE_SHARE)
    last = [pair for pair, is_real in zip(again, kept, strict=True) if is_real]
    strong = [pair for pair in last if abs(pair[1].r) >= MATTERS]
    return tuple(_directed(strong, links, pooled.step_s))


def _candidates(pooled: Pooled, links: Collection[Template]) -> Iterator[Template]:
    """Yield a link by the closest join for every ordered pair without a known one."""
    known = {(link.cause, link.effect) for link in links}
    for cause in pooled.windows:
        for effect in pooled.windows:
            joins = [j for j in joins_of(cause, effect) if j not in _NOT_LEARNED]
            if cause != effect and joins and (cause, effect) not in known:
                yield Template(
                    cause,
                    effect,
                    joins[0],
                    strength=LEARNED_STRENGTH,
                    provenance=Provenance.LEARNED,
                    source="readings of normal times",
                )


def _held_fixed(
    pooled: Pooled,
    link: Template,
    links: Iterable[Template],
    rivals: Sequence[Template] = (),
) -> Dependence:
    """Test one candidate with the effect's known causes, and rivals, held fixed."""
    known = [
        other
        for other in links
        if other.effect == link.effect
        and other.cause in pooled.windows
        and other.cause != link.cause
    ]
    held = [pooled.cause(other) for other in (*known, *rivals)][:_MOST_HELD]
    lags = range(MOST_LAG + 1)
    return dependence(pooled.effect(link.effect), pooled.cause(link), lags, held=held)


def _rivals(
    link: Template, standing: Sequence[tuple[Template, Dependence]]
) -> tuple[Template, ...]:
    """Return the stronger candidates for the same effect, strongest first."""
    mine = next(one for other, one in standing if other is link)
    others = [
        (other, one)
        for other, one in standing
        if other.effect == link.effect and other is not link and abs(one.r) > abs(mine.r)
    ]
    return tuple(other for other, _ in sorted(others, key=lambda pair: -abs(pair[1].r)))


def _directed(
    strong: Sequence[tuple[Template, Dependence]], links: Iterable[Template], step_s: float
) -> Iterator[Suggested]:
    """Give each its sign, lag and direction; of both directions of a pair the surer one."""
    below = _descendants(links)
    seen: set[frozenset[str]] = set()
    for link, one in sorted(strong, key=lambda pair: (pair[1].p, -abs(pair[1].r))):
        pair = frozenset((link.cause, link.effect))
        if pair in seen or link.cause in below.get(link.effect, ()):
            continue
        seen.add(pair)
        fitted = replace(
            link,
            sign=1 if one.r > 0 else -1,
            lag_least_s=max(one.lag - 1, 0) * step_s,
            lag_s=max(one.lag, 1) * step_s,
            why=f"partial correlation {one.r:+.2f} in {one.blocks} blocks of time",
        )
        directed = one.lag > 0 or link.effect in below.get(link.cause, ())
        if directed:
            _add(below, link.cause, link.effect)
        yield Suggested(fitted, one, directed)


def _descendants(links: Iterable[Template]) -> dict[str, set[str]]:
    """Return each metric's effects, near and far, along the links that are no feedback."""
    below: dict[str, set[str]] = {}
    for link in links:
        if not link.feedback:
            _add(below, link.cause, link.effect)
    return below


def _add(below: dict[str, set[str]], cause: str, effect: str) -> None:
    """Put a link in, so that everything above the cause is above the effect too."""
    more = {effect, *below.get(effect, ())}
    for name in [cause, *(name for name, under in below.items() if cause in under)]:
        below.setdefault(name, set()).update(more)


def proposed(suggested: Iterable[Suggested]) -> tuple[Template, ...]:
    """Return the suggestions whose direction is known, as links."""
    return tuple(one.link for one in suggested if one.directed)
