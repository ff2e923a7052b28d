"""The beginning of a world: machines offered, jobs placed, the first of all that is to come."""

from sim.engine import faults, jobs, mix, placement, surrogate
from sim.engine.heap import push
from sim.engine.jit import compiled
from sim.engine.queue import NAMED
from sim.engine.record import keep_node
from sim.engine.tables import Tables
from sim.engine.words import NONE, Kind


@compiled
def begin(w: Tables) -> None:
    """Let a world begin at ``core.now_s``: its own jobs run, or come at their time."""
    core, site = w.core[0], w.site[0]
    placement.lay_out(w)
    for node in range(len(w.nodes)):
        keep_node(w, node)
    _begin_jobs(w)
    faults.prepare(w)
    surrogate.begin(w)
    if site["mix_per_day"] > 0:
        push(w, mix.next_s(w, 0), Kind.SUBMIT, NONE, 0, 0)
    if len(w.trace) > 0:
        push(w, core["start_s"] + w.trace[0]["submit_s"], Kind.SUBMIT, 0, 0, 0)


@compiled
def _begin_jobs(w: Tables) -> None:
    """Run the jobs that the world begins with, on the first nodes in order; await the others."""
    core, node = w.core[0], 0
    for job in range(core["jobs_n"]):
        row = w.jobs[job]
        count = placement.needs(w, row["gpus"])
        if row["submit_s"] > core["now_s"]:
            push(w, row["submit_s"], Kind.SUBMIT, NAMED, job, 0)
        elif count > 0:
            placement.append_run(w, job, node, count)
            node += count
    for job in range(core["jobs_n"]):
        row = w.jobs[job]
        if row["submit_s"] > core["now_s"]:
            continue
        if row["first"] == NONE:
            placement.give_part(w, job, placement.find_one(w, row["gpus"]))
        jobs.run_at_once(w, job)
