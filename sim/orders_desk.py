"""The desk that an order comes to: what it may be about, and why it is refused there."""

from dataclasses import dataclass, field, replace
from typing import Any

from core.cluster import OWNER, NodeCondition
from core.errors import ActionFailed
from core.target import Target
from core.types import Action
from sim.engine import verbs
from sim.engine.tables import Tables
from sim.engine.words import NONE, Hold, Phase, Stage
from sim.names import Names
from sim.observe import Holds, Note, conditions, known_jobs, nodes_of, owner_of


@dataclass(slots=True)
class People:
    """What tables do not hold: who took a node out and why, and which orders were taken when.

    notes: of nodes by index; paged: when a person was last called to a job, by the job's number
    """

    holds: Holds = field(default_factory=dict)
    performed: dict[str, float] = field(default_factory=dict)
    notes: dict[int, Note] = field(default_factory=dict)
    paged: dict[int, float] = field(default_factory=dict)

    def copy(self) -> "People":
        """Return an independent copy."""
        return People(dict(self.holds), dict(self.performed), dict(self.notes), dict(self.paged))

    def note(self, node: int, **changes: Any) -> None:
        """Write something down about a node."""
        self.notes[node] = replace(self.notes.get(node, Note()), **changes)


@dataclass(frozen=True, slots=True)
class Desk:
    """Whom an order comes to: the tables, the names of things, and who holds what."""

    w: Tables
    names: Names
    people: People
    by: str


def cordon(w: Tables, people: People, node: int, *, by: str, reason: str) -> None:
    """Keep a node from getting jobs; it keeps the one it has, and an earlier owner."""
    if w.nodes[node]["hold"] == Hold.NOBODY:
        people.holds[node] = (by, reason)
        verbs.take_out(w, node, Hold.AGENT if by == OWNER else Hold.PERSON)


def uncordon(w: Tables, people: People, node: int) -> None:
    """Let a node have jobs again, whoever kept it from them."""
    if w.nodes[node]["hold"] != Hold.NOBODY:
        people.holds.pop(node, None)
        people.note(node, mark="", finding="", checked_s=None)
        verbs.give_back(w, node)


def node_of(desk: Desk, action: Action) -> int:
    """Return the node that an order names; ActionFailed where there is none such."""
    names = desk.names
    if action.target.node not in names.node_index:
        raise ActionFailed(
            f"{action.kind} on {action.target}: the cluster has no node "
            f"{action.target.node or '(none named)'!r}; name one of {names.nodes[0]} to "
            f"{names.nodes[-1]}."
        )
    return names.node_index[action.target.node]


def job_of(desk: Desk, action: Action) -> int:
    """Return the job that an order names; ActionFailed where the scheduler knows none such."""
    ids = {id_of(desk, job): job for job in known_jobs(desk.w)}
    if action.target.job not in ids:
        raise ActionFailed(
            f"{action.kind} on {action.target}: the scheduler has no job "
            f"{action.target.job or '(none named)'!r}; it has {', '.join(list(ids)[:12])}."
        )
    return ids[action.target.job]


def live_job(desk: Desk, action: Action) -> int:
    """Return the job that an order names; ActionFailed also where it has ended."""
    job = job_of(desk, action)
    if desk.w.jobs[job]["phase"] == Phase.COMPLETED:
        raise ActionFailed(
            f"{action.kind} {action.target}: it has ended; name a job that waits or runs."
        )
    return job


def number_of(action: Action, name: str, low: float, high: float) -> float | None:
    """Return a number that an order names, None where it does not; ActionFailed: a bad one."""
    value = action.param(name)
    if value is None:
        return None
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not low <= float(value) <= high:
        raise ActionFailed(
            f"{action.kind} {action.target}: {name} is {value!r}; give a number from {low:g} to "
            f"{high:g}."
        )
    return float(value)


def needed(action: Action, name: str, low: float, high: float) -> float:
    """Return a number that an order must name; ActionFailed where it is missing or bad."""
    value = number_of(action, name, low, high)
    if value is None:
        raise ActionFailed(
            f"{action.kind} {action.target}: no {name} is named; give a number from {low:g} to "
            f"{high:g}."
        )
    return value


def count_of(action: Action, name: str, low: int, high: int) -> int:
    """Return a whole number that an order must name."""
    value = needed(action, name, low, high)
    if value != int(value):
        raise ActionFailed(
            f"{action.kind} {action.target}: {name} is {value:g}; it must be a whole number."
        )
    return int(value)


def id_of(desk: Desk, job: int) -> str:
    """Return what people call a job."""
    return desk.names.job(int(desk.w.jobs[job]["number"]))


def condition_of(desk: Desk, node: int) -> NodeCondition:
    """Return whether jobs may start on a node, and why not."""
    return conditions(desk.w.nodes[node : node + 1])[0]


def check_placed(desk: Desk, action: Action, job: int) -> None:
    """Refuse what only a job with nodes can do."""
    if desk.w.jobs[job]["first"] == NONE:
        raise ActionFailed(
            f"{action.kind} {action.target}: it is {how(desk, job)} and has no nodes; it starts "
            "when the queue gives it some."
        )


def check_may_start(desk: Desk, action: Action, node: int) -> None:
    """Refuse to start a job on a node that is down or held out."""
    found = condition_of(desk, node)
    if found is NodeCondition.READY:
        return
    owner, _ = owner_of(desk.w, node, desk.people.holds)
    target = Target(node=desk.names.nodes[node])
    raise ActionFailed(
        f"{action.kind} {action.target}: {target} is {found}{f' by {owner}' if owner else ''}, and "
        "no job may start there; uncordon it or swap it for a spare."
    )


def check_all_may_start(desk: Desk, action: Action, job: int) -> None:
    """Refuse to start a job where one of its nodes is down or held out."""
    for node in nodes_of(desk.w, job):
        check_may_start(desk, action, node)


def how(desk: Desk, job: int) -> str:
    """Return how a job is, in a word."""
    row = desk.w.jobs[job]
    if row["stage"] == Stage.HUNG:
        return "hung"
    return Phase(int(row["phase"])).name.lower()
