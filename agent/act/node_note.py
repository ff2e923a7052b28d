"""What is known of a node beside its scheduler, which has no place for it."""

from dataclasses import dataclass, replace

from core.cluster import NodeState


@dataclass(frozen=True, slots=True)
class NodeNote:
    """See core.cluster.NodeState, whose names these are."""

    checked_s: float | None = None
    finding: str = ""
    reset_s: float | None = None
    paged_s: float | None = None
    clocks: float = 1.0
    power_watts: float | None = None

    def beside(self, node: NodeState) -> NodeState:
        """Return the node with what is noted of it."""
        return replace(
            node,
            checked_s=self.checked_s,
            finding=self.finding,
            reset_s=self.reset_s,
            paged_s=self.paged_s,
            clocks=self.clocks,
            power_watts=self.power_watts,
        )
