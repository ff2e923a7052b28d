"""Every policy by name, made anew for each life."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.errors import InputError
from remediation.deciding.chooser import Chooser
from remediation.evaluation.comparison import BEST_STATIC
from remediation.policies.compiled import flat
from remediation.policies.greedy import Greedy
from remediation.policies.learned import SHIPPED, LearnedChooser
from remediation.policies.rulebook import KNOBS, Runbook
from remediation.policies.thumb import THUMBS
from remediation.policies.trained import Trained, load
from remediation.policies.tuned import tuned
from remediation.twin.lookahead import TwinLookahead, TwinSettings
from remediation.twin.oracle import Oracle, Within
from remediation.twin.present import Present
from remediation.twin.rolling import Inner
from sim.lanes import Lane

RUNBOOK, TUNED, GREEDY, TWIN, ORACLE = "runbook", "tuned_runbook", "greedy", "twin", "oracle"
TUNED_GREEDY = "tuned_greedy"
PRESENT = "present"  # by name only: it is slow
RANDOM, ALL = "random", "all"
ACTS = "acts_now"  # what was adopted before the one that is to be
HEADLINE = TWIN  # whose figures head a table: chosen on tuning lives, before any held-out one
TWIN_OVER = "twin_over_"  # and the trained policy that it goes on with; the twin: the shipped one
# Rules that are the same everywhere; the best of them in each family is best_static.
STATIC = (*(name for name in THUMBS if name != RANDOM), RUNBOOK, TUNED)
# Not to be had in life: they know the fault, or which rule will have been best.
HINDSIGHT = (BEST_STATIC, PRESENT, ORACLE)
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
    TUNED_GREEDY: Greedy.tuned,
}
BUILT_IN = (*_PLAIN, TWIN, ORACLE)
# Names of rows that are no file's.
TAKEN = (*BUILT_IN, PRESENT, BEST_STATIC, ACTS, ALL)


def make(entrant: Entrant, lane: Lane) -> Chooser:
    """Return the policy for a life that a lane is about to live; nothing is kept between lives."""
    name = entrant.name
    if entrant.trained is not None:
        if name.startswith(TWIN_OVER):
            return looking_ahead(entrant.trained, _AS_LONG_AS_IT_TAKES)
        return LearnedChooser(entrant.trained, fallback=Runbook.tuned())
    if name == ORACLE:
        return Oracle(lane)
    if name == PRESENT:
        ahead, network = _AS_LONG_AS_IT_TAKES, shipped_network()
        own = LearnedChooser(network, fallback=Runbook.tuned())
        return Present(lane, own, ahead, within=trained_within(network))
    if name == TWIN:
        return looking_ahead(shipped_network(), _AS_LONG_AS_IT_TAKES)
    return _PLAIN[name]()


def shipped() -> dict[str, Trained]:
    """Return the trained policies that come with gpumedic, by name."""
    files = sorted((Path(__file__).parent.parent / "policies" / "shipped").glob("*.npz"))
    return {file.stem: load(file) for file in files}


@cache
def shipped_network() -> Trained:
    """Return the learned policy that the twin goes on with, unless told of another."""
    return load(SHIPPED)


def looking_ahead(trained: Trained, settings: TwinSettings) -> TwinLookahead:
    """Return a policy that tries choices on; a learned one goes on inside its roll-outs.

    Where no choice is surely better than the learned policy's own, that one is taken.
    """
    learned = LearnedChooser(trained, fallback=Runbook.tuned())
    return TwinLookahead(learned, settings, within=trained_within(trained))


def trained_within(trained: Trained) -> Within:
    """Return a trained policy, with its fallback, as compiled roll-outs go on with it."""
    fallback = tuned(RUNBOOK, KNOBS)
    return Within(Inner.NETWORK, flat(trained.network, trained.known, fallback=fallback))


def entrants(words: Sequence[str], trained: Mapping[str, Trained]) -> tuple[Entrant, ...]:
    """Return who takes part; ``all`` is every built-in policy and every trained one.

    words: names; best_static names its rules. InputError names those there are.
    """
    known = (*BUILT_IN, PRESENT, BEST_STATIC, *trained, *(TWIN_OVER + name for name in trained))
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
