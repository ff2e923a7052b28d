"""Faults as they come: planned, drawn, in company, again after repair, and with what shows before.

A fault comes at its time whatever has been done before, so every policy meets the same ones: its
random numbers are found by its class, what it strikes and which of theirs it is, never by its row.
"""

import math

from sim.engine import arrivals, condition, course, effects, repair, surrogate
from sim.engine.draws import lognormal
from sim.engine.heap import after, push
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, Effect, Kind, Purpose, Scope

# A fault's ``index``: how many of its process came before; of a planned one its row, and of one
# that followed from another a number made from that one's.
_PLANNED, _FOLLOWED = 2**29, 2**30
_MIX, _SPREADS = 1_000_003, 8
_LARGEST_SIZE, _LEAST_SHARE, _LEAST_CLOCK = 1e9, 1e-3, 0.3
_WARN_STEPS = 8
_GPU, _SIZE, _RESTART, _REBOOT, _RELAPSE, _NEIGHBOURS, _NODE = 0, 1, 2, 3, 4, 5, 6  # lanes


@compiled
def prepare(w: Tables) -> None:
    """Make a new world's chains of faults empty and put planned and drawn ones on the heap."""
    for node in range(len(w.nodes)):
        w.nodes[node]["fault"], w.nodes[node]["warn"] = NONE, NONE
    at = w.core[0]["domains_at"]
    at[:] = NONE
    for domain in range(len(w.domains) - 1, -1, -1):
        w.domains[domain]["fault"] = NONE
        at[w.domains[domain]["scope"]] = domain
    for planned in range(len(w.planned)):
        push(w, w.planned[planned]["onset_s"], Kind.FAULT, planned, 0, 0)
    arrivals.draw_first(w)


@compiled
def on_event(w: Tables, kind: int, a: int, b: int, version: int) -> None:
    """Let FAULT, ARRIVAL, WINDOW, FULL, MENDED, PHASE or RELAPSE happen."""
    if kind == Kind.FAULT:
        _begin_planned(w, a)
    elif kind == Kind.ARRIVAL:
        _arrive(w, a, b, version)
    elif kind == Kind.WINDOW:
        arrivals.open_window(w, a, b)
    elif kind == Kind.FULL:
        course.full(w, a, b)
    elif kind == Kind.MENDED:
        effects.mend(w, a)
    elif kind == Kind.RELAPSE:
        _follow(w, a, w.faults[a]["entity"], w.faults[a]["gpu"], 0)
    elif a == NONE:
        course.look(w, b)
    elif b < 0:
        _start_another(w, a, -b)
    else:
        course.go_on(w, a, b)


@compiled
def _arrive(w: Tables, entity: int, kind: int, version: int) -> None:
    """Let a drawn fault strike, or let more of it show before."""
    if version != arrivals.FAULT:
        _warn(w, entity, kind, version)
        return
    fault = _new(w, kind, entity, w.drawn[entity, kind] - 1, NONE)
    row, scope = w.faults[fault], w.classes[kind]["scope"]
    if scope == Scope.JOB:
        _choose_job(w, fault)
    elif scope in (Scope.GPU, Scope.NODE):
        _end_warning(w, fault)
    _fill(w, fault)
    if repair.lucky(w, fault, _NEIGHBOURS, Purpose.FAULT) < w.classes[kind]["spreads"]:
        _plan_company(w, fault)
    _plan_relapse(w, fault)
    _strike(w, fault, row["lasts_s"] if w.classes[kind]["lasts_alone"] else math.inf)
    arrivals.draw_next(w, kind, entity)


@compiled
def _begin_planned(w: Tables, planned: int) -> None:
    """Let a fault of the scenario strike; it lasts as long as that says, and nothing follows it."""
    plan = w.planned[planned]
    kind = w.classes[plan["class"]]
    fault = _new(w, plan["class"], plan["entity"], _PLANNED + planned, NONE)
    row = w.faults[fault]
    row["severity"] = plan["severity"]
    if kind["scope"] == Scope.JOB:
        _name_job(w, fault)
    _fill(w, fault)
    if kind["scope"] == Scope.GPU and plan["gpu"] != NONE:
        row["gpu"] = plan["gpu"]
    ends_s = plan["lasts_s"]
    if math.isinf(ends_s) and kind["lasts_alone"]:
        ends_s = row["lasts_s"]
    elif not math.isinf(ends_s):
        row["lasts_s"] = ends_s
    elif not w.site[0]["drain"]:
        row["lasts_s"] = math.inf
    _strike(w, fault, ends_s)


