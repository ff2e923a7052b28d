"""A moment of decision of which the situation alone is asked for."""

from dataclasses import dataclass

from core.cluster import ClusterState
from core.situation import Situation
from core.types import Diagnosis, Incident


@dataclass(frozen=True, slots=True)
class BareMoment:
    """A moment without an incident: whoever looks behind the situation fails."""

    situation: Situation
    now_s: float = 0.0

    @property
    def incident(self) -> Incident:
        raise AssertionError("the incident was looked at")

    @property
    def diagnosis(self) -> Diagnosis:
        raise AssertionError("the diagnosis was looked at")

    @property
    def state(self) -> ClusterState:
        raise AssertionError("the cluster was looked at")
