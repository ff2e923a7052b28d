"""What a scheduler's order comes to, once it has been found possible: the hands' compiled half."""

from sim.engine import (
    accounts,
    condition,
    jobs,
    loads,
    machines,
    placement,
    queue,
    repair,
    services,
)
from sim.engine.accounts import count_job
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.waiting import remove, wake
from sim.engine.words import NONE, Effect, JobKind, Phase, Scope, Stage


@compiled
def take_out(w: Tables, node: int, hold: int) -> None:
    """Keep a node from getting jobs; it keeps those it has."""
    machines.take_out(w, node, hold)
    placement.offer(w, node)


@compiled
def give_back(w: Tables, node: int) -> None:
    """Let a node have jobs again."""
    machines.give_back(w, node)
    placement.offer(w, node)
    wake(w)


@compiled
def capture(w: Tables, job: int) -> None:
    """Begin a checkpoint out of turn."""
    jobs.capture(w, job)


@compiled
def restart(w: Tables, job: int) -> None:
    """Start a job again on the nodes it has."""
    jobs.start(w, job)


@compiled
def swap(w: Tables, job: int, node: int, spare: int) -> None:
    """Start a job again with a spare in a node's place; the node takes the spare's part."""
    if w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING):
        jobs.end_processes(w, job)
    placement.swap(w, job, node, spare)
    w.jobs[job]["fresh"] = True
    w.nodes[spare]["pool"], w.nodes[node]["pool"] = False, True
    placement.offer(w, node)
    placement.offer(w, spare)
    jobs.start(w, job)


@compiled
def reboot(w: Tables, node: int) -> None:
    """Begin to reboot a node on which no job runs."""
    repair.reboot(w, node)


@compiled
def halt(w: Tables, job: int) -> float:
    """Stop a job's processes, in order where they step: their state is written first.

    Returns the seconds that the writing takes, by which the job starts later. A service has no
    state to write.
    """
    row = w.jobs[job]
    if row["phase"] not in (Phase.STARTING, Phase.RUNNING):
        return 0.0
    if row["stage"] not in (Stage.STEPPING, Stage.CAPTURING) or row["kind"] == JobKind.SERVICE:
        jobs.end_processes(w, job)
        return 0.0
    jobs.save_and_end(w, job)
    write_s: float = row["stall_s"] + row["save_s"]
    return write_s


@compiled
def begin(w: Tables, job: int, more_s: float) -> None:
    """Start a job that has no processes on the nodes it has, which takes so much longer."""
    jobs.start_later(w, job, more_s)


@compiled
def resize(w: Tables, job: int, nodes: int) -> None:
    """Let a job run on so many whole nodes from now on: written first, then started anew.

    It gives back those that are not ready, then its last ones; there are enough free ones.
    """
    row, before = w.jobs[job], _lacks(w, job)
    more_s = halt(w, job)
    accounts.want(w, job, nodes * w.nodes[0]["gpus"])
    if row["nodes"] == 0:
        wake(w)
        return
    while row["nodes"] > nodes:
        node = _least_wanted(w, job)
        placement.drop(w, job, node)
        loads.relax(w, node)
    if row["nodes"] < nodes:
        placement.append_free(w, job, nodes - row["nodes"])
        row["fresh"] = True
    w.core[0]["shrunk"] += _lacks(w, job) - before
    wake(w)
    jobs.start_later(w, job, more_s)


@compiled
def leave(w: Tables, job: int) -> float:
    """Take a job from all its nodes, or off the queue; return the seconds as ``halt`` does."""
    more_s = halt(w, job)
    if w.jobs[job]["phase"] == Phase.PENDING:
        remove(w, job)
    jobs.let_go(w, job)
    wake(w)
    return more_s


@compiled
def take(w: Tables, job: int, node: int) -> None:
    """Give a job a node, or the part of one that it asked for, as its last ranks."""
    row = w.jobs[job]
    before = _lacks(w, job)
    w.nodes[node]["pool"] = False
    if placement.needs(w, row["gpus"]) == 0:
        placement.give_part(w, job, node)
    else:
        placement.append(w, job, node)
    row["fresh"] = True
    w.core[0]["shrunk"] += _lacks(w, job) - before


