"""The state of a launch, for people and programs."""

from agent.launch.coordinator import Coordinator
from agent.launch.efforts import Efforts
from agent.launch.members import Seat, Stand
from agent.launch.plan import Message


def status(launch: Coordinator, efforts: Efforts) -> Message:
    """Return what is where and how far."""
    standbys = [each for each in launch.members.values() if each.rank is None]
    return {
        "run_id": launch.plan.run_id,
        "stage": launch.stage.value,
        "generation": launch.generation,
        "restarts": launch.restarts,
        "handovers": launch.handovers,
        "step_s": launch.watching.pace.step_s,
        "hooked": launch.hooked,
        "launched_s": launch.launched / 1e9,
        "plan": {
            "per_node": launch.plan.per_node,
            "min_nodes": launch.plan.min_nodes,
            "max_nodes": launch.plan.max_nodes,
            "most_nodes": launch.most_nodes,
            "max_restarts": launch.plan.max_restarts,
            "standbys": launch.plan.standbys,
        },
        "checkpoint": _checkpoint(launch),
        "nodes": [_node(launch, name) for name in launch.nodes],
        "holds": {name: {"by": hold.by, "why": hold.why} for name, hold in launch.holds.items()},
        "ranks": [_rank(launch, seat, efforts) for seat in launch.seats],
        "standbys": [
            {"uid": each.uid, "node": each.node, "ready": each.stand is Stand.READY}
            for each in standbys
        ],
    }


def _checkpoint(launch: Coordinator) -> Message | None:
    """Return what is known of the checkpoints; None where the script writes none."""
    if (found := launch.checkpoint) is None:
        return None
    by_steps = found["every"] * launch.watching.pace.step_s
    return {**found, "interval_s": found["interval_s"] or by_steps or None}


def _node(launch: Coordinator, name: str) -> Message:
    address = launch.nodes[name].address
    return {"name": name, "address": address, "used": launch.seating.uses(name)}


def _rank(launch: Coordinator, seat: Seat, efforts: Efforts) -> Message:
    member = launch.members.get(seat.uid or "")
    beat = member.beat if member else None
    return {
        "rank": seat.rank,
        "node": seat.node,
        "uid": seat.uid,
        "step": beat.step if beat else None,
        "computes": efforts.shares.get(seat.rank),
        "stand": member.stand.value if member else "nobody",
    }
