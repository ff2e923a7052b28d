"""Ranks that leave their steps before the last, as one does that stops early: so must all."""

from typing import TYPE_CHECKING

from agent.launch.jobside.gpumedic_job.layout import Phase
from agent.launch.members import Member, Seat, Stand

if TYPE_CHECKING:
    from agent.launch.coordinator import Coordinator


def have_all_left(launch: "Coordinator") -> bool:
    """Say whether every rank has done its last step, or left after the same one."""
    return all(
        seat.done or (seat.uid in launch.members and launch.members[seat.uid].stand is Stand.DONE)
        for seat in launch.seats
    )


def awaited(launch: "Coordinator") -> list[Member]:
    """Return the ranks whose steps are waited for; once one has left, none has to do another."""
    members = [launch.members[seat.uid] for seat in launch.seats if seat.uid in launch.members]
    if all(seat.left is None for seat in launch.seats):
        return members
    return [each for each in members if each.beat and each.beat.phase is not Phase.OUTSIDE]


def parted(launch: "Coordinator") -> str:
    """Return what is wrong where one rank has left and another goes on, "" where none does."""
    left = [(seat.left, seat.rank) for seat in launch.seats if seat.left is not None]
    if not left:
        return ""
    steps, first = min(left)
    others = (seat.rank for seat in launch.seats if _goes_on(launch, seat, steps))
    if (other := next(others, None)) is None:
        return ""
    return (
        f"rank {first} left its steps after {steps} of them, and rank {other} goes on: all ranks "
        "must leave after the same step. Decide it by what all of them know, an all-reduced loss "
        "perhaps"
    )


def _goes_on(launch: "Coordinator", seat: Seat, steps: int) -> bool:
    """Say whether a rank has done more than so many steps, or has begun another."""
    if seat.left is not None:
        return seat.left > steps
    member = launch.members.get(seat.uid or "")
    if member is None:
        return False
    return member.step > steps if member.stand is Stand.DONE else _is_beyond(member, steps)


def _is_beyond(member: Member, steps: int) -> bool:
    beat = member.beat
    if beat is None:
        return False
    return beat.step > steps or (
        beat.step == steps and (beat.phase is Phase.STARTED or bool(member.failed))
    )
