"""What a scheduler's order comes to, once it has been found possible: the hands' compiled half."""

import math

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
from sim.engine.heap import after
from sim.engine.jit import compiled
from sim.engine.record import say
from sim.engine.tables import Tables
from sim.engine.waiting import remove, wake
from sim.engine.words import NONE, Effect, JobKind, Kind, Phase, Reason, Said, Scope, Stage


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
def restart_in_place(w: Tables, job: int) -> None:
    """Start a job's processes again in the containers they had."""
    jobs.start_in_place(w, job)


@compiled
def stop(w: Tables, job: int) -> None:
    """End a job's processes as they are; it keeps its nodes."""
    if w.jobs[job]["phase"] in (Phase.STARTING, Phase.RUNNING):
        jobs.end_processes(w, job)


@compiled
def exchange(w: Tables, job: int, node: int, spare: int) -> None:
    """Put a spare in a node's place in a job without processes; the node takes the spare's part."""
    pool = bool(w.nodes[spare]["pool"])
    placement.swap(w, job, node, spare)
    w.jobs[job]["fresh"] = True
    w.nodes[spare]["pool"], w.nodes[node]["pool"] = False, pool
    placement.offer(w, node)
    placement.offer(w, spare)


@compiled
def swap(w: Tables, job: int, node: int, spare: int) -> None:
    """Start a job again with a spare in a node's place; the node takes the spare's part."""
    stop(w, job)
    exchange(w, job, node, spare)
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
def part_with(w: Tables, job: int, node: int) -> None:
    """Let a job run without one of its whole nodes from now on: written, then started anew."""
    before = _lacks(w, job)
    more_s = halt(w, job)
    accounts.want(w, job, w.jobs[job]["given"] - w.nodes[0]["gpus"])
    placement.drop(w, job, node)
    loads.relax(w, node)
    w.core[0]["shrunk"] += _lacks(w, job) - before
    wake(w)
    jobs.start_later(w, job, more_s)


@compiled
def preempt(w: Tables, job: int) -> None:
    """Let a job save its state and wait in the queue then; one that cannot save, at once."""
    row = w.jobs[job]
    if row["stage"] not in (Stage.STEPPING, Stage.CAPTURING) or row["kind"] == JobKind.SERVICE:
        make_way(w, job)
        return
    jobs.capture(w, job)
    wait_s = 2 * row["stall_s"] + row["save_s"]  # it may be in the middle of another stall
    after(w, wait_s, Kind.PREEMPT, job, 0, row["version"])


@compiled
def make_way(w: Tables, job: int) -> None:
    """Take all nodes from a job that has some, its state written; it waits in the queue."""
    halt(w, job)
    w.jobs[job]["reason"] = Reason.PREEMPTED
    say(w, Said.JOB_PREEMPTED, Reason.PREEMPTED, NONE, NONE, job)
    queue.wait_again(w, job)


@compiled
def drain(w: Tables, node: int, hold: int) -> None:
    """Keep a node from getting jobs; those it has are written, and start on others or wait."""
    take_out(w, node, hold)
    job = placement.first_on(w, node, NONE)
    while job != NONE:
        following = placement.first_on(w, node, job)
        more_s = halt(w, job)
        after(w, more_s, Kind.REQUEUE, job, 0, w.jobs[job]["version"])
        job = following


@compiled
def do_without(w: Tables, job: int, node: int, start: bool) -> None:
    """Let a job that can shrink go on without a node, and as few others as fit; it wants them back.

    Its state is written first where it steps. start: it is started also where it had stopped.
    """
    row = w.jobs[job]
    before, runs = _lacks(w, job), row["phase"] in (Phase.STARTING, Phase.RUNNING)
    size = queue.fitting(w, job, row["nodes"] - 1)
    more_s = halt(w, job)
    row["lent"] += row["nodes"] - size
    placement.drop(w, job, node)
    loads.relax(w, node)
    while row["nodes"] > size:
        last = row["last"]
        placement.drop(w, job, last)
        loads.relax(w, last)
    w.core[0]["shrunk"] += _lacks(w, job) - before
    wake(w)
    if start or runs:
        jobs.start_later(w, job, more_s)


