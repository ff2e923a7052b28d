"""What a rank is told of its place in a new group, and of the state that it goes on with."""

from agent.launch.agreeing import Agreement, Taking
from agent.launch.members import Seat
from agent.launch.plan import Message
from agent.launch.seating import Seating


def place_of(seating: Seating, seat: Seat, taking: Taking, agreed: Agreement) -> Message:
    """Return a rank's place and its part in giving every rank its state.

    keeper, ward: the ranks on the next and the last node that keep this one's own state, and whose
                  it keeps; none where all ranks are on one node
    """
    keeper, ward = seating.beyond(seat, 1), seating.beyond(seat, -1)
    return {
        "rank": seat.rank,
        "local_rank": seat.local_rank,
        "world": len(seating.seats),
        "step": agreed.step,
        "shared": taking.shared,
        "own": taking.own,
        "source": agreed.source,
        "receivers": [*agreed.receivers] if seat.rank == agreed.source else [],
        "moves": agreed.moves,
        "seat": seat.number,
        "keeper": keeper and keeper.rank,
        "ward": ward and ward.rank,
        "ward_seat": ward and ward.number,
        "writer": seat.local_rank == 0,
    }
