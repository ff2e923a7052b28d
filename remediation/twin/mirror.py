"""The twin of a cluster at a moment: the engine's tables, laid out from what is known of it.

Only a moment and settings go in, nothing of any hidden truth, so it is made of a real cluster just
as of a simulated one. What a scheduler does not tell is taken from the moment's facts, for the job
they are about, and from the settings for the others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition
from core.errors import InputError
from core.situation import LONG_S, Fact
from core.types import Floats, Ints
from remediation.deciding.chooser import Moment
from remediation.twin.kinds import kinds
from remediation.twin.laying import LOOK, lay
from sim.build import next_tick, tables_of
from sim.engine.rows_cluster import DOMAIN
from sim.engine.tables import Table, Tables
from sim.engine.words import GPUS, NONE, Hold, Load, Phase, Scope, Use
from sim.scenario import Machines, Scenario

_PHASES = {
    JobPhase.PENDING: Phase.PENDING,
    JobPhase.STARTING: Phase.STARTING,
    JobPhase.RUNNING: Phase.RUNNING,
    JobPhase.STOPPED: Phase.STOPPED,
}
_SITE_HAND = "site"
_SEEN_S = 1.0  # the twin has run so long when a decision is due: nothing is at its very beginning


@dataclass(frozen=True, slots=True)
class Usual:
    """What is taken to be so where neither the scheduler nor the facts tell.

    interval_s, stall_s, save_s: of checkpoints (Megatron's blocking save takes 7 s, and 51 s end
                to end were reported for 405B parameters)
    """

    interval_s: float = 1800.0
    stall_s: float = 7.0
    save_s: float = 51.0


@dataclass(frozen=True, slots=True, eq=False)
class Twin:
    """A cluster laid out anew; its tables hold until the next is laid out by the same mirror.

    nodes: index of each node's name; jobs: slot of each job's id; subject: slot of the job that the
    facts are about, NONE
    """

    tables: Tables
    nodes: Mapping[str, int]
    jobs: Mapping[str, int]
    subject: int
    facts: Floats


class Mirror:
    """Lays a cluster out in the engine's tables."""

    def __init__(self, usual: Usual = Usual()) -> None:
        """Keep what is taken to be so; tables are made for the first cluster that is seen."""
        self.usual = usual
        self._shape: tuple[bytes, ...] = ()
        self._fresh: Tables | None = None

    def of(self, moment: Moment) -> Twin:
        """Return the twin at a moment; InputError says of what cluster there can be none."""
        state, facts = moment.state, moment.situation.facts
        fresh = self._fresh_for(state)
        index = state.topology.node_index
        tables = fresh._replace(
            nodes=fresh.nodes.copy(), core=fresh.core.copy(), site=fresh.site.copy()
        )
        core = tables.core[0]
        now_s = next_tick(moment.now_s)
        core["now_s"] = core["began_s"] = core["use_since_s"] = now_s
        core["start_s"] = now_s - _SEEN_S
        _fill_nodes(tables, state, index)
        known = [job for job in state.jobs if job.phase in _PHASES]
        subject = _subject(known, moment)
        each = int(tables.nodes["gpus"][0])
        looks, nodes = _looks(known, state, self.usual, each)
        if subject != NONE:
            _fill_subject(looks[subject], facts, each)
        _fill_site(tables, facts, looks, subject)
        lay(tables, looks, nodes)
        return Twin(tables, index, {job.id: at for at, job in enumerate(known)}, subject, facts)

    def _fresh_for(self, state: ClusterState) -> Tables:
        """Return tables of sound, idle machines of the cluster's shape; all but the jobs' rows."""
        shape = state.topology
        key = (
            np.array([len(shape.nodes), len(state.jobs)]).tobytes(),
            shape.node_rack.tobytes(),
            shape.node_switch.tobytes(),
            shape.gpu_node.tobytes(),
        )
        if self._fresh is None or key != self._shape:
            self._fresh, self._shape = _machines(state), key
        return self._fresh


