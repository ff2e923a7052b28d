"""Results of lives as columns: one a policy and family, the lives in the same order for all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from core.types import Floats
from remediation.evaluation.life import LifeResult

BEST_STATIC = "best_static"
Column = Callable[[LifeResult], float]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Policies on the same lives.

    of: policy -> family -> results by seed; every policy has the same families and seeds
    static: of each family the rule that was the best of all in hindsight
    """

    of: Mapping[str, Mapping[str, tuple[LifeResult, ...]]]
    static: Mapping[str, str]

    @property
    def policies(self) -> tuple[str, ...]:
        """Return the policies in the order they were given in."""
        return tuple(self.of)

    @property
    def families(self) -> tuple[str, ...]:
        """Return the families."""
        return tuple(next(iter(self.of.values()), {}))

    def column(self, policy: str, what: Column) -> dict[str, Floats]:
        """Return of each family one number a life."""
        return {
            family: np.array([what(each) for each in lives], dtype=np.float64)
            for family, lives in self.of[policy].items()
        }

    def lives(self, policy: str) -> list[LifeResult]:
        """Return all of a policy's results."""
        return [each for lives in self.of[policy].values() for each in lives]


def compared(results: Iterable[LifeResult], *, static: Iterable[str] = ()) -> Comparison:
    """Put results in columns; lives that not every policy has are left out.

    static: rules, the best of which in each family becomes ``best_static``: chosen on the very
    lives it is scored on, so it is a bound for rules that do not look, and no policy
    """
    found: dict[str, dict[tuple[str, int], LifeResult]] = {}
    for each in results:
        found.setdefault(each.policy, {})[each.family, each.seed] = each
    shared = set.intersection(*(set(lives) for lives in found.values())) if found else set()
    families = dict.fromkeys(family for lives in found.values() for family, _ in lives)
    of = {
        policy: {
            family: tuple(lives[key] for key in sorted(shared) if key[0] == family)
            for family in families
        }
        for policy, lives in found.items()
    }
    rules = [name for name in static if name in of]
    best = {family: _best(of, rules, family) for family in families} if rules else {}
    if best:
        of[BEST_STATIC] = {
            family: tuple(replace(each, policy=BEST_STATIC) for each in of[rule][family])
            for family, rule in best.items()
        }
    return Comparison(of, best)


def _best(
    of: Mapping[str, Mapping[str, tuple[LifeResult, ...]]], rules: Iterable[str], family: str
) -> str:
    return min(rules, key=lambda rule: sum(each.priced_gpu_s for each in of[rule][family]))
