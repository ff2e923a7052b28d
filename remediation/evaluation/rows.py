"""What a comparison comes to, as rows: each with its interval, over lives drawn again."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from core.figures import Row, at_least, at_most
from core.types import Floats
from remediation.evaluation.comparison import BEST_STATIC, Column, Comparison
from remediation.evaluation.intervals import Interval, even_ratio, gap_closed, mean, ratio
from remediation.evaluation.life import LifeResult, energy_mwh, lost_gpu_h, priced_gpu_h
from remediation.evaluation.policies import (
    HINDSIGHT,
    ORACLE,
    PRESENT,
    RUNBOOK,
    TUNED,
    TUNED_GREEDY,
)

# Named in the issue.
RATIO, GAP = 0.9, 0.5
BOOTSTRAP = "95 % bootstrap over lives within families, the same lives for all policies"
_HOUR_S, _THOUSAND = 3600.0, 1000.0
_MEANS: Sequence[tuple[str, Column, str]] = (
    ("lost_gpu_hours", lost_gpu_h, "GPU-h"),
    ("priced_loss_gpu_hours", priced_gpu_h, "GPU-h"),
    ("manual_interventions", lambda life: life.pages, "a life"),
    ("late_requests", lambda life: life.late_requests, "a life"),
    ("energy_mwh", energy_mwh, "MWh"),
)
_RATIOS: Sequence[tuple[str, Column, Column, str]] = (
    ("goodput", lambda life: life.useful_gpu_s, lambda life: life.asked_gpu_s, "ratio"),
    ("ettr", lambda life: life.productive_gpu_s, lambda life: life.asked_gpu_s, "ratio"),
    (
        "energy_kwh_per_useful_gpu_hour",
        lambda life: life.energy_j / 1000.0,
        lambda life: life.useful_gpu_s,
        "kWh",
    ),
    ("mttr_h", lambda life: life.recovering_s / _HOUR_S, lambda life: life.recovered, "h"),
)


def rows(found: Comparison, shipped: str) -> Iterator[Row]:
    """Yield the headline of one policy, then every policy's figures, then those by family."""
    yield from headline(found, shipped)
    for policy in found.policies:
        yield from of_policy(found, policy)
    for family in found.families:
        for policy in found.policies:
            yield from in_family(found, policy, family)


def headline(found: Comparison, shipped: str) -> Iterator[Row]:
    """Yield what the issue asks of the policy that acts by default."""
    note = f"of {shipped}; {BOOTSTRAP}"
    yield _over_tuned(found, shipped, "lost_gpu_hours", lost_gpu_h, note)
    yield _over_tuned(found, shipped, "priced_loss", priced_gpu_h, note)
    yield _gap_row(found, shipped, note)
    if TUNED_GREEDY in found.policies and shipped != TUNED_GREEDY:
        whole = _over(found, shipped, TUNED_GREEDY, priced_gpu_h)
        row = _row(f"priced_loss_ratio_vs_{TUNED_GREEDY}", whole, "ratio", _lives(found), note)
        yield replace(row, goal="interval below 1", ok=whole.high < 1.0)
    lives = [each for policy in found.policies for each in found.lives(policy)]
    breaches, decisions = (sum(column) for column in zip(*map(_counts, lives), strict=True))
    yield at_most(
        "guard_breaches", breaches, 0, unit="", n=decisions, note="by all policies together"
    )
    yield _drains(found, shipped, "", note)
    yield from _worst_family(found, shipped, note)


