"""All that is known of one incident at the moment of its diagnosis, as arrays over one graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from core.cluster import ClusterState
from core.target import Target, TargetKind
from core.types import Evidence, Floats, Incident, Ints, Window
from core.units import CATALOG
from rca.graph.causal_graph import CausalGraph, build_graph
from rca.graph.traverse import NOWHERE_NEAR, reach
from rca.mechanism import fit_mechanisms, residual
from rca.posterior.standing import ODD_Z, Bools, Spans, Standing, stand

LOCATED = 0.5  # reach of something in the right place with no measured path to the symptom


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One incident with its graph.

    left:     (V,) residual given causes, signed so that above 0 is bad
    reach:    (V,) share of the symptom a variable could have caused
    symptoms: variables the incident itself points at
    near:     (nodes,) whether the incident or one of its jobs touches a node
    """

    incident: Incident
    windows: Mapping[str, Window]
    graph: CausalGraph
    spans: Spans
    standing: Standing
    left: Floats
    reach: Floats
    symptoms: Ints
    near: Bools

    def reach_of(self, target: Target, variables: Ints) -> float:
        """Return how well a candidate reaches the symptoms: by path, or else by its place."""
        if target in self.incident.targets:
            return 1.0
        path = float(self.reach[variables].max()) if len(variables) else 0.0
        return max(path, LOCATED if self._is_near(target) else NOWHERE_NEAR)

    def _is_near(self, target: Target) -> bool:
        if target.job in self.incident.jobs:
            return True
        node = target.node
        return bool(node) and node in self.graph.nodes and self.near[self.graph.nodes.index(node)]


@dataclass(slots=True)
class Candidate:
    """A fault on a target and what speaks for and against it; grows while the case is read."""

    target: Target
    fault: str
    variables: Ints
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Return the sum of the evidence, in nats."""
        return sum(item.weight for item in self.evidence)

    def add(self, text: str, weight: float) -> None:
        """Note one observation."""
        self.evidence.append(Evidence(text, float(weight)))


def open_case(
    incident: Incident,
    windows: Mapping[str, Window],
    state: ClusterState | None,
    *,
    spans: Spans,
) -> Case:
    """Read the windows on the incident's graph; metrics outside the catalogue are left out."""
    known = {name: w for name, w in windows.items() if _usable(name, w)}
    topology = state.topology if state is not None else None
    graph = build_graph({name: window.targets for name, window in known.items()}, topology)
    standing = stand(graph, known, spans)
    left = residual(graph, standing, fit_mechanisms(graph, known, spans))
    symptoms = _symptoms(graph, standing, incident)
    return Case(
        incident=incident,
        windows=known,
        graph=graph,
        spans=spans,
        standing=standing,
        left=left,
        reach=reach(graph, standing, symptoms),
        symptoms=symptoms,
        near=_near(graph, incident),
    )


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
