"""What would have to be seen under a fault and is not: evidence against it."""

from collections.abc import Sequence

import numpy as np

from core.faults import FaultClass
from core.types import Floats
from rca.faults.catalogue import FAULTS
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.standing import ODD_Z, Bools
from rca.words import say_target

_NOT_SEEN = -4.0  # nats
_HEAT = (
    "gpu_temperature_celsius",
    "gpu_memory_temperature_celsius",
    "node_inlet_temperature_celsius",
)
_READ = (Kind.RESIDUAL, Kind.PEERS, Kind.GROUP)
_NOT_COLD = 1.5


def mark_expected(case: Case, found: Sequence[Hypothesis]) -> None:
    """Add to a fault of cooling that nothing is hot, and to one of power that something is."""
    for item in found:
        fault = FAULTS.get(item.fault)
        if fault is None or not item.value(*_READ) > 0:
            continue
        if fault.kind is FaultClass.THERMAL:
            hot = _hottest(case, item)
            if hot is not None and hot < _NOT_COLD:
                text = f"no temperature of {say_target(item.target)} is out of the ordinary"
                item.add(Kind.EXPECTED, text, _NOT_SEEN)
        elif fault.kind is FaultClass.POWER:
            hot = _hottest(case, item)
            if hot is not None and hot > ODD_Z:
                text = f"{say_target(item.target)} is hot, which holds clocks back by itself"
                item.add(Kind.EXPECTED, text, _NOT_SEEN)


def _hottest(case: Case, item: Hypothesis) -> float | None:
    """Return the oddest temperature where the hypothesis lies; None where none is measured."""
    place = case.graph.place
    nodes = case.nodes_of(item.target)
    gpu = case.graph.gpus.index(item.target.gpu) if item.target.gpu in case.graph.gpus else -1
    odd: list[float] = []
    for name in _HEAT:
        part = case.graph.span(name)
        inside = np.isin(place.node[part], nodes)
        if gpu >= 0 and (place.gpu[part] >= 0).any():
            inside = place.gpu[part] == gpu
        value = _known(case, part, inside)
        odd += value.tolist()
    return max(odd) if odd else None


def _known(case: Case, part: slice, inside: Bools) -> Floats:
    value = case.standing.odd[part][inside]
    return np.asarray(value[np.isfinite(value)])