def of_policy(found: Comparison, policy: str) -> Iterator[Row]:
    """Yield what a policy comes to over all families."""
    label, count, lives = f'{{policy="{policy}"}}', _lives(found), found.lives(policy)
    note = f"in hindsight: {_rules(found)}" if policy == BEST_STATIC else ""
    for name, what, unit in _MEANS:
        yield _row(name + label, mean(found.column(policy, what)), unit, count, note)
    for name, above, below, unit in _RATIOS:
        whole = ratio(found.column(policy, above), found.column(policy, below))
        yield _row(name + label, whole, unit, count)
    yield _drains(found, policy, label, "")
    breaches, decisions = (sum(column) for column in zip(*map(_counts, lives), strict=True))
    yield _times(found, policy, label)
    yield at_most("guard_breaches" + label, breaches, 0, unit="", n=decisions)
    yield Row("capped_lives" + label, sum(each.capped for each in lives), "", n=count)
    yield from _against(found, policy, label)
    yield from _by_cause(found, policy)


def in_family(found: Comparison, policy: str, family: str) -> Iterator[Row]:
    """Yield a policy's losses in one family, and over the two runbooks'."""
    label, count = f'{{policy="{policy}",family="{family}"}}', len(found.of[policy][family])
    note = found.static.get(family, "") if policy == BEST_STATIC else ""
    for name, what, unit in _MEANS[:2]:
        yield _row(name + label, mean(_one(found, policy, family, what)), unit, count, note)
    for rule in _rules_beside(found, policy):
        whole = _family_ratio(found, policy, rule, family)
        yield _row(f"priced_loss_ratio_vs_{rule}{label}", whole, "ratio", count)


def best_honest(found: Comparison) -> str:
    """Return the policy of least priced loss among those that can be had in life.

    The runbooks stand aside where there is another: it is against them that it is shown.
    """
    honest = [name for name in found.policies if name not in HINDSIGHT]
    others = [name for name in honest if name not in (RUNBOOK, TUNED)] or honest
    return min(others, key=lambda name: sum(map(priced_gpu_h, found.lives(name))))


def _over_tuned(found: Comparison, policy: str, name: str, what: Column, note: str) -> Row:
    metric, count = f"{name}_ratio_vs_{TUNED}", _lives(found)
    if TUNED not in _rules_beside(found, policy):
        return Row(metric, None, "ratio", n=count, note=f"{note}; not held against {TUNED}")
    whole = _over(found, policy, TUNED, what)
    row = at_most(metric, whole.value, RATIO, unit="ratio")
    good = bool(row.ok and whole.high < 1.0)
    shown = _row(metric, whole, "ratio", count, note)
    return replace(shown, goal=f"{row.goal}, interval below 1", ok=good)


def _gap_row(found: Comparison, policy: str, note: str) -> Row:
    metric, count = "gap_closed_to_oracle", _lives(found)
    if not _has_gap(found, policy):
        said = f"{note}; not held against {TUNED} and {ORACLE}"
        return Row(metric, None, "ratio", n=count, note=said)
    whole = _gap(found, policy)
    row = at_least(metric, whole.value, GAP, unit="ratio")
    said = f"of priced loss; 0: the tuned runbook's, 1: the oracle's; {note}"
    return replace(_row(metric, whole, "ratio", count, said), goal=row.goal, ok=row.ok)


def _against(found: Comparison, policy: str, label: str) -> Iterator[Row]:
    count = _lives(found)
    for rule in _rules_beside(found, policy):
        for name, what in (("lost_gpu_hours", lost_gpu_h), ("priced_loss", priced_gpu_h)):
            whole = _over(found, policy, rule, what)
            yield _row(f"{name}_ratio_vs_{rule}{label}", whole, "ratio", count)
        even = even_ratio(found.column(policy, priced_gpu_h), found.column(rule, priced_gpu_h))
        note = "geometric mean over families, so that large clusters count no more"
        yield _row(f"priced_loss_even_ratio_vs_{rule}{label}", even, "ratio", count, note)
    if _has_gap(found, policy) and policy != ORACLE:
        yield _row("gap_closed_to_oracle" + label, _gap(found, policy), "ratio", count)
    if PRESENT in found.policies and TUNED in found.policies and policy not in (TUNED, *HINDSIGHT):
        whole = _gap(found, policy, to=PRESENT)
        yield _row("gap_closed_to_present" + label, whole, "ratio", count)


