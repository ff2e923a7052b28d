"""What every policy is: at a moment of decision about one incident, a choice from the menu.

A choice is a number; what it comes to as a plan of actions is worked out once, for all of them
(``remediation.deciding.plans``), and the guards dispose. The same moment gives the same choice.
"""

from dataclasses import dataclass
from typing import Protocol

from core.choice import Choice
from core.cluster import ClusterState
from core.situation import Situation
from core.types import Diagnosis, Incident


class Moment(Protocol):
    """A decision that is due. All but the situation is worked out when it is first asked for."""

    @property
    def situation(self) -> Situation:
        """Return the facts and which choices are open."""
        ...

    @property
    def incident(self) -> Incident:
        """Return the incident."""
        ...

    @property
    def diagnosis(self) -> Diagnosis:
        """Return what is said about its cause."""
        ...

    @property
    def state(self) -> ClusterState:
        """Return the cluster as its scheduler sees it."""
        ...

    @property
    def now_s(self) -> float:
        """Return the time, seconds since the epoch."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A moment with all of it worked out, as it is handed to another process."""

    situation: Situation
    incident: Incident
    diagnosis: Diagnosis
    state: ClusterState
    now_s: float

    @classmethod
    def of(cls, moment: Moment) -> "Seen":
        """Return the moment, worked out."""
        about = (moment.incident, moment.diagnosis, moment.state, moment.now_s)
        return cls(moment.situation, *about)


@dataclass(frozen=True, slots=True)
class Thought:
    """What a policy chose that was asked in another process.

    chances: (len(Choice),) probability with which it makes each choice; empty: it makes this one
    losses: (len(Choice),) GPU-seconds that it expects each choice to lose, NaN: not known; empty:
        it does not say
    """

    choice: Choice
    name: str
    version: str
    chances: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()


class Chooser(Protocol):
    """Chooses; ``choose`` names one of ``moment.situation.open``."""

    name: str
    version: str

    def choose(self, moment: Moment) -> Choice:
        """Return what to do about the incident now."""
        ...
