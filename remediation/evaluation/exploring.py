"""A policy that leaves a little to chance, so that its journal can tell what others would lose."""

import hashlib

import numpy as np

from core.choice import Choice
from core.situation import Fact
from core.types import Floats
from remediation.deciding.chooser import Chooser, Moment

# What undoes itself or loses no more than a restart: chance never pages, shrinks, borrows a node,
# takes two nodes out, throws work away or turns a knob.
SAFE = (
    Choice.WAIT,
    Choice.CHECKPOINT,
    Choice.RESTART,
    Choice.REBOOT,
    Choice.SWAP,
    Choice.SWAP_AND_REPAIR,
)
EACH_S = 600.0  # an incident's age is cut into stretches of this length, one draw each


class Exploring:
    """Does what a policy does, but with probability ``share`` takes an open safe choice evenly.

    The same moment gives the same choice: the chance is drawn from the seed, the incident, what was
    tried for it and each ten minutes of its age, because a policy is asked again every few seconds
    and must not change its mind each time. ``chances`` tells how likely each choice was.
    """

    def __init__(self, chooser: Chooser, *, share: float, seed: int = 0) -> None:
        self.name, self.version = chooser.name, chooser.version
        self._chooser, self._share, self._seed = chooser, share, seed

    def choose(self, moment: Moment) -> Choice:
        """Return the policy's choice, or sometimes another that is open and safe."""
        own, safe = self._chooser.choose(moment), _safe(moment)
        luck = _luck(moment, self._seed)
        if not safe or luck >= self._share:
            return own
        return safe[int(luck / self._share * len(safe))]

    def chances(self, moment: Moment) -> Floats:
        """Return (len(Choice),) the probability of each choice at this moment."""
        found = np.zeros(len(Choice))
        safe = _safe(moment)
        found[self._chooser.choose(moment)] = 1.0 - self._share if safe else 1.0
        for choice in safe:
            found[choice] += self._share / len(safe)
        return found


def _safe(moment: Moment) -> list[Choice]:
    return [choice for choice in SAFE if moment.situation.open[choice]]


def drawn_once(incident_id: str, facts: Floats) -> str:
    """Return a word that is the same for all moments which share one draw."""
    tried = facts[Fact.RESTARTS_TRIED] + facts[Fact.MOVES_TRIED]
    return f"{incident_id} {tried:.0f} {facts[Fact.AGE_S] // EACH_S:.0f}"


def _luck(moment: Moment, seed: int) -> float:
    """Return a number in [0, 1) for a moment."""
    word = f"{seed} {drawn_once(moment.incident.id, moment.situation.facts)}"
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)
