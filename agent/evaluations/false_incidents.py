"""Incidents on clusters where no machine is at fault, that nothing which happened there explains.

Two kinds of busy cluster, on several seeds each: one of long training jobs that start, save, stop
for their own bugs, start again and end; and one where a queue of short jobs and a service share the
nodes. Everything is read, looked at by all detectors and grouped as in ``grouping``. An incident
that shows a job's own bug is that bug's, and one that shows a service beyond its objective is its
load's; all others count. The short form takes less than the four
hours after which a series is judged by its own past.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from agent.evaluations import job_worlds
from agent.evaluations.grouping_truth import belongs, causes_of
from agent.evaluations.play import Play
from core.figures import Row, at_most
from core.types import Incident
from detectors.progress.lateness import LATENCY
from sim.library import scenario
from sim.scenario import Scenario
from sim.world import World

HOURS, QUICK_HOURS = 48.0, 1.0
TRAINING_NODES, QUEUE_NODES = 64, 32
SEEDS, QUICK_SEEDS = 6, 1
MOST_PER_1000_NODE_DAYS = 1.0


def rows(*, quick: bool, progress: Callable[[str, int, int], None]) -> Iterator[Row]:
    """Yield false incidents per 1,000 node-days, of all and of each kind of cluster."""
    hours, seeds = (QUICK_HOURS, QUICK_SEEDS) if quick else (HOURS, SEEDS)
    false: dict[str, list[Incident]] = {}
    days: dict[str, float] = {}
    for seed in range(seeds):
        for kind, cluster in _clusters(hours, seed):
            false.setdefault(kind, []).extend(_without_cause(cluster, seed, hours))
            days[kind] = days.get(kind, 0.0) + cluster.nodes * hours / 24.0
        progress("false incidents", seed + 1, seeds)
    every = [incident for found in false.values() for incident in found]
    titles = "; ".join(incident.title for incident in every[:5])
    total = sum(days.values())
    yield at_most(
        "false_incidents_per_1000_node_days",
        1000.0 * len(every) / total,
        MOST_PER_1000_NODE_DAYS,
        unit="1/1000 node-days",
        n=int(total),
        note=f"{len(every)} in {total:.0f} node-days" + (f": {titles}" if titles else ""),
    )
    for kind, found in false.items():
        metric = f'false_incidents_per_1000_node_days{{cluster="{kind}"}}'
        rate = 1000.0 * len(found) / days[kind]
        yield Row(metric, rate, "1/1000 node-days", n=int(days[kind]))


def _clusters(hours: float, seed: int) -> Iterator[tuple[str, Scenario]]:
    yield "training", job_worlds.busy_cluster(hours=hours, seed=seed, nodes=TRAINING_NODES)
    surge = scenario("load-surge")
    yield "queue", replace(surge, faults=(), nodes=QUEUE_NODES, telemetry="full")


def _without_cause(cluster: Scenario, seed: int, hours: float) -> list[Incident]:
    world = World.build(cluster, seed=seed)
    play = Play(world)
    topology = world.topology()
    play.run(hours * 3600.0)
    causes = causes_of(world.truth, topology)
    return [
        incident
        for incident in play.seen.values()
        if not belongs(incident, causes) and not _overloaded(incident, cluster)
    ]


def _overloaded(incident: Incident, cluster: Scenario) -> bool:
    """Say whether a service of the cluster was late by what its users were promised."""
    promised_s = {job.id: job.service.objective_s for job in cluster.jobs if job.service}
    return any(
        each.metric == LATENCY and each.value > promised_s.get(each.target.job, math.inf)
        for each in incident.anomalies
    )
