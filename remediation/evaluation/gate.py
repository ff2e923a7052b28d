"""Whether a policy may act in the runbook's place: what must hold, and what was found."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.types import Floats
from remediation.evaluation.comparison import Comparison
from remediation.evaluation.intervals import Interval, ratio
from remediation.evaluation.life import priced_gpu_h

LEAST_LIVES = 10  # a family, below which an interval says nothing


@dataclass(frozen=True, slots=True)
class Family:
    """The policy's priced loss over the rule's in one family of clusters."""

    name: str
    lives: int
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy's evaluation came to.

    rule: what it was held against; acting: and what acted then, "" where that was the rule
    low, high: 95 % interval of the ratio of priced losses over all families
    refused: why it may not act, one sentence each; empty: it may
    """

    policy: str
    version: str
    rule: str
    lives: int
    ratio: float
    low: float
    high: float
    families: tuple[Family, ...]
    breaches: int
    refused: tuple[str, ...]
    acting: str = ""

    @property
    def passed(self) -> bool:
        """Say whether the policy may act."""
        return not self.refused


def verdict(
    found: Comparison, policy: str, *, rule: str, version: str, acting: str = ""
) -> Verdict:
    """Hold a policy against a rule on the same lives, and against what acts now if that is another.

    It may act where it breaks no guard, its loss over all families is below the rule's with the
    whole interval, and in no family above it with the whole interval; nor, over all, above that of
    what acts.
    """
    own, other = found.column(policy, priced_gpu_h), found.column(rule, priced_gpu_h)
    whole = ratio(own, other)
    families = tuple(
        Family(name, len(own[name]), *ratio({name: own[name]}, {name: other[name]}))
        for name in found.families
    )
    breaches = sum(len(each.breaches) for each in found.lives(policy))
    return Verdict(
        policy,
        version,
        rule,
        sum(each.lives for each in families),
        *whole,
        families,
        breaches,
        (
            *_refusals(policy, rule, whole, families, breaches),
            *(_behind(own, found.column(acting, priced_gpu_h), policy) if acting else ()),
        ),
        acting,
    )


def _behind(own: Mapping[str, Floats], acts: Mapping[str, Floats], policy: str) -> list[str]:
    """Say that it loses more than what acts, where it surely does."""
    against = ratio(own, acts)
    if against.low <= 1.0:
        return []
    return [
        f"{policy} loses {against.value:.3f} times what the policy does that acts now "
        f"({against.low:.3f} to {against.high:.3f}); the interval must not lie above 1."
    ]


def _refusals(
    policy: str, rule: str, whole: Interval, families: Sequence[Family], breaches: int
) -> list[str]:
    found = []
    few = [each.name for each in families if each.lives < LEAST_LIVES]
    if few or not families:
        found.append(
            f"{', '.join(few) or 'no family'}: fewer than {LEAST_LIVES} lives were lived; "
            "ask for more with --lives."
        )
    if breaches:
        found.append(f"{breaches} orders of {policy} broke a guard; none may.")
    if not whole.high < 1.0:
        found.append(
            f"{policy} loses {whole.value:.3f} times what {rule} does ({whole.low:.3f} to "
            f"{whole.high:.3f}); the whole interval must be below 1."
        )
    found += [
        f"in {each.name} {policy} loses {each.ratio:.3f} times what {rule} does "
        f"({each.low:.3f} to {each.high:.3f}); the interval must not lie above 1."
        for each in families
        if each.low > 1.0 or math.isnan(each.ratio)
    ]
    return found
