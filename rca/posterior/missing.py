"""What is not measured and could overturn an answer: blind spots above it, and dead sources."""

import numpy as np

from rca.graph.templates import Template
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.silence import silent_nodes, source_is_down
from rca.posterior.standing import ODD_Z

_MOST = 8


def missing_of(case: Case, best: Hypothesis | None) -> tuple[str, ...]:
    """Return the readings that could overturn the best hypothesis and are not there.

    These are the causes of its readings that nobody measures, up to the first that somebody does.
    """
    notes = []
    if source_is_down(case, silent_nodes(case)):
        notes.append("readings of most nodes stopped at once: is their source down?")
    if best is not None:
        notes += [f"{name} (nobody measures it)" for name in unmeasured_causes(case, best)]
    return tuple(notes[:_MOST])


def unmeasured_causes(case: Case, item: Hypothesis) -> list[str]:
    """Return the metrics above the hypothesis' own that have no readings, nearest first."""
    if not item.value(Kind.RESIDUAL) > 0:
        return []
    accused = item.variables[np.nan_to_num(case.left[item.variables]) > ODD_Z]
    waiting = [case.graph.metrics[m] for m in np.unique(case.graph.metric[accused])]
    found: list[str] = []
    while waiting:
        name = waiting.pop(0)
        for cause in sorted({link.cause for link in _above(case.knowledge.links, name)}):
            part = case.graph.span(cause)
            if cause not in found and not np.isfinite(case.standing.level[part]).any():
                found.append(cause)
                waiting.append(cause)
    return found


def _above(links: tuple[Template, ...], name: str) -> list[Template]:
    return [link for link in links if link.effect == name and not link.feedback]
