"""What is known when a decision is due, as ``core.situation.Fact`` says: filled in at each look."""

import math

from core.situation import LONG_S, Fact, Remedy
from sim.engine import jobs, placement, surrogate
from sim.engine.accounts import wanted
from sim.engine.blame import faded
from sim.engine.jit import compiled
from sim.engine.machines import ready
from sim.engine.progress import checkpoint_at
from sim.engine.queue import fitting
from sim.engine.tables import Array, Tables
from sim.engine.terms import CALM, NAMELESS, UNKNOWN, Term
from sim.engine.words import NONE, Effect, Phase

_DAY_S = 86400.0
_REMEDIES = len(Remedy)
# What a site's figures weigh against what the cluster tells: assumed.
_PRIOR_DAYS = 0.25  # of watching incidents come
_PRIOR_CLOSED = 10.0  # incidents that are over
_PRIOR_BACK = 2.0  # nodes that came back
_RATE_GPUS = 1024.0  # GPUs that ``SiteFigures.faults_a_day`` is for
_PRECISION = 0.84  # share of precursors that a fault follows (arXiv:2201.11853)
_SOON_S, _BLUR_S = 1800.0, 600.0  # a limit is crossed within; how far a forecast is off: assumed


@compiled
def see(w: Tables, trouble: int, job: int, causes: Array, terms: Array, facts: Array) -> None:
    """Fill in all facts about a trouble and the job that its blamed node has, or NONE."""
    facts[:] = 0.0
    see_belief(w, trouble, causes, facts)
    _see_incident(w, trouble, facts)
    see_job(w, job, facts)
    see_cluster(w, terms, facts)


@compiled
def see_belief(w: Tables, trouble: int, causes: Array, facts: Array) -> None:
    """Fill in what would end the fault, and where it lies.

    A cause's row of remedies is mixed with how likely it is that it stays, p: RESTART and TIME
    share 1 - p in their proportion and the others p in theirs; it stays as it is where the one or
    the other have nothing to share (``remediation.deciding.remedies.of_cause`` is the same).
    """
    row = w.troubles[trouble]
    first, second = float(row["probability"]), float(row["other_probability"])
    stays = float(row["persistent"])
    _mix(causes, row["cause"], first, stays, facts)
    _mix(causes, row["other_cause"], second, stays, facts)
    calm, none = float(row["no_fault"]), 0.0
    for cause, share in ((row["cause"], first), (row["other_cause"], second)):
        if causes[cause, NAMELESS] == CALM:
            calm += share
        elif causes[cause, NAMELESS] == UNKNOWN:
            none += share
    facts[Fact.NO_FAULT] = calm
    facts[Fact.UNKNOWN] = none + max(0.0, 1.0 - first - second - float(row["no_fault"]))
    placed = row["placed"] and causes[row["cause"], NAMELESS] == 0
    if placed:
        facts[Fact.NODE_BLAMED] = first
    if row["other_placed"] and second > 0 and causes[row["other_cause"], NAMELESS] == 0:
        if row["other_node"] == row["node"] and placed:
            facts[Fact.NODE_BLAMED] += second
        else:
            facts[Fact.OTHER_BLAMED] = second


@compiled
def _mix(causes: Array, cause: int, share: float, stays: float, facts: Array) -> None:
    passing = causes[cause, Remedy.RESTART] + causes[cause, Remedy.TIME]
    ends, lasts = 1.0, 1.0
    if 0.0 < passing < 1.0:
        ends, lasts = (1.0 - stays) / passing, stays / (1.0 - passing)
    for remedy in range(_REMEDIES):
        passes = remedy in (Remedy.RESTART, Remedy.TIME)
        facts[remedy] += share * causes[cause, remedy] * (ends if passes else lasts)


@compiled
def _see_incident(w: Tables, trouble: int, facts: Array) -> None:
    row, core, now_s = w.troubles[trouble], w.core[0], w.core[0]["now_s"]
    facts[Fact.AGE_S] = now_s - row["opened_s"]
    facts[Fact.RESTARTS_TRIED], facts[Fact.MOVES_TRIED] = row["restarts"], row["moves"]
    facts[Fact.SINCE_TRIED_S] = min(now_s - row["tried_s"], LONG_S)
    facts[Fact.OTHERS_OPEN] = core["open_n"] - 1
    facts[Fact.BREACH] = _breach(w, trouble)
    node = w.nodes[row["node"]]
    own = faded(now_s - row["blamed_s"]) if row["placed"] else 0.0
    past = node["blamed"] * faded(now_s - node["blamed_s"]) - own
    facts[Fact.NODE_INCIDENTS] = max(0.0, past)
    facts[Fact.NODE_OUT] = 0.0 if ready(w, row["node"]) else 1.0
    facts[Fact.NODE_DOWN] = 0.0 if node["up"] else 1.0


@compiled
def _breach(w: Tables, trouble: int) -> float:
    """Return how likely a fill or a precursor is full grown in half an hour, as is forecast."""
    fault = w.troubles[trouble]["fault"]
    if w.troubles[trouble]["warning"]:
        return _PRECISION * _soon(_left_s(w, w.troubles[trouble]["node"]))
    if fault == NONE or not math.isnan(w.faults[fault]["mended_s"]):
        return 0.0
    row = w.faults[fault]
    if w.classes[row["class"]]["effect"] not in (Effect.MEMORY_LEAK, Effect.VOLUME_FILLING):
        return 0.0
    left_s = row["onset_s"] + row["size"] - w.core[0]["now_s"]
    return _soon(left_s)


@compiled
def _soon(left_s: float) -> float:
    return 1.0 / (1.0 + math.exp(min((left_s - _SOON_S) / _BLUR_S, 50.0)))


