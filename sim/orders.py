"""The scheduler's hands: what can be ordered of a simulated cluster, and why it would not.

An order is taken or refused at once; what it causes takes simulated time and shows in the state.
A hold on a node belongs to who set it: a person's is never taken off or taken over by an action.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from core.cluster import OWNER, NodeCondition
from core.errors import ActionFailed
from core.target import Target
from core.types import Action
from sim.engine import verbs
from sim.engine.draws import uniform
from sim.engine.tables import Tables
from sim.engine.words import NONE, Hold, Phase, Purpose, Stage
from sim.names import Names
from sim.observe import Holds, conditions, known_jobs, nodes_of, owner_of


@dataclass(slots=True)
class People:
    """What tables do not hold: who took a node out and why, and which orders were taken when."""

    holds: Holds = field(default_factory=dict)
    performed: dict[str, float] = field(default_factory=dict)

    def copy(self) -> "People":
        """Return an independent copy."""
        return People(dict(self.holds), dict(self.performed))


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom an order comes to: the tables, the names of things, and who holds what."""

    w: Tables
    names: Names
    people: People
    by: str


def perform(w: Tables, names: Names, people: People, action: Action, *, by: str = OWNER) -> None:
    """Take an order; the key of one that was taken does nothing again.

    ActionFailed says why the cluster would not. The tables have room for one event.
    """
    if action.key in people.performed:
        return
    if action.kind not in KINDS:
        raise ActionFailed(
            f"{action.kind} on {action.target}: this cluster has no such action; it performs "
            f"{', '.join(KINDS)}."
        )
    _fail_by_luck(w, action, tries=len(people.performed))
    KINDS[action.kind](Desk(w, names, people, by), action)
    people.performed[action.key] = float(w.core[0]["now_s"])


def cordon(w: Tables, people: People, node: int, *, by: str, reason: str) -> None:
    """Keep a node from getting jobs; it keeps the one it has, and an earlier owner."""
    if w.nodes[node]["hold"] == Hold.NOBODY:
        people.holds[node] = (by, reason)
        verbs.take_out(w, node, Hold.AGENT if by == OWNER else Hold.PERSON)


def uncordon(w: Tables, people: People, node: int) -> None:
    """Let a node have jobs again, whoever kept it from them."""
    if w.nodes[node]["hold"] != Hold.NOBODY:
        people.holds.pop(node, None)
        verbs.give_back(w, node)


def _fail_by_luck(w: Tables, action: Action, *, tries: int) -> None:
    """Fail an order that could have been done, as often as the site's scheduler does."""
    core, share = w.core[0], float(w.site[0]["order_failure"])
    if (
        share
        and uniform(int(core["seed"]), int(Purpose.ORDER), tries, int(core["handled"])) < share
    ):
        raise ActionFailed(
            f"{action.kind} on {action.target}: the scheduler did not answer in time; try again."
        )


def _cordon(desk: Desk, action: Action) -> None:
    reason = str(action.param("reason") or "cordoned by action")
    cordon(desk.w, desk.people, _node(desk, action), by=desk.by, reason=reason)


def _uncordon(desk: Desk, action: Action) -> None:
    node = _node(desk, action)
    owner, reason = owner_of(desk.w, node, desk.people.holds)
    if owner and owner != desk.by:
        raise ActionFailed(
            f"uncordon {action.target}: {owner} keeps it out of service ({reason}); "
            "only they may return it."
        )
    uncordon(desk.w, desk.people, node)


def _checkpoint_now(desk: Desk, action: Action) -> None:
    job = _job(desk, action)
    stage = Stage(int(desk.w.jobs[job]["stage"]))
    if stage is Stage.CAPTURING:
        return
    if stage is not Stage.STEPPING:
        raise ActionFailed(
            f"checkpoint_now {action.target}: it is {_how(desk, job)} and makes no steps; only a "
            "running job has anything to save."
        )
    verbs.capture(desk.w, job)


def _restart_job(desk: Desk, action: Action) -> None:
    job = _job(desk, action)
    if desk.w.jobs[job]["phase"] == Phase.STARTING:
        raise ActionFailed(
            f"restart_job {action.target}: it is already starting; wait until it runs or stops."
        )
    _check_placed(desk, action, job)
    for node in nodes_of(desk.w, job):
        _check_may_start(desk, action, node)
    verbs.restart(desk.w, job)


