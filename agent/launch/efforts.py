"""How much of the time each rank computes while others may wait: the slow one always does."""

from typing import TYPE_CHECKING

from agent.launch.jobside.gpumedic_job.layout import Phase
from agent.launch.members import Stage

if TYPE_CHECKING:
    from agent.launch.coordinator import Coordinator

# A look is forgotten to one part in e after so many: at ten looks a second, three seconds.
_LOOKS = 30


class Efforts:
    """Shares of the looks at which a rank was not waiting for the others' gradients."""

    def __init__(self) -> None:
        self.shares: dict[int, float] = {}
        self._generation = -1

    def see(self, launch: "Coordinator") -> None:
        """Take a look; a new generation is another story."""
        if launch.stage is not Stage.RUNNING:
            return
        if launch.generation != self._generation:
            self._generation = launch.generation
            self.shares.clear()
        for seat in launch.seats:
            member = launch.members.get(seat.uid or "")
            if member is None or member.beat is None:
                continue
            computes = float(member.beat.phase is not Phase.ARRIVED)
            before = self.shares.setdefault(seat.rank, computes)
            self.shares[seat.rank] = before + (computes - before) / _LOOKS
