"""How faults meet jobs: who is on what broke, what their logs say, when they hang and fail."""

import math

from sim.engine import jobs, placement
from sim.engine.accounts import count_job
from sim.engine.condition import is_own
from sim.engine.jit import compiled
from sim.engine.progress import step_at
from sim.engine.record import keep_job, say
from sim.engine.repair import lucky
from sim.engine.tables import Tables
from sim.engine.words import NONE, Effect, JobKind, Phase, Purpose, Reason, Said, Scope

_DRIVER_CRASHES = 0.1  # share of nodes whose job a bad driver kills: assumption
_LANES_KEPT = 8  # lanes of Purpose.COURSE below this are for other things than crash delays
_OUTAGES = 64  # a link's outages beyond this many are as long again
_HITS = 32  # a fault's hits beyond this many take the same delays again


@compiled
def hit_jobs(w: Tables, fault: int) -> None:
    """Let a fault touch the jobs on what it struck, each once."""
    row = w.faults[fault]
    w.core[0]["touches"] += 1
    if w.classes[row["class"]]["scope"] == Scope.JOB:
        if has_target(w, fault):
            hit(w, fault, row["job"])
    elif is_own(w, fault):
        hit_node(w, fault, row["home"])
    else:
        domain = w.domains[row["home"]]
        for place in range(domain["first"], domain["first"] + domain["count"]):
            hit_node(w, fault, w.members[place])


@compiled
def hit_node(w: Tables, fault: int, node: int) -> None:
    """Let a fault touch the jobs on a node, or on one GPU of it where it is a GPU's."""
    row, touches = w.faults[fault], w.core[0]["touches"]
    if w.classes[row["class"]]["scope"] == Scope.GPU:
        job = w.nodes[node]["job"][row["gpu"]]
        if job != NONE:
            hit(w, fault, job)
        return
    job = placement.first_on(w, node, NONE)
    while job != NONE:
        if w.jobs[job]["touch"] != touches:
            w.jobs[job]["touch"] = touches
            hit(w, fault, job)
        job = placement.first_on(w, node, job)


@compiled
def hit(w: Tables, fault: int, job: int) -> None:
    """Let a fault touch a job: it is corrupted, hangs or will fail, as the fault's class says."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    effect = kind["effect"]
    if w.jobs[job]["phase"] not in (Phase.STARTING, Phase.RUNNING) or _is_spared(w, effect, job):
        return
    note(w, fault, job)
    if effect in (Effect.NAN, Effect.SILENT_CORRUPTION):
        corrupt(w, job)
    if effect == Effect.LINK_FLAP:
        _starve(w, fault, job)
        return
    stands = effect in (Effect.NODE_DOWN, Effect.POWER_LOST, Effect.LEAF_DOWN, Effect.HANG)
    wait_s = crash_s(w, fault)
    if stands or kind["hangs"]:
        jobs.hang(w, job, fault, wait_s if kind["unwatched"] else w.site[0]["hang_timeout_s"])
    if not math.isinf(wait_s):
        jobs.crash_later(w, job, kind["reason"], fault, wait_s)


@compiled
def _starve(w: Tables, fault: int, job: int) -> None:
    """Let a job fail by its transport's timeout where a link stays away longer than that."""
    wait_s = crash_s(w, fault)
    if wait_s < outage_s(w, fault):
        jobs.crash_later(w, job, w.classes[w.faults[fault]["class"]]["reason"], fault, wait_s)


@compiled
def outage_s(w: Tables, fault: int) -> float:
    """Return how long a link that flaps is away this time: exponential, of mean ``size``."""
    row = w.faults[fault]
    luck = lucky(w, fault, _OUTAGES + row["phase"] // 2 % _OUTAGES, Purpose.SPREAD)
    return float(-row["size"] * math.log(luck))


@compiled
def note(w: Tables, fault: int, job: int) -> None:
    """Note the first job that a fault touched."""
    row = w.faults[fault]
    if row["number"] == NONE:
        row["job"], row["number"] = job, w.jobs[job]["number"]


@compiled
def has_target(w: Tables, fault: int) -> bool:
    """Say whether the job that a fault touched is there and has processes."""
    row = w.faults[fault]
    job = row["job"]
    if job == NONE or w.jobs[job]["number"] != row["number"]:
        return False
    return bool(w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING))


