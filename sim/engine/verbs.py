"""What a scheduler's order comes to, once it has been found possible: the hands' compiled half."""

from sim.engine import jobs, machines, placement, repair
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.waiting import wake
from sim.engine.words import Phase


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
