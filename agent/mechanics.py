"""Mechanisms fitted beside the cycle, hour by hour, so that a diagnosis finds them ready."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from agent.history import History
from agent.metrics import Metrics
from core.target import Target
from core.topology import Topology
from core.types import Incident, Window
from rca.graph.causal_graph import build_graph
from rca.graph.mechanisms import Mechanisms, fit_mechanisms
from rca.graph.templates import Template
from rca.posterior.case import usable
from rca.posterior.standing import Spans

log = structlog.get_logger()

# An hour of 15 s readings is as long as a diagnosis looks back for what is normal.
EVERY_S = 3600.0
# What creeps is detected minutes late: the newest readings are learned next time. As long as the
# guard of a diagnosis (``DiagnoseSettings.guard_s``).
GUARD_S = 600.0
# Other jobs, another season: after a day what was learned counts half.
HALF_LIFE_S = 86400.0
# Coefficients are shared by all targets of a metric, of which 16 series are read in the end.
MOST_NODES = 64
# One bend, in the middle of what is usual: at every lag of every cause three of them take twice the
# time and 61 MiB instead of 16, and no diagnosis got better.
KNOTS = (0.0,)
# From a shorter past a diagnosis fits as well by itself.
LEAST_S = EVERY_S / 2


@dataclass(slots=True)
class Mechanics:
    """Holds the newest mechanisms; ``refit`` adds what happened since, and forgets slowly.

    None until the first fit, a few minutes after a start: until then each diagnosis fits its own.
    """

    history: History
    metrics: Metrics
    mechanisms: Mechanisms | None = None
    _until_s: float = -math.inf

    async def refit(
        self,
        now_s: float,
        topology: Topology,
        incidents: Iterable[Incident],
        links: tuple[Template, ...],
    ) -> None:
        """Learn from the normal readings since the last fit, once an hour, in a thread.

        incidents: all that were open since then. What they touch is no normal reading, from
        GUARD_S before their first symptom until they are resolved.
        """
        end_s = now_s - GUARD_S
        if 0 <= end_s - self._until_s < EVERY_S:
            return
        start_s = max(self._until_s, end_s - EVERY_S) if self._until_s < end_s else end_s - EVERY_S
        windows = await self._windows(start_s, end_s, topology)
        windows = without(windows, incidents, topology)
        if self.mechanisms is None and _seen_s(windows) < LEAST_S:
            return
        before, keep = self.mechanisms, 0.5 ** ((end_s - start_s) / HALF_LIFE_S)

        def work() -> Mechanisms:
            series = {name: window.targets for name, window in windows.items()}
            graph, spans = build_graph(series, topology, links), Spans(start_s, end_s, end_s, 0.0)
            with np.errstate(all="ignore"):
                return fit_mechanisms(graph, windows, spans, known=before, keep=keep, knots=KNOTS)

        self.mechanisms = await asyncio.to_thread(work)
        self._until_s = end_s
        self.metrics.fitted(self.mechanisms, end_s)

    async def _windows(
        self, start_s: float, end_s: float, topology: Topology
    ) -> Mapping[str, Window]:
        """Return the sample's readings after ``start_s``; the cycle goes on between metrics."""
        after_s, found = start_s + self.history.step_s / 2, {}
        wanted = sampled(topology)
        for metric in self.history.metrics():
            targets = [each for each in self.history.targets(metric) if wanted(each)]
            found[metric] = self.history.window(
                metric, start_s=after_s, end_s=end_s, targets=targets
            )
            await asyncio.sleep(0)
        return usable(found)


def sampled(topology: Topology) -> Callable[[Target], bool]:
    """Return who says whether a target is looked at: nodes spread evenly, then their whole jobs.

    A job's readings are explained by all its nodes; one on too many is left to its diagnosis.
    """
    if len(topology.nodes) <= MOST_NODES:
        return lambda target: True
    places = np.linspace(0, len(topology.nodes) - 1, MOST_NODES // 2).astype(np.int64)
    spread = [topology.nodes[index] for index in places.tolist()]
    nodes = {*spread}
    for job in dict.fromkeys(job for node in spread for job in topology.jobs_on(Target(node=node))):
        more = nodes.union(topology.nodes_of_job(job))
        nodes = more if len(more) <= MOST_NODES else nodes
    jobs = {job for job in topology.jobs if nodes.issuperset(topology.nodes_of_job(job))}
    return lambda target: (
        (not target.node or target.node in nodes) and (not target.job or target.job in jobs)
    )


def _seen_s(windows: Mapping[str, Window]) -> float:
    """Return from when to when anything was read, in seconds."""
    seen = [w.time_s[np.isfinite(w.value).any(axis=0)] for w in windows.values()]
    return max((float(time_s[-1] - time_s[0]) for time_s in seen if len(time_s)), default=0.0)


def without(
    windows: Mapping[str, Window], incidents: Iterable[Incident], topology: Topology
) -> Mapping[str, Window]:
    """Return the windows with no reading of what an incident touched while it lasted."""
    spans: dict[object, list[tuple[float, float]]] = {}
    for incident in incidents:
        end_s = math.inf if incident.resolved_s is None else incident.resolved_s
        for place in _touched(incident, topology):
            spans.setdefault(place, []).append((_began_s(incident) - GUARD_S, end_s))
    return {name: _blanked(window, spans) for name, window in windows.items()}


def _began_s(incident: Incident) -> float:
    began = [each.start_s for each in incident.anomalies] + [e.time_s for e in incident.events]
    return min([incident.opened_s, *(moment for moment in began if math.isfinite(moment))])


def _touched(incident: Incident, topology: Topology) -> set[object]:
    """Name what an incident touches: targets, and names of the nodes and jobs they cover."""
    covered = (*incident.targets, *(Target(job=job) for job in incident.jobs))
    nodes = {node for target in covered for node in topology.nodes_in(target)}
    return {
        *incident.targets,
        *(("node", name) for name in nodes),
        *(("job", name) for name in incident.jobs),
    }


def _blanked(window: Window, spans: Mapping[object, Sequence[tuple[float, float]]]) -> Window:
    """Return the window without its rows' readings in those spans; the cluster's hold for all."""
    rows = [
        (row, span)
        for row, target in enumerate(window.targets)
        for place in (target, ("node", target.node), ("job", target.job), Target())
        for span in spans.get(place, ())
    ]
    if not rows:
        return window
    value = window.value.copy()
    for row, (start_s, end_s) in rows:
        value[row, (window.time_s >= start_s) & (window.time_s <= end_s)] = np.nan
    return Window(window.metric, window.targets, window.time_s, value)
