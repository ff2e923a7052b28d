"""What the data say of every known link: supported, contradicted, or not enough to say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rca.graph.dependence import Dependence, dependence, discoveries, wanders
from rca.graph.pooled import Pooled
from rca.graph.templates import Template

# The least partial correlation that matters: Cohen's "small" (Statistical power analysis, 1988).
MATTERS = 0.1
FALSE_SHARE = 0.05  # of what is found, so much may be chance
WANDERS = 0.5  # half of what moves a cause is still there at the next reading: more than noise
_SIGMAS = 2.0


class Verdict(StrEnum):
    """What the data say of a link."""

    SUPPORTED = "supported"
    WRONG_SIGN = "wrong sign"
    ABSENT = "no dependence"
    UNDECIDED = "undecided"
    NOT_EXCITED = "not excited"


@dataclass(frozen=True, slots=True)
class Tested:
    """A link, what the data show of it and what that means.

    supported:     they depend on each other within the link's window of lags, with its sign
    wrong sign:    they depend, the other way round
    no dependence: both move, and whatever there is is smaller than MATTERS
    undecided:     it might be there or not: more readings would tell
    not excited:   one of them stands still in these readings, or the cause has nothing but noise,
                   or the link acts near a limit only: nothing can be said
    """

    link: Template
    found: Dependence
    verdict: Verdict

    @property
    def contradicted(self) -> bool:
        """Say whether the data speak against the link."""
        return self.verdict in (Verdict.WRONG_SIGN, Verdict.ABSENT)


def judge(pooled: Pooled, links: Iterable[Template]) -> tuple[Tested, ...]:
    """Test every link between metrics that have readings, in its window of lags.

    Of all dependences that are called real at most FALSE_SHARE are expected to be chance.
    """
    known = [link for link in links if {link.cause, link.effect} <= pooled.windows.keys()]
    causes = [pooled.cause(link) for link in known]
    found = [
        dependence(pooled.effect(link.effect), cause, pooled.lags(link))
        for link, cause in zip(known, causes, strict=True)
    ]
    real = discoveries([one.p for one in found], FALSE_SHARE)
    return tuple(
        Tested(link, one, _verdict(link, one, is_real, wanders(cause) >= WANDERS))
        for link, one, is_real, cause in zip(known, found, real, causes, strict=True)
    )


def _verdict(link: Template, found: Dependence, real: bool, moved: bool) -> Verdict:
    if not found.excited:
        return Verdict.NOT_EXCITED
    if real and found.r * link.sign > 0:
        return Verdict.SUPPORTED
    if real and abs(found.r) >= MATTERS:
        return Verdict.WRONG_SIGN
    if abs(found.r) + _SIGMAS * found.error >= MATTERS:
        return Verdict.UNDECIDED
    return Verdict.ABSENT if moved and link.strength >= 1 else Verdict.NOT_EXCITED


def contradictions(tested: Sequence[Tested]) -> tuple[Tested, ...]:
    """Return the links that the data speak against, the strongest evidence first."""
    against = [one for one in tested if one.contradicted]
    return tuple(sorted(against, key=lambda one: (one.verdict, one.found.p)))
