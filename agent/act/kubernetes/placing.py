"""Say in a job's pod template where its next pods are wanted: nodes to prefer, nodes to stay off.

Preferring never keeps a pod from running, as a list of allowed nodes would once one of them is
gone. What the template's owner wrote stays: what we add is known again by what was noted of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.act.kubernetes.marks import Placed
from agent.act.kubernetes.records import HOSTNAME

WEIGHT = 100  # the most there is
_TERM, _TERMS = "preferredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
_MUST = "requiredDuringSchedulingIgnoredDuringExecution"


def node_affinity(now: Mapping[str, Any], before: Placed, wanted: Placed) -> dict[str, Any]:
    """Return a template's node affinity with our wishes in place of those from before.

    The names are those of ``kubernetes.io/hostname``. Both parts are there, None where empty, so
    that it can be merged into what is there.
    """
    preferred = [each for each in now.get(_TERM) or () if each not in _preferred(before.prefer)]
    preferred += _preferred(wanted.prefer)
    terms = _without((now.get(_MUST) or {}).get(_TERMS) or (), before.avoid)
    if wanted.avoid:
        rule = _rule("NotIn", wanted.avoid)
        # Terms are alternatives, so each must have it.
        terms = [
            {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), rule]}
            for term in terms or [{}]
        ]
    return {_TERM: preferred or None, _MUST: {_TERMS: terms} if terms else None}


def _without(terms: Sequence[Mapping[str, Any]], avoid: Sequence[str]) -> list[dict[str, Any]]:
    """Return the terms less our rule; a term that was nothing else goes."""
    rule = _rule("NotIn", avoid)
    left = []
    for term in terms:
        rules = [each for each in term.get("matchExpressions") or () if each != rule]
        kept = {name: value for name, value in term.items() if name != "matchExpressions"}
        kept |= {"matchExpressions": rules} if rules else {}
        if kept:
            left.append(kept)
    return left


def _preferred(names: Sequence[str]) -> list[dict[str, Any]]:
    preference = {"matchExpressions": [_rule("In", names)]}
    return [{"weight": WEIGHT, "preference": preference}] if names else []


def _rule(operator: str, names: Sequence[str]) -> dict[str, Any]:
    return {"key": HOSTNAME, "operator": operator, "values": list(names)}