@compiled
def _left_s(w: Tables, node: int) -> float:
    """Return in what time what shows on a node is full grown as it goes; inf: nothing shows."""
    row = w.nodes[node]
    if row["warn"] == NONE or row["warn_share"] <= 0:
        return math.inf
    passed_s = w.core[0]["now_s"] - row["warn_s"]
    return float(passed_s * (1.0 - row["warn_share"]) / row["warn_share"])


@compiled
def see_job(w: Tables, job: int, facts: Array) -> None:
    """Fill in what is known of a job; NONE: the node that is blamed has none."""
    facts[Fact.UNSAVED_S], facts[Fact.INTERVAL_S], facts[Fact.PHASE_S] = 0.0, LONG_S, LONG_S
    if job == NONE:
        return
    row, core, site = w.jobs[job], w.core[0], w.site[0]
    phase, now_s = row["phase"], core["now_s"]
    facts[Fact.JOB_RUNS] = 1.0 if phase == Phase.RUNNING else 0.0
    facts[Fact.JOB_STARTS] = 1.0 if phase == Phase.STARTING else 0.0
    facts[Fact.JOB_STOPPED] = 1.0 if phase == Phase.STOPPED else 0.0
    facts[Fact.PACE] = surrogate.pace(w, job)
    if phase == Phase.RUNNING:
        facts[Fact.UNSAVED_S] = min(now_s - saved_at(w, job), LONG_S)
    facts[Fact.INTERVAL_S] = min(row["interval_s"], LONG_S)
    facts[Fact.STALL_S] = row["stall_s"]
    given = row["given"] if row["given"] > 0 else row["gpus"]
    facts[Fact.RESTART_S] = site["restart_s"] + site["restart_s_per_gpu"] * given
    facts[Fact.JOB_GPUS], facts[Fact.JOB_NODES] = given, row["nodes"]
    facts[Fact.RESTARTS], facts[Fact.PHASE_S] = row["restarts"], now_s - row["since_s"]
    facts[Fact.ABOVE] = _above(w, row["priority"])
    if can_shrink(w, job):
        least = -(-int(row["least_gpus"]) // int(w.nodes[0]["gpus"]))
        facts[Fact.CAN_SHRINK] = (row["nodes"] - least) / row["nodes"]
    if row["given"] > 0:
        facts[Fact.SHRUNK] = max(0.0, 1.0 - row["given"] / wanted(w, job))


@compiled
def can_shrink(w: Tables, job: int) -> bool:
    """Say whether a job could run on fewer of its nodes."""
    row = w.jobs[job]
    return jobs.is_flexible(w, job) and row["nodes"] > 1 and fitting(w, job, row["nodes"] - 1) > 0


@compiled
def saved_at(w: Tables, job: int) -> float:
    """Return when a job's newest valid checkpoint was finished; -inf: it has none."""
    row = w.jobs[job]
    return float(checkpoint_at(row, row["row_s"], w.core[0]["now_s"])[0] + row["save_s"])


@compiled
def _above(w: Tables, priority: int) -> float:
    """Return what share of the GPUs in use jobs of lower priority have."""
    below, total, job = 0, 0, w.core[0]["holder"]
    while job != NONE:
        total += w.jobs[job]["given"]
        if w.jobs[job]["priority"] < priority:
            below += w.jobs[job]["given"]
        job = w.jobs[job]["holder_next"]
    return below / max(total, 1)


@compiled
def see_cluster(w: Tables, terms: Array, facts: Array) -> None:
    """Fill in what is known of the cluster, its site and its past."""
    core = w.core[0]
    total = 0
    for count in core["use_gpus"]:
        total += count
    facts[Fact.GPUS] = total
    facts[Fact.SPARES] = placement.count_spares(w, len(w.nodes))
    facts[Fact.FREE_NODES], facts[Fact.NODES_OUT] = core["free_nodes"], core["out"]
    facts[Fact.OUT_ROOM] = out_room(w, terms)
    facts[Fact.REPAIR_S] = _known(terms[Term.REPAIR_S], core["repairs"], core["repairs_s"])
    facts[Fact.REBOOT_S] = _known(terms[Term.REBOOT_S], core["boots"], core["boots_s"])
    facts[Fact.PEOPLE_S], facts[Fact.PAGE_GPU_S] = terms[Term.PEOPLE_S], terms[Term.PAGE_GPU_S]
    usual = terms[Term.FAULTS_A_DAY] * total / _RATE_GPUS
    days = (core["now_s"] - core["start_s"]) / _DAY_S
    seen = core["incidents"] + usual * _PRIOR_DAYS
    facts[Fact.FAULTS_A_DAY] = seen / (days + _PRIOR_DAYS)
    idle = core["idle_closed"] + terms[Term.FALSE_SHARE] * _PRIOR_CLOSED
    facts[Fact.FALSE_SHARE] = idle / (core["closed"] + _PRIOR_CLOSED)
    waiting = 0
    for at in range(core["queue_n"]):
        waiting += wanted(w, w.queue[at])
    facts[Fact.WAITING_GPUS] = waiting


@compiled
def out_room(w: Tables, terms: Array) -> float:
    """Return how many more nodes the bounds let us take out: the ratio's floor is one."""
    core = w.core[0]
    mine = len(w.nodes) - core["kept"]
    most = min(terms[Term.MOST_OUT], max(1.0, math.floor(terms[Term.MOST_OUT_SHARE] * mine)))
    return max(0.0, most - core["out"])


@compiled
def _known(usual: float, count: int, total: float) -> float:
    return (usual * _PRIOR_BACK + total) / (_PRIOR_BACK + count)
