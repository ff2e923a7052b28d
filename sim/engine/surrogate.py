"""Detection and diagnosis drawn, not computed: when a fault is noticed, and what is blamed."""

from sim.engine.jit import compiled
from sim.engine.tables import Tables


@compiled
def watch(w: Tables, fault: int) -> None:
    """Draw when and as what a fault will be noticed; nothing where detection is computed."""


@compiled
def on_notice(w: Tables, fault: int, version: int) -> None:
    """Open an incident and stop for a decision."""
