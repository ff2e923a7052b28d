"""From which step a new generation goes on, and from where each rank takes the state of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agent.launch.members import Holdings, Member, Seat, Stand


@dataclass(frozen=True, slots=True)
class Taking:
    """What one rank does.

    shared: keep, receive or copy
    own:    keep, slot (of its node's memory), receive or draw
    """

    shared: str
    own: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """The step to go on from; ``source`` sends to ``receivers``, where there are any.

    moves: own states that a rank's node holds for a rank elsewhere: (from rank, to rank, seat), in
           the order in which all ranks do their part of them
    """

    step: int
    source: int | None
    receivers: tuple[int, ...]
    takings: tuple[Taking, ...]
    moves: tuple[tuple[int, int, int], ...] = ()

    @property
    def fresh(self) -> bool:
        """Say whether no state is anywhere: rank 0 begins from a checkpoint, or from nothing."""
        return self.takings[0].own == "keep"


def agree(
    seats: Sequence[Seat], members: Sequence[Member], holdings: Mapping[str, Holdings]
) -> Agreement:
    """Choose the newest step whose state is whole for every rank.

    members: of the seats, in the same order
    A rank may have applied an update that a dead one had not: its parameters are right, but the
    dead one's random state after that step is nowhere. So one step before the newest is taken
    where that is whole and the newest is not; beyond that, lost random states are drawn afresh.
    """
    world = _World(seats, members, holdings)
    steps = world.steps()
    if not steps:
        return _fresh_start(members)
    newest = max(steps)
    whole = [step for step in (newest, newest - 1) if step in steps and world.is_whole(step)]
    return world.agreement(max(whole, default=newest))


def is_kept(member: Member, members: Iterable[Member], held: Holdings) -> bool:
    """Say whether the shared state that this rank has is anywhere else, or is being left.

    held: by its node; only one rank of a node leaves a copy, for which there is one place
    """
    step = member.beat.step if member.beat else member.step
    return step in held.copies or any(
        (each.stand is Stand.READY and each.valid and not each.fresh and each.step == step)
        or (each.abandoned and each.node == member.node)
        for each in members
        if each is not member
    )


@dataclass(frozen=True, slots=True)
class _World:
    seats: Sequence[Seat]
    members: Sequence[Member]
    holdings: Mapping[str, Holdings]

    def steps(self) -> set[int]:
        """Return the steps of which some rank or some node's memory has the shared state."""
        alive = {each.step for each in self.members if each.valid and not each.fresh}
        copies = {step for seat in self.seats for step in self._held(seat).copies}
        return alive | copies

    def is_whole(self, step: int) -> bool:
        """Say whether every rank's own state after the step is known, on its node or another."""
        return all(self._holder(seat, step) is not None for seat in self.seats)

    def agreement(self, step: int) -> Agreement:
        """Say who takes what; those that have the state keep it, the nearest source is used."""
        shared = [self._shared(at, step) for at in range(len(self.seats))]
        receivers = tuple(at for at, how in enumerate(shared) if how == "receive")
        by_effort = sorted((how != "keep", at) for at, how in enumerate(shared) if how != "receive")
        source = by_effort[0][1] if receivers else None
        holders = [self._holder(seat, step) for seat in self.seats]
        takings = tuple(
            Taking(how, _own(seat, holder))
            for how, seat, holder in zip(shared, self.seats, holders, strict=True)
        )
        moves = tuple(
            (holder.rank, seat.rank, seat.number)
            for seat, holder in zip(self.seats, holders, strict=True)
            if holder is not None and holder.node != seat.node
        )
        return Agreement(step, source, receivers, takings, moves)

    def _shared(self, at: int, step: int) -> str:
        member = self.members[at]
        if member.valid and not member.fresh and member.step == step:
            return "keep"
        return "copy" if step in self._held(self.seats[at]).copies else "receive"

    def _holder(self, seat: Seat, step: int) -> Seat | None:
        """Return a seat whose node holds the other's own state: itself, before any other."""
        wanted = (seat.number, step)
        holders = (each for each in (seat, *self.seats) if wanted in self._held(each).own)
        return next(holders, None)

    def _held(self, seat: Seat) -> Holdings:
        return self.holdings[seat.node]


def _own(seat: Seat, holder: Seat | None) -> str:
    if holder is None:
        return "draw"
    return "slot" if holder.node == seat.node else "receive"


def _fresh_start(members: Sequence[Member]) -> Agreement:
    """Go on from what rank 0's script began with, its checkpoint or nothing."""
    others = tuple(range(1, len(members)))
    takings = tuple(Taking("receive" if at else "keep", "keep") for at in range(len(members)))
    return Agreement(members[0].step, 0 if others else None, others, takings)