@compiled
def crash_s(w: Tables, fault: int) -> float:
    """Return how long a job that a fault touches now lives on; inf: it is not killed by it."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if math.isinf(kind["crash_lo_s"]):
        return math.inf
    lane = _LANES_KEPT + row["interrupted"] % _HITS
    low, high = kind["crash_lo_s"], kind["crash_hi_s"]
    return float(low + (high - low) * lucky(w, fault, lane, Purpose.COURSE))


@compiled
def is_deadly(w: Tables, fault: int) -> bool:
    """Say whether an open fault also meets jobs that come to its node later."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    effect = kind["effect"]
    if effect == Effect.ECC_GROWTH:
        return bool(row["share"] >= 1.0)
    broken = (Effect.GPU_LOST, Effect.GPU_ERROR, Effect.HANG, Effect.CRASH_JOB)
    return bool(effect in broken or effect == Effect.SILENT_CORRUPTION)


@compiled
def corrupt(w: Tables, job: int) -> None:
    """Make worthless what a job does from now on."""
    row, now_s = w.jobs[job], w.core[0]["now_s"]
    if row["phase"] != Phase.RUNNING:
        return
    count_job(w, job)
    row["corrupt_step"] = min(row["corrupt_step"], step_at(row, row["row_s"], now_s))
    keep_job(w, job)


@compiled
def tell(w: Tables, fault: int) -> None:
    """Say what kernel logs and the scheduler say of a fault as it strikes."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    if kind["said"] != NONE:
        told(w, fault, kind["said"])
        if kind["said"] == Said.XID and kind["code"] == _UNCORRECTED:
            say(w, Said.ROW_REMAP, _ROW_REMAP, row["node"], row["gpu"], NONE)
    if kind["and_pcie"] > 0 and lucky(w, fault, 1, Purpose.COURSE) < kind["and_pcie"]:
        say(w, Said.PCIE_ERROR, 0, row["node"], row["gpu"], NONE)


_UNCORRECTED, _ROW_REMAP = 48, 63  # Xids


@compiled
def told(w: Tables, fault: int, said: int) -> None:
    """Say something of a fault: of its node and GPU, of its job, or of its domain by number."""
    row = w.faults[fault]
    kind = w.classes[row["class"]]
    code = kind["code"]
    if not is_own(w, fault):
        code = row["entity"]
    say(w, said, code, row["node"], row["gpu"], _job_said(w, fault))


@compiled
def _job_said(w: Tables, fault: int) -> int:
    row = w.faults[fault]
    of_job = w.classes[row["class"]]["scope"] == Scope.JOB
    return int(row["job"]) if of_job and has_target(w, fault) else NONE


@compiled
def _is_spared(w: Tables, effect: int, job: int) -> bool:
    """Say whether a job lives on: one node needs no network, a service only its other replicas."""
    row = w.jobs[job]
    if row["kind"] == JobKind.SERVICE:
        return bool(effect != Effect.CRASH_JOB)
    return bool(effect in (Effect.LEAF_DOWN, Effect.LINK_FLAP) and row["nodes"] <= 1)


@compiled
def driver_kills(w: Tables, fault: int, node: int) -> None:
    """Let a bad driver kill the jobs of a node that got it, on some nodes."""
    if lucky(w, fault, _LANES_KEPT + node % _HITS, Purpose.SPREAD) >= _DRIVER_CRASHES:
        return
    job = placement.first_on(w, node, NONE)
    while job != NONE:
        if w.jobs[job]["struck"] == NONE:
            hit(w, fault, job)
        job = placement.first_on(w, node, job)


@compiled
def fail_on(w: Tables, fault: int, reason: int) -> None:
    """Let the jobs on a fault's node fail now."""
    node = w.faults[fault]["home"]
    job = placement.first_on(w, node, NONE)
    while job != NONE:
        note(w, fault, job)
        jobs.fail(w, job, reason, fault)
        job = placement.first_on(w, node, job)


@compiled
def fail_leaking(w: Tables, fault: int) -> None:
    """Let the job whose loader has leaked a node's memory away fail now."""
    if has_target(w, fault):
        jobs.fail(w, w.faults[fault]["job"], Reason.OUT_OF_MEMORY, fault)