@compiled
def borrow(w: Tables, job: int, node: int, lender: int, lent: int) -> None:
    """Start a job again with a node of another in a node's place; the other shrinks, or waits."""
    less = queue.fitting(w, lender, w.jobs[lender]["nodes"] - 1)
    if jobs.is_flexible(w, lender) and less > 0:
        do_without(w, lender, lent, False)
    else:
        make_way(w, lender)
    stop(w, job)
    exchange(w, job, node, lent)
    loads.relax(w, node)
    jobs.start(w, job)


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
def release_spare(w: Tables, node: int) -> None:
    """Let jobs of the queue have a node that was kept as a spare."""
    w.nodes[node]["pool"] = False
    placement.offer(w, node)
    wake(w)


@compiled
def set_interval(w: Tables, job: int, interval_s: float) -> None:
    """Let a job that writes checkpoints write one after so much work from now on."""
    jobs.set_interval(w, job, interval_s)


@compiled
def tune(w: Tables, job: int, loaders: float, batch: float, cache: float) -> None:
    """Set a job's loaders, batch and cache; the first two are read as processes start."""
    row = w.jobs[job]
    set_up(w, job, (loaders, batch, row["accumulate"], cache), row["compressed"])


@compiled
def set_up(w: Tables, job: int, sizes: tuple[float, float, float, float], compressed: bool) -> None:
    """Set a job's (loaders, batch, accumulation, cache) and whether its gradients are compressed.

    All but the cache are read as processes start.
    """
    row = w.jobs[job]
    anew = row["loaders"] != sizes[0] or row["batch"] != sizes[1]
    anew = anew or row["accumulate"] != sizes[2] or row["compressed"] != compressed
    anew = anew and row["phase"] == Phase.RUNNING
    count_job(w, job)
    more_s = halt(w, job) if anew else 0.0
    row["loaders"], row["batch"], row["accumulate"], row["cache"] = sizes
    row["compressed"] = compressed
    if anew:
        jobs.start_later(w, job, more_s)
    else:
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
def limit_power(w: Tables, node: int, watts: float) -> None:
    """Hold each of a node's GPUs to so much power; 0: to its board's own limit."""
    machines.carry(w, node)
    w.nodes[node]["power_limit"] = watts
    machines.changed(w, node)
    w.core[0]["touches"] += 1
    repair.retime_on(w, node)


@compiled
def reset_gpu(w: Tables, node: int, gpu: int, takes_s: float) -> None:
    """Begin to reset a GPU that no job has; what a boot would mend of it is mended after that."""
    fault = w.nodes[node]["fault"]
    while fault != NONE:
        if w.faults[fault]["gpu"] == gpu and w.faults[fault]["reboot_mends"]:
            after(w, takes_s, Kind.MENDED, fault, 0, 0)
        fault = w.faults[fault]["next"]


@compiled
def call_people(w: Tables, node: int, job: int, after_s: float) -> None:
    """Let people come after a while and mend what is broken of a node and of a job, or of either.

    node, job: NONE: none
    """
    for fault in range(w.core[0]["faults_n"]):
        row = w.faults[fault]
        own = node != NONE and row["node"] == node
        if job != NONE and w.classes[row["class"]]["scope"] == Scope.JOB:
            own = own or (row["job"] == job and row["number"] == w.jobs[job]["number"])
        if own and math.isnan(row["mended_s"]):
            after(w, after_s, Kind.MENDED, fault, 0, 0)


@compiled
def set_service(w: Tables, job: int, batch: float, cache: float) -> None:
    """Let a service answer so many requests together, with such a share of its memory as cache."""
    services.set_batch(w, job, batch)
    services.set_cache(w, job, cache)


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