@compiled
def keep_as_spare(w: Tables, node: int) -> None:
    """Make a node of which nobody has a GPU a spare."""
    w.nodes[node]["pool"] = True
    placement.offer(w, node)


@compiled
def tune(w: Tables, job: int, loaders: float, batch: float, cache: float) -> None:
    """Set a job's loaders, batch and cache; the first two are read as processes start."""
    row = w.jobs[job]
    anew = row["loaders"] != loaders or row["batch"] != batch
    runs = row["phase"] == Phase.RUNNING
    count_job(w, job)
    if runs and anew:
        more_s = halt(w, job)
        row["loaders"], row["batch"], row["cache"] = loaders, batch, cache
        jobs.start_later(w, job, more_s)
        return
    row["loaders"], row["batch"], row["cache"] = loaders, batch, cache
    jobs.retime(w, job)


@compiled
def roll_back(w: Tables, job: int, step: float) -> None:
    """Start a job from its newest checkpoint of a step or before it."""
    row = w.jobs[job]
    if row["phase"] in (Phase.STARTING, Phase.RUNNING):
        jobs.end_processes(w, job)
    jobs.go_back(w, job, step)
    row["captured_s"], row["captured_step"] = row["saved_s"], row["saved_step"]
    row["step"] = row["saved_step"]
    jobs.start(w, job)


@compiled
def roll_back_one(w: Tables, job: int) -> None:
    """Start a job from the checkpoint before the one that a restart would take."""
    row = w.jobs[job]
    if row["phase"] in (Phase.STARTING, Phase.RUNNING):
        jobs.end_processes(w, job)
    roll_back(w, job, row["saved_step"] - 0.5 * row["interval_s"] / row["ideal_s"])


@compiled
def cancel(w: Tables, job: int) -> None:
    """End a job, whether it waits or runs."""
    queue.cancel(w, job)


@compiled
def limit_clocks(w: Tables, node: int, share: float) -> None:
    """Hold a node's clocks to a share; 1: they are free again."""
    machines.carry(w, node)
    w.nodes[node]["limit"] = share if share < 1.0 else 0.0
    machines.changed(w, node)
    w.core[0]["touches"] += 1
    repair.retime_on(w, node)


@compiled
def set_replicas(w: Tables, job: int, count: int) -> bool:
    """Want so many replicas of a service; False: its job's GPUs do not hold them."""
    return services.set_replicas(w, job, count)


@compiled
def set_canary(w: Tables, job: int, share: float) -> bool:
    """Let a service's newest version answer so large a share; False: it is none."""
    return services.set_canary(w, job, share)


@compiled
def stop_rollouts(w: Tables) -> int:
    """Let roll-outs of a driver go no further; return how many there were that did."""
    count = 0
    fault = w.domains[condition.domain_of(w, Scope.FLEET, 0)]["fault"]
    while fault != NONE:
        row = w.faults[fault]
        if w.classes[row["class"]]["effect"] == Effect.DRIVER and not row["stopped"]:
            row["stopped"] = True
            count += 1
        fault = row["next"]
    repair.end_rollouts(w)
    return count


@compiled
def _lacks(w: Tables, job: int) -> int:
    """Return 1 for an elastic job that has nodes, but fewer than it wants."""
    return 1 if w.jobs[job]["nodes"] > 0 and jobs.is_shrunk(w, job) else 0


@compiled
def _least_wanted(w: Tables, job: int) -> int:
    """Return the last of a job's nodes that are not ready, or the last of all."""
    row = w.jobs[job]
    found, node = row["last"], row["first"]
    unready = NONE
    for _ in range(row["nodes"]):
        if not machines.ready(w, node):
            unready = node
        node = w.nodes[node]["next"]
    return int(found if unready == NONE else unready)