@compiled
def _follow(w: Tables, parent: int, entity: int, gpu: int, turn: int) -> None:
    """Let a fault strike that follows from another: the ``turn``-th beside it, or 0: it again."""
    kind = w.faults[parent]["class"]
    came = w.faults[parent]
    number = int(came["index"]) * _MIX + int(came["entity"]) * _SPREADS + turn + 1
    fault = _new(w, kind, entity, _FOLLOWED + number % _PLANNED, parent)
    row = w.faults[fault]
    if w.classes[kind]["scope"] == Scope.JOB:
        _choose_job(w, fault)
    _fill(w, fault)
    if gpu != NONE:
        row["gpu"] = gpu
    _plan_relapse(w, fault)
    _strike(w, fault, row["lasts_s"] if w.classes[kind]["lasts_alone"] else math.inf)


@compiled
def _strike(w: Tables, fault: int, ends_s: float) -> None:
    """Let a fault strike and end after a while, if it finds anything to break."""
    effects.strike(w, fault)
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if not math.isnan(row["mended_s"]):
        return
    if kind["scope"] not in (Scope.GPU, Scope.NODE, Scope.JOB) and math.isinf(ends_s):
        ends_s = row["lasts_s"]  # who owns a switch or a rack's power sees to it
    if row["number"] != NONE and not math.isinf(kind["crash_hi_s"]):
        ends_s = max(ends_s, kind["crash_hi_s"])
    after(w, ends_s, Kind.MENDED, fault, 0, 0)


@compiled
def _new(w: Tables, kind: int, entity: int, index: int, parent: int) -> int:
    """Return the row of a fault that begins now, with nothing drawn yet."""
    core = w.core[0]
    fault = core["faults_n"]
    core["faults_n"] += 1
    row, scope = w.faults[fault], w.classes[kind]["scope"]
    row["class"], row["entity"], row["index"], row["parent"] = kind, entity, index, parent
    row["node"], row["gpu"], row["job"], row["number"] = NONE, NONE, NONE, NONE
    row["home"], row["next"], row["share"], row["phase"] = NONE, NONE, 1.0, 0
    row["onset_s"], row["mended_s"] = core["now_s"], math.nan
    row["noticed_s"], row["warned_s"] = math.nan, math.nan
    row["severity"], row["size"], row["lasts_s"] = 1.0, 1.0, math.inf
    row["known"], row["crew"], row["interrupted"] = False, False, 0
    if scope in (Scope.GPU, Scope.NODE):
        row["node"], row["home"] = entity, entity
    elif scope != Scope.JOB:
        row["home"] = condition.domain_of(w, scope, entity)
    return fault


@compiled
def _fill(w: Tables, fault: int) -> None:
    """Draw what a fault is like."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if kind["scope"] == Scope.GPU:
        gpus = w.nodes[row["node"]]["gpus"]
        row["gpu"] = int(repair.lucky(w, fault, _GPU, Purpose.REPAIR) * gpus)
    luck = repair.lucky(w, fault, _SIZE, Purpose.REPAIR)
    drawn = kind["size_lo"] + (kind["size_hi"] - kind["size_lo"]) * luck
    row["size"] = sized(kind["effect"], drawn, row["severity"])
    row["restart_mends"] = repair.lucky(w, fault, _RESTART, Purpose.REPAIR) < kind["restart_mends"]
    row["reboot_mends"] = repair.lucky(w, fault, _REBOOT, Purpose.REPAIR) < kind["reboot_mends"]
    row["lasts_s"] = lognormal(
        w.core[0]["seed"],
        Purpose.REPAIR,
        repair.address(w, fault),
        int(row["index"]) * repair.LANES + repair.LANES - 1,
        kind["lasts_mu"],
        kind["lasts_sigma"],
    )
    if repair.is_by_crew(w, fault):
        row["lasts_s"] *= w.site[0]["repair_scale"]


@compiled
def sized(effect: int, drawn: float, severity: float) -> float:
    """Return the size of an effect: as drawn at severity 1, twice as bad or as fast at 2."""
    if effect in (Effect.MEMORY_LEAK, Effect.VOLUME_FILLING, Effect.ECC_GROWTH):
        return drawn / severity
    if effect in (Effect.COOLING, Effect.LINK_FLAP, Effect.SKEW):
        return drawn * severity
    if effect in (Effect.SLOW_NETWORK, Effect.SLOW_STORAGE, Effect.LOADER_STARVED):
        return max(1.0 - (1.0 - drawn) * severity, _LEAST_SHARE)
    if effect == Effect.POWER_CAP:
        return max(1.0 - (1.0 - drawn) * severity, _LEAST_CLOCK)
    return min(1.0 + (drawn - 1.0) * severity, _LARGEST_SIZE)


@compiled
def _choose_job(w: Tables, fault: int) -> None:
    """Let a fault that strikes jobs strike that of a GPU drawn evenly: large ones more often."""
    row = w.faults[fault]
    node = int(repair.lucky(w, fault, _NODE, Purpose.REPAIR) * len(w.nodes))
    gpu = int(repair.lucky(w, fault, _GPU, Purpose.REPAIR) * w.nodes[node]["gpus"])
    job = w.nodes[node]["job"][gpu]
    row["home"] = node
    if job != NONE:
        row["job"], row["number"] = job, w.jobs[job]["number"]


@compiled
def _name_job(w: Tables, fault: int) -> None:
    """Let a planned fault strike the scenario's job that it names, where it is now."""
    row = w.faults[fault]
    job = row["entity"]
    if w.jobs[job]["number"] == job:
        row["job"], row["number"], row["home"] = job, job, w.jobs[job]["first"]


