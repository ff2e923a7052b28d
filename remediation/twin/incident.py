"""The incident of a moment, opened in its twin, and what decisions go by there."""

from typing import Any

import numpy as np

from core.choice import Choice
from core.errors import InputError
from core.situation import LONG_S, Fact
from core.types import Cause, Floats
from remediation.deciding.chooser import Moment
from remediation.deciding.remedies import known as known_remedies
from remediation.twin.guesses import Scene
from remediation.twin.kinds import crews_time, kinds, repair_scale
from remediation.twin.mirror import Twin
from remediation.twin.supposing import TO_COME
from sim.catalogue import CAUSES
from sim.engine.tables import Tables
from sim.engine.terms import Term
from sim.engine.words import NONE
from sim.terms import Terms

_RATE_GPUS = 1024.0  # GPUs that ``SiteFigures.faults_a_day`` is for
_DAY_S = 86_400.0
_FRAILTY = 1.1  # variance of nodes' fault rates (InfiniteHBD-Trace, measured)
_FADES_DAYS = 7.0 / np.log(2.0)  # incidents of a node are halved each 7 days: so many count
_NAMED = 2  # causes of a diagnosis that the engine keeps: the others count as unknown
_WAIT_S = 300.0  # an incident for which nothing was done is looked at again


def open_incident(twin: Twin, moment: Moment) -> Scene:
    """Open the incident in its twin as the decision that is due; InputError: it touches no job."""
    tables, facts = twin.tables, twin.facts
    if twin.subject == NONE or int(tables.jobs[twin.subject]["first"]) == NONE:
        raise InputError(
            f"a twin of incident {moment.incident.id}: it touches no job that has nodes; the "
            "choice is left to the policy within."
        )
    causes = moment.diagnosis.causes[:_NAMED]
    nodes = [_node_of(cause, twin, moment) for cause in causes]
    core = tables.core[0]
    now_s = float(core["now_s"])
    row = tables.troubles[0]
    row["fault"], row["job"], row["number"], row["gpu"] = NONE, twin.subject, twin.subject, NONE
    row["node"], row["cause"], row["placed"] = _first_node(twin, moment), len(CAUSES), False
    row["other_node"], row["other_cause"], row["other_placed"] = row["node"], len(CAUSES), False
    row["probability"] = row["other_probability"] = 0.0
    for place, (cause, node) in enumerate(zip(causes, nodes, strict=True)):
        prefix = "other_" if place or _is_second(facts, node) else ""
        row[f"{prefix}node"] = node if node != NONE else row["node"]
        row[f"{prefix}cause"], row[f"{prefix}placed"] = len(CAUSES) + place, node != NONE
        row[f"{prefix}probability"] = cause.probability
    row["persistent"] = _persistent(causes)
    row["no_fault"] = facts[Fact.NO_FAULT]
    row["opened_s"], row["blamed_s"], row["due_s"] = now_s - facts[Fact.AGE_S], now_s, now_s
    tries = facts[Fact.RESTARTS_TRIED] + facts[Fact.MOVES_TRIED]
    row["looks"] = min(20, tries + facts[Fact.AGE_S] // _WAIT_S)
    row["open"], row["busy"], row["paged"] = True, False, False
    row["restarts"], row["moves"] = facts[Fact.RESTARTS_TRIED], facts[Fact.MOVES_TRIED]
    since_s = float(facts[Fact.SINCE_TRIED_S])
    row["tried_s"] = now_s - since_s if since_s < LONG_S else -np.inf
    row["person_s"], row["order"] = np.inf, NONE
    core["troubles_n"], core["open_n"], core["decision"] = 1, 1, 0
    _note(tables, twin, moment)
    return Scene(tables, facts, causes, nodes)


def _note(tables: Tables, twin: Twin, moment: Moment) -> None:
    """Write down at the job and the node what has been done and said."""
    facts, core = twin.facts, tables.core[0]
    job, node = tables.jobs[twin.subject], tables.nodes[int(tables.troubles[0]["node"])]
    job["troubled"] = 1
    if not moment.situation.open[
        Choice.ESCALATE
    ]:  # somebody is on the way: half of it, as is known
        job["paged"], row = 1, tables.troubles[0]
        row["paged"], row["person_s"] = True, core["now_s"] + facts[Fact.PEOPLE_S] // 2
    if facts[Fact.RESTARTS_TRIED] > 0:
        job["acted_s"] = float(core["now_s"]) - facts[Fact.SINCE_TRIED_S]
    own = float(tables.troubles[0]["placed"])  # this incident counts against its node too
    node["blamed"], node["blamed_s"] = own + facts[Fact.NODE_INCIDENTS], core["now_s"]
    core["out"] = int(facts[Fact.NODES_OUT])
    tables.site[0]["people_s"] = facts[Fact.PEOPLE_S]
    tables.site[0]["repair_scale"] = repair_scale(float(facts[Fact.REPAIR_S]))


def _node_of(cause: Cause, twin: Twin, moment: Moment) -> int:
    name = moment.state.topology.node_of(cause.target)
    return twin.nodes.get(name, NONE)


def _is_second(facts: Floats, node: int) -> bool:
    """Say whether the first cause that has a name is on another node than the one blamed first."""
    return bool(node != NONE and facts[Fact.NODE_BLAMED] == 0 and facts[Fact.OTHER_BLAMED] > 0)


def _first_node(twin: Twin, moment: Moment) -> int:
    """Return the node that the incident shows, or else the first of its job."""
    shown = [moment.state.topology.node_of(target) for target in moment.incident.targets[:1]]
    first = int(twin.tables.jobs[twin.subject]["first"])
    return twin.nodes.get(shown[0], first) if shown else first


def _persistent(causes: Any) -> float:
    """Return how likely the fault is to stay; as likely as not where nothing speaks for either."""
    told = [cause.persistent for cause in causes if cause.persistent is not None]
    return float(told[0]) if told else 0.5


def ways_of(terms: Terms, scene: Scene) -> tuple[Floats, Floats]:
    """Return the causes and terms that decisions in a twin go by: those of the moment's facts."""
    facts = scene.facts
    rows = terms.causes_row()
    unknown = rows[CAUSES.index("unknown")]
    named = [
        rows[CAUSES.index(cause.fault)] if cause.fault in CAUSES else _row(cause.fault, unknown)
        for cause in scene.causes
    ]
    causes = np.vstack([rows, *named, *[unknown] * (_NAMED - len(named))])
    numbers = terms.numbers()
    numbers[Term.REPAIR_S], numbers[Term.REBOOT_S] = facts[Fact.REPAIR_S], facts[Fact.REBOOT_S]
    numbers[Term.PEOPLE_S], numbers[Term.PAGE_GPU_S] = facts[Fact.PEOPLE_S], facts[Fact.PAGE_GPU_S]
    numbers[Term.FAULTS_A_DAY] = facts[Fact.FAULTS_A_DAY] * _RATE_GPUS / facts[Fact.GPUS]
    numbers[Term.FALSE_SHARE] = facts[Fact.FALSE_SHARE]
    return np.ascontiguousarray(causes), numbers


def _row(fault: str, unknown: Floats) -> Floats:
    """Return what ends a fault that the simulator has no class of."""
    found = known_remedies().get(fault)
    if found is None:
        return unknown
    row = np.zeros_like(unknown)
    row[: len(found)] = found
    return row


def to_come(scene: Scene, hours: float) -> tuple[Any, Floats]:
    """Return one row of TO_COME and the cumulative shares of future faults' classes."""
    facts, tables = scene.facts, scene.tables
    row = np.zeros(1, dtype=TO_COME)
    now_s = float(tables.core[0]["now_s"])
    a_day = float(facts[Fact.FAULTS_A_DAY] * (1.0 - facts[Fact.FALSE_SHARE]))
    row["faults_a_s"] = max(a_day, 1e-6) / _DAY_S
    row["until_s"] = np.ceil((now_s + hours * 3600.0) * 1024) / 1024
    row["away_mu"], row["away_sigma"] = crews_time(float(facts[Fact.REPAIR_S]))
    row["boot_s"] = facts[Fact.REBOOT_S]
    expected = a_day / len(tables.nodes) * _FADES_DAYS
    row["frail_node"] = tables.troubles[0]["node"]
    row["frail_times"] = (1 / _FRAILTY + facts[Fact.NODE_INCIDENTS]) / (1 / _FRAILTY + expected)
    return row, kinds().cumulative
