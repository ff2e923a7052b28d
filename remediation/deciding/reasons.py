"""Why a plan was made, in a sentence or two, and what it is expected to cost and to save."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.choice import Choice
from core.cluster import ClusterState
from core.situation import Fact, Situation
from core.types import Floats, Plan
from remediation.catalogue import CATALOG, PAGE_PERSON
from remediation.deciding.plans import KNOBS
from remediation.policies import greedy
from remediation.policies.tuned import tuned

_WEIGHTS = tuned("greedy", greedy.WEIGHTS)
_HOUR_S = 3600.0
# What nobody acts on is found by hand so late: a silent hang takes more than 5400 s (ByteRobust).
_UNATTENDED_S = 5400.0
_TOLD = 3  # other choices that a reason names


def explained(
    plan: Plan,
    choice: Choice,
    now: Situation,
    state: ClusterState,
    *,
    losses: Sequence[float] | None = None,
) -> Plan:
    """Return the plan with its reason, and what it is expected to cost and to save.

    losses: (len(Choice),) GPU-seconds that whoever chose expects each choice to lose, NaN: unknown;
        None: it did not say, and the cost model of the greedy policy does
    """
    lost = 0.0
    for action in plan.actions:
        paged = action.kind == PAGE_PERSON  # at this site's price
        lost += now.facts[Fact.PAGE_GPU_S] if paged else CATALOG[action.kind].cost(action, state)
        state = CATALOG[action.kind].project(action, state)
    return replace(
        plan,
        rationale=_reason(plan, choice, now, losses),
        lost_gpu_s_with=float(lost),
        lost_gpu_s_without=_unattended(now.facts),
    )


def _reason(plan: Plan, choice: Choice, now: Situation, own: Sequence[float] | None) -> str:
    """Say what for, what, with which prospect, and what else could have been done at what loss."""
    does = ", ".join(action.kind for action in plan.actions)
    why = ""
    if choice is Choice.TUNE:
        why = f", because {KNOBS[plan.cause.fault][1]}"
    elif choice is not Choice.CHECKPOINT:
        why = f", which ends it with probability {greedy.ends(choice, now.facts, _WEIGHTS):.2f}"
    fault, at = plan.cause.fault.replace("_", " "), plan.cause.target
    return (
        f"{fault} on {at} (probability {plan.cause.probability:.2f}): {does}{why}. "
        f"{plan.policy.capitalize()} chose to {_words(choice)}: {_against(choice, now, own)}."
    )


def _against(choice: Choice, now: Situation, own: Sequence[float] | None) -> str:
    """Say what the choice is expected to lose, and the best of the others."""
    priced = greedy.losses(now.facts, now.open, _WEIGHTS) if own is None else np.array(own)
    known = [item for item in Choice if now.open[item] and not math.isnan(priced[item])]
    others = sorted((item for item in known if item is not choice), key=lambda item: priced[item])
    told = ", ".join(f"{_words(item)} {_hours(priced[item])}" for item in others[:_TOLD])
    # Who says what each choice loses departs from its policy within only for what is surely better.
    close = own is not None and others and priced[others[0]] < priced[choice]
    doubt = "; none of them surely less, so what its simpler policy would do" if close else ""
    against = f", against {told}" if told else ""
    return f"expected to lose {_hours(priced[choice])} GPU-hours{against}{doubt}"


def _hours(gpu_s: float) -> str:
    hours = gpu_s / _HOUR_S
    return f"{hours:.1f}" if abs(hours) >= 1.0 else f"{hours:.2g}"


def _words(choice: Choice) -> str:
    return choice.name.lower().replace("_", " ")


def _unattended(facts: Floats) -> float:
    """Return what is lost until somebody finds it by hand, GPU-seconds."""
    gpus, broken = float(facts[Fact.JOB_GPUS]), 1.0 - float(facts[Fact.NO_FAULT])
    crash_s = greedy.unsaved_s(facts) + float(facts[Fact.RESTART_S]) + _UNATTENDED_S
    crash = greedy.crashes(facts, _WEIGHTS, _UNATTENDED_S) * gpus * crash_s
    return broken * (greedy.lacks(facts) * _UNATTENDED_S + crash)
