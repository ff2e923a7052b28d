"""The knob that a blamed cause calls for: loaders, a release, replicas, a driver's roll-out."""

from sim.engine import menu, verbs
from sim.engine.jit import compiled
from sim.engine.tables import Array, Tables
from sim.engine.terms import KNOB, Knob
from sim.engine.words import GPUS, NONE, Phase

_MORE_LOADERS = 2.0


@compiled
def tune(w: Tables, trouble: int, causes: Array) -> bool:
    """Turn the knob that the blamed cause calls for; where that cause is wrong, it helps nobody."""
    row = w.troubles[trouble]
    job, knob = row["subject"], int(causes[row["cause"], KNOB])
    if knob == Knob.CANARY:
        return verbs.set_canary(w, job, 0.0)
    if knob == Knob.REPLICAS:
        return verbs.set_replicas(w, job, menu.more_replicas(w, job))
    if knob == Knob.ROLLOUT:
        _stop_rollout(w, job)
        return True
    if not menu.others_ready(w, job, NONE, NONE):
        return False
    at = w.jobs[job]
    verbs.tune(w, job, at["loaders"] * _MORE_LOADERS, at["batch"], at["cache"])
    if at["phase"] == Phase.STOPPED:
        verbs.restart(w, job)
    return True


@compiled
def _stop_rollout(w: Tables, job: int) -> None:
    """Let a driver go no further, and boot the job's nodes and free ones into the old one."""
    verbs.stop_rollouts(w)
    struck = False
    node = w.jobs[job]["first"]
    for _ in range(w.jobs[job]["nodes"]):
        struck = struck or w.nodes[node]["driver"] != 0
        node = w.nodes[node]["next"]
    more_s = verbs.halt(w, job) if struck else 0.0
    for at in range(len(w.nodes)):
        if w.nodes[at]["driver"] != 0 and w.nodes[at]["up"] and not has_processes(w, at):
            verbs.reboot(w, at)
    if struck:
        verbs.begin(w, job, more_s + w.site[0]["reboot_hi_s"])


@compiled
def has_processes(w: Tables, node: int) -> bool:
    """Say whether a job starts or runs on a node."""
    for gpu in range(GPUS):
        job = w.nodes[node]["job"][gpu]
        if job != NONE and w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING):
            return True
    return False