def _worst_family(found: Comparison, shipped: str, note: str) -> Iterator[Row]:
    """Yield the shipped policy's worst family beside each runbook: it must be worse in none."""
    for rule in _rules_beside(found, shipped, (TUNED, RUNBOOK)):
        of = {family: _family_ratio(found, shipped, rule, family) for family in found.families}
        worst = max(of, key=lambda family: of[family].value)
        count, said = len(found.of[shipped][worst]), f"priced loss, in {worst}; {note}"
        row = _row(f"worst_family_ratio_vs_{rule}", of[worst], "ratio", count, said)
        good = all(not each.low > 1.0 for each in of.values())
        yield replace(row, goal="no family's interval above 1", ok=good)


def _by_cause(found: Comparison, policy: str) -> Iterator[Row]:
    """Yield where the lost GPU-hours of a life went, in the mean."""
    lives = found.lives(policy)
    totals: dict[str, float] = {}
    for each in lives:
        for cause, gpu_s in each.losses_gpu_s:
            totals[cause] = totals.get(cause, 0.0) + gpu_s
    for cause, gpu_s in totals.items():
        label = f'{{policy="{policy}",cause="{cause}"}}'
        yield Row("lost_gpu_hours" + label, gpu_s / _HOUR_S / len(lives), "GPU-h", n=len(lives))


def _times(found: Comparison, policy: str, label: str) -> Row:
    """Return a decision's time: the median life's, for the first one loads compiled code."""
    each_us = [1e6 * life.decision_s / max(life.decisions, 1) for life in found.lives(policy)]
    low, middle, high = (float(part) for part in np.quantile(each_us, [0.05, 0.5, 0.95]))
    note = "median and 90 % of the lives' means, by the clock, other lives beside it"
    return Row("decision_us" + label, middle, "us", low, high, len(each_us), note=note)


def _drains(found: Comparison, policy: str, label: str, note: str) -> Row:
    wrong = found.column(policy, lambda life: _THOUSAND * life.wrong_drains)
    whole = ratio(wrong, found.column(policy, lambda life: life.node_days))
    return _row(f"wrong_drains_per_1000_node_days{label}", whole, "", _lives(found), note)


def _family_ratio(found: Comparison, policy: str, rule: str, family: str) -> Interval:
    own = _one(found, policy, family, priced_gpu_h)
    return ratio(own, _one(found, rule, family, priced_gpu_h))


def _has_gap(found: Comparison, policy: str) -> bool:
    return {TUNED, ORACLE} <= set(found.policies) and policy != TUNED


def _gap(found: Comparison, policy: str, to: str = ORACLE) -> Interval:
    own, rule, best = (found.column(name, priced_gpu_h) for name in (policy, TUNED, to))
    return gap_closed(own, rule, best)


def _over(found: Comparison, policy: str, rule: str, what: Column) -> Interval:
    return ratio(found.column(policy, what), found.column(rule, what))


def _rules_beside(
    found: Comparison, policy: str, rules: Sequence[str] = (TUNED, RUNBOOK, TUNED_GREEDY)
) -> list[str]:
    return [rule for rule in rules if rule in found.policies and rule != policy]


def _one(found: Comparison, policy: str, family: str, what: Column) -> dict[str, Floats]:
    return {family: found.column(policy, what)[family]}


def _counts(life: LifeResult) -> tuple[int, int]:
    return len(life.breaches), life.decisions


def _rules(found: Comparison) -> str:
    return ", ".join(f"{rule} in {family}" for family, rule in found.static.items())


def _lives(found: Comparison) -> int:
    return sum(len(lives) for lives in next(iter(found.of.values())).values())


def _row(metric: str, whole: Interval, unit: str, count: int, note: str = "") -> Row:
    """Return a figure without a goal; None for what cannot be told."""
    value, low, high = (each if math.isfinite(each) else None for each in whole)
    return Row(metric, value, unit, low, high, count, note=note)
