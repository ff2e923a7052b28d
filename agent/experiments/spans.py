"""What each job did when: stretches of one phase, for a Gantt chart."""

from itertools import pairwise

import numpy as np

from agent.experiments.results import JobSpan
from sim.engine.words import Said
from sim.world import World

MOST_JOBS = 40  # rows that a page shows at once; the largest by GPU time
_PHASES = {
    int(Said.JOB_SUBMITTED): "waiting",
    int(Said.JOB_STARTED): "running",
    int(Said.JOB_FAILED): "stopped",
    int(Said.JOB_PREEMPTED): "waiting",
    int(Said.JOB_COMPLETED): "",
}


def spans(world: World) -> tuple[JobSpan, ...]:
    """Return the stretches of the largest jobs since the start, job by job in order of time.

    A world that keeps nothing of what is said has none.
    """
    start_s, now_s = world.scenario.start_s, world.now_s
    said = world.inner.said[: int(world.inner.core[0]["said_n"])]
    said = said[np.isin(said["said"], list(_PHASES))]
    rows = world.jobs()
    rows = rows[np.isfinite(rows["begun_s"])]
    until = np.where(np.isnan(rows["ended_s"]), now_s, rows["ended_s"])
    held = rows["gpus"] * (until - np.maximum(rows["begun_s"], start_s))
    largest = rows[np.argsort(-held, kind="stable")[:MOST_JOBS]]
    found: list[JobSpan] = []
    for number, gpus, begun_s in largest[["number", "gpus", "begun_s"]].tolist():
        own = said[said["job"] == number]
        first = "running" if begun_s <= start_s else ""
        changes = [(start_s, first)]
        changes += [(max(t, start_s), _PHASES[k]) for t, k in own[["time_s", "said"]].tolist()]
        changes.append((now_s, ""))
        name = world.names.job(number)
        found += [
            JobSpan(name, gpus, phase, begin_s - start_s, end_s - start_s)
            for (begin_s, phase), (end_s, _) in pairwise(changes)
            if phase and end_s > begin_s
        ]
    return tuple(found)