def _machines(state: ClusterState) -> Tables:
    shape = state.topology
    count = len(shape.nodes)
    gpus = np.bincount(shape.gpu_node, minlength=count)
    each = int(gpus[0]) if count else 0
    if not 1 <= each <= GPUS or (gpus != each).any():
        raise InputError(
            f"a twin of {count} nodes with {sorted(set(gpus.tolist()))} GPUs: all nodes must have "
            f"equally many, 1 to {GPUS}; the choice is left to the policy within."
        )
    scenario = Scenario(
        name="twin",
        nodes=count,
        racks=1,
        spares=0,
        jobs=(),
        history_s=0.0,
        telemetry="surrogate",
        machines=Machines(gpus_per_node=each, frailty=0.0, lemons=0.0),
    )
    tables = tables_of(scenario, seed=0)
    nodes = tables.nodes
    nodes["rack"] = nodes["power"] = nodes["cooling"] = _places(shape.node_rack)
    nodes["leaf"] = _leaves(shape.node_switch)
    nodes["slowness"] = 1.0
    classes = kinds().table
    domains, members = _domains(nodes)
    return tables._replace(
        domains=domains,
        members=members,
        classes=classes,
        arrivals=np.full((count, len(classes)), np.inf),
        drawn=np.zeros((count, len(classes)), dtype=tables.drawn.dtype),
        jobs=np.zeros(len(state.jobs) + len(tables.jobs), dtype=tables.jobs.dtype),
        job_last=np.full(len(state.jobs) + len(tables.jobs), NONE, dtype=np.int64),
    )


def _places(part: Ints) -> Ints:
    """Return domains without gaps; nodes of which none is known are in one of their own."""
    found: Ints = np.unique(part, return_inverse=True)[1].astype(np.int64)
    return found


def _leaves(part: Ints) -> Ints:
    """Return the same, such that the last node has the last leaf: the engine counts them by it."""
    places = _places(part)
    if len(places) == 0:
        return places
    last, most = places[-1], places.max()
    swapped = np.where(places == last, most, np.where(places == most, last, places))
    return swapped.astype(np.int64)


def _domains(nodes: Table) -> tuple[Table, Table]:
    """Return the domains, leaves first, and their members."""
    rows, members, first = [], [], 0
    parts = ((Scope.LEAF, "leaf"), (Scope.RACK, "rack"), (Scope.POWER, "power"))
    for scope, part in (*parts, (Scope.COOLING, "cooling")):
        order = np.argsort(nodes[part], kind="stable")
        members.append(order)
        for index, count in enumerate(np.bincount(nodes[part])):
            rows.append((scope, index, first, count))
            first += int(count)
    members.append(np.arange(len(nodes)))
    rows += [(scope, 0, first, len(nodes)) for scope in (Scope.STORAGE, Scope.FLEET)]
    domains = np.zeros(len(rows), dtype=DOMAIN)
    for name, column in zip(
        ("scope", "index", "first", "count"), zip(*rows, strict=True), strict=True
    ):
        domains[name] = column
    domains["up"], domains["factor"], domains["fault"] = True, 1, NONE
    return domains, np.concatenate(members).astype(np.int32)


def _fill_nodes(tables: Tables, state: ClusterState, index: Mapping[str, int]) -> None:
    """Say of each node whether it is up, who keeps it out and whether it is a spare."""
    nodes = tables.nodes
    order = [index[node.name] for node in state.nodes]
    nodes["up"][order] = [node.condition is not NodeCondition.DOWN for node in state.nodes]
    nodes["hold"][order] = [_hold(node.condition, node.owner) for node in state.nodes]
    nodes["pool"][order] = [node.spare for node in state.nodes]
    nodes["since_s"][order] = [node.since_s for node in state.nodes]
    nodes["moved_s"] = tables.core[0]["now_s"]
    out = ~nodes["up"] | (nodes["hold"] != Hold.NOBODY)
    nodes["use"] = np.where(out, Use.DOWN, Use.IDLE)
    gpus = tables.core[0]["use_gpus"]
    gpus[:] = 0
    gpus[Use.DOWN] = nodes["gpus"][out].sum()
    gpus[Use.IDLE] = nodes["gpus"][~out].sum()
    nodes["load"] = Load.IDLE


