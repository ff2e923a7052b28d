"""What a coordinator tells all nodes of the launch, and how the next one goes on from it.

Ranks need no coordinator to step. So who takes over leaves them alone where all are in their group
as it was last told, and lets a new generation begin where not: every rank then says itself what it
has, and nothing depends on what the lost coordinator was about to do.
"""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from agent.launch.members import Hold, Member, Node, Seat, Stage, Stand
from agent.launch.plan import Message

if TYPE_CHECKING:
    from agent.launch.coordinator import Coordinator

# Generations of a later coordinator are greater than all those of an earlier one.
GENERATIONS = 1_000_000
_NEVER_PARKED: Message = {
    "fresh": True,
    "step": 0,
    "valid": True,
    "generation": -1,
    "loaded": False,
}


def told(launch: "Coordinator") -> Message:
    """Return what all nodes are to know, for JSON."""
    return {
        "launched": launch.launched,
        "stage": launch.stage.value,
        "generation": launch.generation,
        "restarts": launch.restarts,
        "handovers": launch.handovers,
        "hooked": launch.hooked,
        "released": launch.released,
        "count": launch.count,
        "max_nodes": launch.plan.max_nodes,
        "known": sorted(launch.known),
        "holds": {name: asdict(hold) for name, hold in launch.holds.items()},
        "answers": launch.answers,
        "seats": [asdict(seat) for seat in launch.seats],
        "numbers": launch.seating.numbers,
        "checkpoint": launch.checkpoint,
    }


def restore(launch: "Coordinator", state: Message, term: int) -> None:
    """Be as the coordinator before was when it last told the nodes."""
    launch.launched, launch.stage = state["launched"], Stage(state["stage"])
    launch.generation, launch.floor = state["generation"], term * GENERATIONS
    launch.restarts, launch.handovers = state["restarts"], state["handovers"]
    launch.hooked, launch.released = state["hooked"], state["released"]
    launch.count, launch.known = state["count"], {*state["known"]}
    launch.plan = replace(launch.plan, max_nodes=state["max_nodes"])
    launch.holds = {name: Hold(**hold) for name, hold in state["holds"].items()}
    launch.answers = state["answers"]
    launch.seating.seats = [Seat(**seat) for seat in state["seats"]]
    launch.seating.numbers = state["numbers"]
    launch.checkpoint = state["checkpoint"]


def adopt(
    launch: "Coordinator",
    nodes: list[tuple[Node, list[Message]]],
    exits: dict[str, int],
    now_s: float,
) -> None:
    """Take over the nodes that have come, with their workers; nodes that have not are lost.

    exits: how workers ended while nobody coordinated, by their words
    """
    _take_in(launch, nodes, now_s)
    if launch.stage is Stage.WAITING:
        return
    for seat in launch.seats:
        if seat.uid not in launch.members:
            may_end = launch.released or seat.left is not None
            seat.done |= may_end and exits.get(seat.uid or "") == 0
            seat.uid = None
        else:
            launch.members[seat.uid].rank = seat.rank
    for member in launch.members.values():
        if member.rank is None and not member.fresh:
            launch.kill(member, "it has a state of which nobody knows", now_s)
        if member.hooked and member.stand is Stand.STARTING:
            launch.tell(member, kind="regroup", generation=launch.generation)
    lost = [name for name in launch.seating.nodes() if name not in launch.nodes]
    whole = launch.stage is Stage.RUNNING and all(_is_in(launch, seat) for seat in launch.seats)
    if lost:
        launch.lose(lost, now_s)
    elif whole:
        launch.go_on(now_s)
    else:
        launch.again(now_s, "the coordinator was lost in a hand-over", step_failed=False)


def _take_in(launch: "Coordinator", nodes: list[tuple[Node, list[Message]]], now_s: float) -> None:
    for node, workers in nodes:
        launch.nodes[node.name] = node
        for worker in workers:
            launch.members[worker["uid"]] = _member(launch, node.name, worker, now_s)
            launch.count = max(launch.count, int(worker["uid"].rpartition("-")[2]))
            launch.hooked |= worker["hooked"]


def _member(launch: "Coordinator", node: str, worker: Message, now_s: float) -> Member:
    """Return a worker as its node knows it."""
    parked = worker["parked"] or _NEVER_PARKED
    is_in = worker["formed"] == launch.generation and not worker["failed"]
    stand = Stand.READY if worker["parked"] or worker["warm"] else Stand.STARTING
    if is_in:
        stand = Stand.DONE if worker["finished"] == launch.generation else Stand.IN
    return Member(
        uid=worker["uid"],
        node=node,
        kind=worker["kind"],
        since_s=now_s,
        stand=stand,
        hooked=worker["hooked"],
        parked_for=parked["generation"],
        step=parked["step"],
        valid=parked["valid"],
        fresh=parked["fresh"] and worker["formed"] < 0,
        loaded=parked["loaded"],
        released=launch.released,
    )


def _is_in(launch: "Coordinator", seat: Seat) -> bool:
    """Say whether the seat's rank is in the group of the generation."""
    if seat.uid is None:
        return seat.done
    return not launch.hooked or launch.members[seat.uid].stand in (Stand.IN, Stand.DONE)