@compiled
def _plan_relapse(w: Tables, fault: int) -> None:
    """Draw when a fault comes again after the repair that it nominally has."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if repair.lucky(w, fault, _RELAPSE, Purpose.FAULT) >= kind["relapses"]:
        return
    wait_s = lognormal(
        w.core[0]["seed"],
        Purpose.RELAPSE,
        repair.address(w, fault),
        row["index"],
        kind["relapse_mu"],
        kind["relapse_sigma"],
    )
    after(w, row["lasts_s"] + wait_s, Kind.RELAPSE, fault, 0, 0)


@compiled
def _plan_company(w: Tables, fault: int) -> None:
    """Draw how many faults of its kind begin near a fault, and when."""
    kind = w.classes[w.faults[fault]["class"]]
    many = 1 + int(repair.lucky(w, fault, 0, Purpose.SPREAD) * kind["spread_most"])
    for turn in range(1, min(many, _SPREADS - 2) + 1):
        wait_s = kind["spread_s"] * repair.lucky(w, fault, turn, Purpose.SPREAD)
        after(w, wait_s, Kind.PHASE, fault, -turn, 0)


@compiled
def _start_another(w: Tables, fault: int, turn: int) -> None:
    """Let a fault of the same kind strike a neighbour: in the same rack, else under the leaf."""
    row = w.faults[fault]
    if w.classes[row["class"]]["scope"] not in (Scope.GPU, Scope.NODE):
        return
    node = w.nodes[row["node"]]
    domain = condition.domain_of(w, Scope.RACK, node["rack"])
    if domain == NONE or w.domains[domain]["count"] < 2:
        domain = condition.domain_of(w, Scope.LEAF, node["leaf"])
    if domain == NONE or w.domains[domain]["count"] < 2:
        return
    first, count = w.domains[domain]["first"], w.domains[domain]["count"]
    steps = int(repair.lucky(w, fault, _SPREADS + turn, Purpose.SPREAD) * (count - 1))
    other = w.members[first + steps]
    if other == row["node"]:
        other = w.members[first + count - 1]
    _follow(w, fault, other, NONE, turn)


@compiled
def _warn(w: Tables, entity: int, kind: int, version: int) -> None:
    """Let more show of a fault to come, or of one that will not; a node shows one at a time."""
    node, core = w.nodes[entity], w.core[0]
    begins = version in (arrivals.WARNING, arrivals.FALSE_WARNING)
    if begins and node["warn"] != NONE:
        return
    if begins:
        node["warn"], node["warn_class"] = w.classes[kind]["warn_effect"], kind
        node["warn_share"], node["warn_s"] = 0.0, core["now_s"]
        luck = repair.luck_at(w, kind, entity, w.drawn[entity, kind] - 1, _GPU)
        node["warn_gpu"] = int(luck * node["gpus"])
        surrogate.watch_for(w, entity, kind)
    elif node["warn"] == NONE or node["warn_class"] != kind:
        return
    node["warn_share"] = min(node["warn_share"] + 1.0 / _WARN_STEPS, 1.0)
    is_false = version in (arrivals.FALSE_WARNING, arrivals.FALSE_WORSE)
    step_s = arrivals.lead_s(w, kind, entity) / _WARN_STEPS
    if is_false and core["now_s"] - node["warn_s"] >= (_WARN_STEPS - 0.5) * step_s:
        node["warn"] = NONE
    else:
        later = arrivals.FALSE_WORSE if is_false else arrivals.WORSE
        after(w, step_s, Kind.ARRIVAL, entity, kind, later)
    core["touches"] += 1
    condition.refresh(w, entity)
    repair.retime_on(w, entity)


@compiled
def _end_warning(w: Tables, fault: int) -> None:
    """Let what showed before a fault be over as it strikes, and note since when it showed."""
    row = w.faults[fault]
    node = w.nodes[row["node"]]
    if node["warn"] != NONE and node["warn_class"] == row["class"]:
        row["warned_s"] = node["warn_s"]
        node["warn"] = NONE