def _swap_node(desk: Desk, action: Action) -> None:
    """Give the job a spare for the node, which is cordoned and a spare itself once uncordoned."""
    node = _node(desk, action)
    job, wanted = int(desk.w.nodes[node]["held_by"]), action.param("job")
    if job == NONE or (wanted and wanted != _id(desk, job)):
        held = "no job" if job == NONE else f"job {_id(desk, job)}"
        raise ActionFailed(
            f"swap_node {action.target}: it holds {held}, not job {wanted or '(any)'}; look at "
            "the cluster's state again."
        )
    spare = _spare(desk, action)
    for other in nodes_of(desk.w, job):
        if other != node:
            _check_may_start(desk, action, other)
    verbs.swap(desk.w, job, node, spare)
    cordon(desk.w, desk.people, node, by=desk.by, reason=f"swapped out of job {_id(desk, job)}")


def _reboot_node(desk: Desk, action: Action) -> None:
    node = _node(desk, action)
    job = _running_on(desk, node)
    if job != NONE:
        raise ActionFailed(
            f"reboot_node {action.target}: job {_id(desk, job)} runs on it; swap the node first."
        )
    if _condition(desk, node) is NodeCondition.DOWN:
        raise ActionFailed(f"reboot_node {action.target}: it is down already; wait for it.")
    verbs.reboot(desk.w, node)


KINDS: Mapping[str, Callable[[Desk, Action], None]] = {
    "cordon": _cordon,
    "uncordon": _uncordon,
    "checkpoint_now": _checkpoint_now,
    "restart_job": _restart_job,
    "swap_node": _swap_node,
    "reboot_node": _reboot_node,
}


def _node(desk: Desk, action: Action) -> int:
    names = desk.names
    if action.target.node not in names.node_index:
        raise ActionFailed(
            f"{action.kind} on {action.target}: the cluster has no node "
            f"{action.target.node or '(none named)'!r}; name one of {names.nodes[0]} to "
            f"{names.nodes[-1]}."
        )
    return names.node_index[action.target.node]


def _job(desk: Desk, action: Action) -> int:
    ids = {_id(desk, job): job for job in known_jobs(desk.w)}
    if action.target.job not in ids:
        raise ActionFailed(
            f"{action.kind} on {action.target}: the scheduler has no job "
            f"{action.target.job or '(none named)'!r}; it has {', '.join(list(ids)[:12])}."
        )
    return ids[action.target.job]


def _id(desk: Desk, job: int) -> str:
    return desk.names.job(int(desk.w.jobs[job]["number"]))


def _condition(desk: Desk, node: int) -> NodeCondition:
    return conditions(desk.w.nodes[node : node + 1])[0]


def _running_on(desk: Desk, node: int) -> int:
    """Return a job whose processes are on the node, or NONE."""
    for job in np.unique(desk.w.nodes[node]["job"]).tolist():
        if job != NONE and desk.w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING):
            return int(job)
    return NONE


def _spare(desk: Desk, action: Action) -> int:
    """Return the node to put in: the one the action names, or the first that is free."""
    named = str(action.param("spare") or "")
    if named and named not in desk.names.node_index:
        raise ActionFailed(f"swap_node {action.target}: the cluster has no node {named!r}.")
    nodes = desk.w.nodes
    free = nodes["pool"] & nodes["up"] & (nodes["hold"] == Hold.NOBODY)
    free &= (nodes["job"] == NONE).all(axis=1)
    choice = [desk.names.node_index[named]] if named else np.flatnonzero(free).tolist()
    if choice and free[choice[0]]:
        return int(choice[0])
    found = "no spare is free" if not named else f"{named} is {_why_not(desk, choice[0])}"
    raise ActionFailed(
        f"swap_node {action.target}: {found}; name a node that is a spare, ready and has no job."
    )


def _why_not(desk: Desk, node: int) -> str:
    job = int(desk.w.nodes[node]["held_by"])
    if job != NONE:
        return f"given to job {_id(desk, job)}"
    if not desk.w.nodes[node]["pool"]:
        return "not a spare"
    owner, _ = owner_of(desk.w, node, desk.people.holds)
    return f"{_condition(desk, node)} ({owner or 'by itself'})"


def _check_placed(desk: Desk, action: Action, job: int) -> None:
    if desk.w.jobs[job]["first"] == NONE:
        raise ActionFailed(
            f"{action.kind} {action.target}: it is {_how(desk, job)} and has no nodes; it starts "
            "when the queue gives it some."
        )


def _check_may_start(desk: Desk, action: Action, node: int) -> None:
    """Refuse to start a job on a node that is down or held out."""
    found = _condition(desk, node)
    if found is NodeCondition.READY:
        return
    owner, _ = owner_of(desk.w, node, desk.people.holds)
    target = Target(node=desk.names.nodes[node])
    raise ActionFailed(
        f"{action.kind} {action.target}: {target} is {found}{f' by {owner}' if owner else ''}, and "
        "no job may start there; uncordon it or swap it for a spare."
    )


def _how(desk: Desk, job: int) -> str:
    row = desk.w.jobs[job]
    if row["stage"] == Stage.HUNG:
        return "hung"
    return Phase(int(row["phase"])).name.lower()
