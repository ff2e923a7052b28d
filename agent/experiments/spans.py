"""What each job did when: stretches of one phase, for a Gantt chart."""

from itertools import pairwise

from agent.experiments.results import JobSpan
from sim.world import World

MOST_JOBS = 40  # rows that a page shows at once; the largest by GPU time


def spans(world: World) -> tuple[JobSpan, ...]:
    """Return the stretches of the largest jobs since the start, job by job in order of time."""
    start_s, end_s = world.scenario.start_s, world.now_s
    found: list[JobSpan] = []
    for job in world.scenario.jobs[:MOST_JOBS]:
        own = [e for e in world.events if e.target.job == job.id and e.kind in _PHASES]
        changes = [(start_s, "running"), *((e.time_s, _PHASES[e.kind]) for e in own), (end_s, "")]
        found += [
            JobSpan(job.id, job.nodes * 8, phase, begin_s - start_s, until_s - start_s)
            for (begin_s, phase), (until_s, _) in pairwise(changes)
            if until_s > max(begin_s, start_s)
        ]
    return tuple(found)


_PHASES = {"job_started": "running", "job_failed": "stopped"}
