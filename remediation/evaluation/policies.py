"""Every policy by name, made anew for each life."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from remediation.deciding.chooser import Chooser
from remediation.evaluation.comparison import BEST_STATIC
from remediation.policies.greedy import WEIGHTS, Greedy
from remediation.policies.learned import LearnedChooser
from remediation.policies.rulebook import Runbook
from remediation.policies.thumb import THUMBS
from remediation.policies.trained import Trained, load
from remediation.policies.tuned import tuned
from remediation.twin.lookahead import TwinLookahead, TwinSettings
from remediation.twin.oracle import Oracle, Within
from remediation.twin.rolling import Inner
from sim.lanes import Lane

RUNBOOK, TUNED, GREEDY, TWIN, ORACLE = "runbook", "tuned_runbook", "greedy", "twin", "oracle"
RANDOM, ALL = "random", "all"
HEADLINE = TWIN  # whose figures head a table: chosen on tuning lives, before any held-out one
TWIN_OVER = "twin_over_"  # and the policy whose choice it keeps where none is surely better
# Rules that are the same everywhere; the best of them in each family is best_static.
STATIC = (*(name for name in THUMBS if name != RANDOM), RUNBOOK, TUNED)
# Not to be had in life: they know the fault, or which rule will have been best.
HINDSIGHT = (BEST_STATIC, ORACLE)
# In life a decision has a time limit; here a busy machine must not change what is decided.
_AS_LONG_AS_IT_TAKES = TwinSettings(limit_s=math.inf)


@dataclass(frozen=True, slots=True, eq=False)
class Entrant:
    """A policy that takes part: its name, and what a file of a trained one holds."""

    name: str
    trained: Trained | None = None


_PLAIN: Mapping[str, Callable[[], Chooser]] = {
    **THUMBS,
    RUNBOOK: Runbook,
    TUNED: Runbook.tuned,
    GREEDY: Greedy,
    "tuned_greedy": Greedy.tuned,
}
BUILT_IN = (*_PLAIN, TWIN, ORACLE)


def make(entrant: Entrant, lane: Lane) -> Chooser:
    """Return the policy for a life that a lane is about to live; nothing is kept between lives."""
    name = entrant.name
    if entrant.trained is not None:
        learned = LearnedChooser(entrant.trained, fallback=Runbook.tuned())
        return (
            looking_ahead(learned, _AS_LONG_AS_IT_TAKES) if name.startswith(TWIN_OVER) else learned
        )
    if name == ORACLE:
        return Oracle(lane)
    if name == TWIN:
        return looking_ahead(Greedy.tuned(), _AS_LONG_AS_IT_TAKES)
    return _PLAIN[name]()


def shipped() -> dict[str, Trained]:
    """Return the trained policies that come with gpumedic, by name."""
    files = sorted((Path(__file__).parent.parent / "policies" / "shipped").glob("*.npz"))
    return {file.stem: load(file) for file in files}


def looking_ahead(inner: Chooser, settings: TwinSettings) -> Chooser:
    """Return a policy that tries choices on; the tuned greedy one goes on inside its roll-outs."""
    within = Within(Inner.GREEDY, tuned(GREEDY, WEIGHTS))
    return TwinLookahead(inner, settings, within=within)


def entrants(words: Sequence[str], trained: Mapping[str, Trained]) -> tuple[Entrant, ...]:
    """Return who takes part; ``all`` is every built-in policy and every trained one.

    words: names; best_static names its rules. InputError names those there are.
    """
    known = (*BUILT_IN, BEST_STATIC, *trained, *(TWIN_OVER + name for name in trained))
    asked = list(dict.fromkeys(words))
    if ALL in asked:
        asked = [*BUILT_IN, *trained, BEST_STATIC]
    if wrong := [word for word in asked if word not in known]:
        raise InputError(
            f"no policy {wrong[0]!r}; there are {', '.join(known)}. A trained one is named by its "
            "file: --policy FILE."
        )
    if BEST_STATIC in asked:
        asked = [*asked, *STATIC]
    return tuple(
        Entrant(word, trained.get(word.removeprefix(TWIN_OVER)))
        for word in dict.fromkeys(asked)
        if word != BEST_STATIC
    )