def _hold(condition: NodeCondition, owner: str) -> int:
    if owner == OWNER:
        return int(Hold.AGENT)
    if owner == _SITE_HAND:
        return int(Hold.SITE)
    if owner or condition in (NodeCondition.CORDONED, NodeCondition.DRAINED):
        return int(Hold.PERSON)
    return int(Hold.NOBODY)


def _subject(known: list[JobState], moment: Moment) -> int:
    """Return which job the facts are about, NONE: none."""
    for name in moment.incident.jobs:
        for at, job in enumerate(known):
            if job.id == name:
                return at
    best, most = NONE, 0
    for cause in moment.diagnosis.causes[:1]:
        touched = {job.id for job in moment.state.jobs_touched(cause.target)}
        for at, job in enumerate(known):
            if job.id in touched and job.gpus > most:
                best, most = at, job.gpus
    return best


def _looks(
    known: list[JobState], state: ClusterState, usual: Usual, each: int
) -> tuple[Table, Table]:
    """Return the jobs' LOOK rows and their nodes, one job after the other; each: GPUs of a node."""
    index = state.topology.node_index
    looks = np.zeros(len(known), dtype=LOOK)
    nodes: list[int] = []
    for look, job in zip(looks, known, strict=True):
        missing = [name for name in job.nodes if name not in index]
        if missing:
            raise InputError(
                f"a twin with job {job.id} on {missing[0]}, which the cluster's topology does not "
                "have; the choice is left to the policy within."
            )
        saved_s = job.since_s if job.checkpoint_s is None else job.checkpoint_s - usual.save_s
        look["phase"], look["gpus"] = _PHASES[job.phase], job.gpus
        look["asked"] = max(job.asked_nodes * each, job.gpus)
        look["least"] = job.least_nodes * each or look["asked"]
        look["priority"], look["restarts"] = job.priority, job.restarts
        look["since_s"], look["saved_s"] = job.since_s, min(saved_s, state.observed_s)
        look["interval_s"] = usual.interval_s if job.interval_s is None else job.interval_s
        look["stall_s"] = usual.stall_s if job.stall_s is None else job.stall_s
        look["save_s"] = min(usual.save_s, look["interval_s"] / 2)
        look["pace"] = _pace(job)
        look["first"], look["count"] = len(nodes), len(job.nodes)
        nodes += [index[name] for name in job.nodes]
    return looks, np.array(nodes, dtype=np.int32)


def _fill_subject(look: Any, facts: Floats, each: int) -> None:
    """Take over what the facts tell of the job that they are about."""
    interval_s = float(facts[Fact.INTERVAL_S])
    look["interval_s"] = interval_s if 0 < interval_s < LONG_S else math.inf
    look["stall_s"] = facts[Fact.STALL_S]
    look["save_s"] = min(look["save_s"], look["interval_s"] / 2)
    if look["phase"] == Phase.RUNNING and facts[Fact.PACE] > 0:
        look["pace"] = min(facts[Fact.PACE], 1.0)
    if look["gpus"] >= each:
        nodes = round(look["gpus"] / each)
        look["asked"] = each * max(nodes, round(nodes / max(1 - float(facts[Fact.SHRUNK]), 0.05)))
        look["least"] = each * max(1, round(nodes * (1 - float(facts[Fact.CAN_SHRINK]))))


def _fill_site(tables: Tables, facts: Floats, looks: Table, subject: int) -> None:
    """Take over how long things take at the site, as far as known."""
    site = tables.site[0]
    given = int(looks[subject]["gpus"]) if subject != NONE else 0
    site["restart_s"] = max(facts[Fact.RESTART_S] - site["restart_s_per_gpu"] * given, 1.0)
    reboot_s = facts[Fact.REBOOT_S]
    site["reboot_lo_s"], site["reboot_hi_s"] = reboot_s * 0.7, reboot_s * 1.3
    site["false_alarms"] = facts[Fact.FAULTS_A_DAY] * facts[Fact.FALSE_SHARE]


def _pace(job: JobState) -> float:
    """Return a job's speed as a share of its own, 1 where it is not known."""
    if job.step_s is None or job.usual_step_s is None or not job.step_s > 0:
        return 1.0
    return min(job.usual_step_s / job.step_s, 1.0)
