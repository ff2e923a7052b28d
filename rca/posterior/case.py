"""All that is known of one incident at the moment of its diagnosis, as arrays over one graph."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.cluster import ClusterState
from core.target import Target, TargetKind
from core.types import Event, Floats, Incident, Ints, Window
from core.units import CATALOG
from rca.graph.causal_graph import CausalGraph, build_graph
from rca.graph.mechanisms import Mechanisms, fit_mechanisms, residual
from rca.graph.traverse import NOWHERE_NEAR, reach
from rca.knowledge import DEFAULT, Knowledge
from rca.posterior.standing import ODD_Z, Bools, Spans, Standing, stand

LOCATED = 0.5  # reach of something in the right place with no measured path to the symptom


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One incident with its graph.

    told:     what was said around it and is no symptom: planned work, a new driver
    left:     (V,) residual given causes, signed so that above 0 is bad
    reach:    (V,) share of the symptom a variable could have caused
    symptoms: variables the incident itself points at
    mechanisms: what the graph's links bring in normal times
    near:     (nodes,) whether the incident or one of its jobs touches a node
    """

    incident: Incident
    told: tuple[Event, ...]
    windows: Mapping[str, Window]
    state: ClusterState | None
    knowledge: Knowledge
    graph: CausalGraph
    spans: Spans
    standing: Standing
    mechanisms: Mechanisms
    left: Floats
    reach: Floats
    symptoms: Ints
    near: Bools

    def reach_of(self, target: Target, variables: Ints) -> float:
        """Return how well a candidate reaches the symptoms: by path, or else by its place."""
        if target in self.incident.targets:
            return 1.0
        path = float(self.reach[variables].max()) if len(variables) else 0.0
        nodes = self.nodes_of(target)
        located = target.job in self.incident.jobs or (len(nodes) > 0 and self.near[nodes].any())
        return max(path, LOCATED if located else NOWHERE_NEAR)

    def shows(self, target: Target, variables: Ints) -> bool:
        """Say whether the incident itself points at a candidate: as a target, or by a symptom."""
        return target in self.incident.targets or bool(np.isin(variables, self.symptoms).any())

    def nodes_of(self, target: Target) -> Ints:
        """Return the nodes that a target lies on; all for the cluster and what all share."""
        graph = self.graph
        if target.node:
            return _positions(graph.nodes, target.node)
        if target.gpu:
            known = _positions(graph.gpus, target.gpu)
            return np.unique(graph.place.node[np.isin(graph.place.gpu, known)])
        if target.job:
            job = _positions(graph.jobs, target.job)
            return np.unique(graph.node_job[np.isin(graph.node_job[:, 1], job), 0])
        if target.rack:
            return np.flatnonzero(np.isin(graph.rack, _positions(graph.racks, target.rack)))
        if target.switch:
            return np.flatnonzero(np.isin(graph.switch, _positions(graph.switches, target.switch)))
        return np.arange(len(graph.nodes))

    def jobs_on(self, target: Target) -> Ints:
        """Return the jobs that run, or ran, on what the target lies on."""
        if target.job:
            return _positions(self.graph.jobs, target.job)
        pairs = self.graph.node_job
        return np.unique(pairs[np.isin(pairs[:, 0], self.nodes_of(target)), 1])


def _positions(names: tuple[str, ...], name: str) -> Ints:
    found = [names.index(name)] if name in names else []
    return np.array(found, dtype=np.int64)


def open_case(
    incident: Incident,
    windows: Mapping[str, Window],
    state: ClusterState | None,
    *,
    spans: Spans,
    knowledge: Knowledge = DEFAULT,
    told: tuple[Event, ...] = (),
) -> Case:
    """Read the windows on the incident's graph; metrics outside the catalogue are left out."""
    known = usable(windows)
    topology = state.topology if state is not None else None
    series = {name: window.targets for name, window in known.items()}
    graph = build_graph(series, topology, knowledge.links)
    standing = stand(graph, known, spans)
    ready = knowledge.mechanisms
    if ready is None or not ready.cover(graph):
        ready = fit_mechanisms(graph, known, spans)
    left = residual(graph, standing, ready)
    symptoms = _symptoms(graph, standing, incident)
    return Case(
        incident=incident,
        told=told,
        windows=known,
        state=state,
        knowledge=knowledge,
        graph=graph,
        spans=spans,
        standing=standing,
        mechanisms=ready,
        left=left,
        reach=reach(graph, standing, symptoms),
        symptoms=symptoms,
        near=_near(graph, incident),
    )


def usable(windows: Mapping[str, Window]) -> Mapping[str, Window]:
    """Return the windows of the catalogue's metrics that hold together."""
    return {name: window for name, window in windows.items() if _usable(name, window)}


def _usable(name: str, window: Window) -> bool:
    return (
        name in CATALOG
        and window.metric == name
        and window.value.shape == (len(window.targets), len(window.time_s))
        and len(window.targets) > 0
        and len(window.time_s) > 1
        and bool((np.diff(window.time_s) > 0).all())
    )


def _symptoms(graph: CausalGraph, standing: Standing, incident: Incident) -> Ints:
    """Return the variables that the incident's anomalies and breaches name, or lie on its targets.

    With jobs touched, their own readings are the symptom that matters most; where those are out of
    order they count too.
    """
    named = {(item.target, item.metric) for item in incident.anomalies}
    named |= {(item.target, item.metric) for item in incident.breaches}
    places = {target for target, _ in named} | set(incident.targets)
    places |= {Target(job=job) for job in incident.jobs}
    found = []
    for target in places:
        for variable in graph.variables_of(target).tolist():
            metric = graph.metrics[int(graph.metric[variable])]
            if (target, metric) in named or standing.odd[variable] > ODD_Z:
                found.append(variable)
    return np.array(sorted(found), dtype=np.int64)


def _near(graph: CausalGraph, incident: Incident) -> Bools:
    number = {name: index for index, name in enumerate(graph.nodes)}
    near = np.zeros(len(graph.nodes), dtype=bool)
    for target in incident.targets:
        if target.node in number:
            near[number[target.node]] = True
        elif target.kind in (TargetKind.RACK, TargetKind.SWITCH, TargetKind.CLUSTER):
            near[:] = True
    job_number = {name: index for index, name in enumerate(graph.jobs)}
    touched = [job_number[job] for job in incident.jobs if job in job_number]
    near[graph.node_job[np.isin(graph.node_job[:, 1], touched), 0]] = True
    return near
