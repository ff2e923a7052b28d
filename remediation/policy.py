"""What every policy is: from a diagnosis and the cluster as it is now, a plan or none."""

from typing import Protocol

from core.cluster import ClusterState
from core.types import Diagnosis, Incident, Plan


class Policy(Protocol):
    """Proposes; guards dispose. The same input gives the same plan."""

    name: str
    version: str

    def decide(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
    ) -> Plan | None:
        """Return what to do about the incident, or None for nothing but telling."""
        ...
