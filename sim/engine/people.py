"""A person who is called: comes in a while, finds what troubles the job and mends it."""

import math

from core.choice import Choice
from sim.engine import blame, effects, jobs, queue, surrogate
from sim.engine.heap import whole
from sim.engine.jit import compiled
from sim.engine.tables import Tables
from sim.engine.words import NONE, Phase, Stage

_PERSON_LO, _PERSON_HI = 0.5, 1.5  # times a site's mean until a person has mended it: assumed


@compiled
def call(w: Tables, trouble: int) -> None:
    """Call a person, who comes after a drawn time; meanwhile the incident is looked at as before.

    An order of its own tells of it, which is done with at once.
    """
    row, core = w.troubles[trouble], w.core[0]
    luck = blame.luck_of_person(w, trouble)
    times = _PERSON_LO + (_PERSON_HI - _PERSON_LO) * luck
    row["paged"] = True
    row["person_s"] = whole(core["now_s"] + w.site[0]["people_s"] * times)
    core["pages"] += 1
    w.jobs[row["subject"]]["paged"] += 1
    order = w.orders[row["order"]]
    order["worked"], order["ended_s"] = True, core["now_s"]
    row["choice"] = Choice.WAIT
    surrogate.rest(w, trouble, surrogate.LOOK_S)


@compiled
def mend(w: Tables, trouble: int) -> None:
    """Let the person who has come mend all that troubles the job, and start it if it stands."""
    row = w.troubles[trouble]
    row["person_s"] = math.inf
    job = row["job"]
    at = w.jobs[job]
    for other in range(w.core[0]["troubles_n"]):
        its = w.troubles[other]
        same = its["job"] == job and its["number"] == row["number"]
        if its["open"] and same and its["fault"] != NONE:
            effects.mend(w, its["fault"])
    if at["number"] != row["number"]:
        return
    at["paged"] -= 1
    if at["handled"] != NONE:
        return
    if at["stage"] == Stage.HUNG or (
        at["phase"] == Phase.RUNNING and not math.isinf(at["corrupt_step"])
    ):
        jobs.end_processes(w, job)  # what it would go on with is worthless
    if at["phase"] == Phase.STOPPED:
        queue.requeue(w, job)
