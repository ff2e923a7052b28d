"""Which rank is on which node."""

from agent.launch.members import Seat
from agent.launch.plan import Plan


class Seating:
    """The seats of the world: ``per_node`` on each node in use, ranks in the nodes' order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.seats: list[Seat] = []
        self.numbers = 0

    def seat(self, nodes: list[str]) -> None:
        """Lay the world out over these nodes."""
        self.seats = []
        for node in nodes:
            self.add(node)

    def clear(self) -> None:
        """Leave no seat."""
        self.seats = []

    def nodes(self) -> list[str]:
        """Return the nodes in use, in the order of their ranks."""
        return list(dict.fromkeys(seat.node for seat in self.seats))

    def uses(self, node: str) -> bool:
        """Say whether the node has a rank."""
        return any(seat.node == node for seat in self.seats)

    def move(self, lost: str, spares: dict[str, int]) -> str | None:
        """Give a lost node's ranks to the spare with most standbys; return it, None where none is.

        spares: nodes without ranks, with how many standbys are ready there
        """
        if not spares:
            return None
        spare = max(spares, key=lambda name: spares[name])
        for seat in self.seats:
            if seat.node == lost:
                seat.node, seat.uid = spare, None
        return spare

    def add(self, node: str) -> None:
        """Lay further seats out on a node, after those there are."""
        first = len(self.seats)
        self.seats += [
            Seat(first + local, node, local, self.numbers + local)
            for local in range(self._plan.per_node)
        ]
        self.numbers += self._plan.per_node

    def beyond(self, seat: Seat, nodes: int) -> Seat | None:
        """Return the same place so many nodes further round; None where all are on one node."""
        far = self.seats[(seat.rank + nodes * self._plan.per_node) % len(self.seats)]
        return far if far.node != seat.node else None

    def drop(self, lost: str) -> bool:
        """Go on without a node and number the ranks anew; False where too few would be left."""
        left = [seat for seat in self.seats if seat.node != lost]
        if len(left) < self._plan.min_nodes * self._plan.per_node:
            return False
        self.seats = left
        for rank, seat in enumerate(left):
            seat.rank = rank
        return True
