"""Take a node out of service in our name."""

from agent.act.slurm.desk import Desk
from agent.act.slurm.picture import held_by, reason_of, takes_no_jobs
from core.cluster import OWNER
from core.types import Action


async def take_out(desk: Desk, action: Action, name: str) -> None:
    """Drain a node in our name; one that somebody holds already stays theirs."""
    node = desk.node(name)
    held = held_by(node)
    if takes_no_jobs(node) and held.owner not in ("", OWNER):
        return
    if held.owner != OWNER:
        desk.note_node(name, reason=node.reason)
    elif takes_no_jobs(node):
        return
    text = str(action.param("reason") or action.kind.replace("_", " "))
    reason = f"Reason={reason_of(text, action.key)}"
    await desk.update_node(action, name, "State=DRAIN", reason)
