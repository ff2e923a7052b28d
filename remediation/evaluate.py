"""Policies against each other on the same unseen clusters, with intervals, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core import choice as menu
from core.cluster import ClusterState
from core.figures import Row
from core.types import Diagnosis, Floats, Incident
from remediation.catalogue import first_obstacle
from remediation.choices import Choice, candidates, plan_of
from remediation.episode import Episode, EpisodeSettings
from remediation.policy import Decision, Past, Policy

# Training draws its seeds below 2**31, so none of these is ever trained on.
HELD_OUT = 3_000_000_000
_RESAMPLES = 2000
# Clusters that training, at the default settings, does not draw.
FAMILIES: Mapping[str, EpisodeSettings] = {
    "as trained": EpisodeSettings(),
    "16 nodes": EpisodeSettings(nodes=16, spares=2, faults=5.0),
    "one spare": EpisodeSettings(spares=1),
    "doubtful diagnoses": EpisodeSettings(blame=0.6),
    "other faults": EpisodeSettings(
        mix=(("gpu_hang", 0.3), ("gpu_ecc_uncorrectable", 0.3), ("cooling_degraded", 0.4))
    ),
}


class NoPolicy:
    """Does nothing: what everything is measured against."""

    name = "none"
    version = "1"

    def decide(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
        past: Past,
    ) -> Decision:
        """Return waiting."""
        return Decision(menu.Choice.WAIT, None)


class StaticPolicy:
    """Always takes the first of its choices that can be carried out: a rule without a diagnosis.

    A learned policy that does not beat the best of these has learned nothing worth its weights.
    """

    version = "1"

    def __init__(self, *choices: Choice) -> None:
        self.name = "always_" + "_or_".join(choice.name.lower() for choice in choices)
        self._choices = choices

    def decide(
        self,
        incident: Incident,
        diagnosis: Diagnosis,
        state: ClusterState,
        *,
        now_s: float,
        plan_id: str,
        past: Past,
    ) -> Decision:
        """Return the first choice's plan; none where none can be carried out."""
        offered = candidates(incident, diagnosis, state, plan_id=plan_id)
        choice = next((one for one in self._choices if one in offered), Choice.WAIT)
        plan = plan_of(
            choice,
            offered[choice],
            incident=incident,
            diagnosis=diagnosis,
            state=state,
            now_s=now_s,
            plan_id=plan_id,
            policy=(self.name, self.version),
        )
        return Decision(menu.Choice[choice.name], plan)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Lost hours of all asked GPUs: one row a policy, one column a seed, the same for all."""

    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    lost_hours: Floats
    decisions: Floats

    def of(self, policy: str) -> Floats:
        """Return (seeds,) what the policy lost."""
        return np.asarray(self.lost_hours[self.policies.index(policy)])


def lost_by(policy: Policy, settings: EpisodeSettings, *, seed: int) -> tuple[float, int]:
    """Run one episode under a policy; return the hours lost and the number of decisions.

    A plan that cannot be carried out from end to end is not begun, as the guards would have it.
    """
    episode, decisions = Episode.drawn(settings, seed=seed), 0
    while (now := episode.next_decision()) is not None:
        plan = policy.decide(
            now.incident,
            now.diagnosis,
            now.state,
            now_s=now.now_s,
            plan_id=now.plan_id,
            past=Past(),
        ).plan
        possible = plan is not None and first_obstacle(plan.actions, now.state) is None
        episode.act(plan.actions if plan is not None and possible else ())
        decisions += 1
    return episode.lost_hours, decisions


def compare(
    policies: Sequence[Policy],
    settings: EpisodeSettings,
    *,
    seeds: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Run every policy on every seed: the same cluster, faults, delays and blames for each."""
    results = np.zeros((2, len(policies), len(seeds)))
    for column, seed in enumerate(seeds):
        for row, policy in enumerate(policies):
            results[:, row, column] = lost_by(policy, settings, seed=seed)
        if progress is not None:
            progress(column + 1, len(seeds))
    names = tuple(policy.name for policy in policies)
    return Comparison(names, tuple(seeds), results[0], results[1])


def held_out_seeds(count: int) -> tuple[int, ...]:
    """Return seeds that no training ever draws."""
    return tuple(range(HELD_OUT, HELD_OUT + count))


def bootstrap(value: Floats, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval by the percentile bootstrap over ``value`` (n,)."""
    random = np.random.default_rng(seed)
    drawn = value[random.integers(len(value), size=(_RESAMPLES, len(value)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(value.mean()), float(low), float(high)


def rows(
    comparison: Comparison, *, candidate: str = "learned", family: str = ""
) -> tuple[Row, ...]:
    """Return the figures: what each policy loses, then the candidate against each other one.

    family: which clusters these are; it stands before each figure's name.
    ``ok`` says whether the candidate may stand in for the other: its loss is smaller, and the
    whole interval of the paired difference is below 0.
    """
    found = []
    for policy in comparison.policies:
        value, low, high = bootstrap(comparison.of(policy))
        found.append(
            Row(
                f"lost hours: {_words(policy)}",
                value,
                "h",
                low,
                high,
                len(comparison.seeds),
                note=_NOTE,
            )
        )
    others = [policy for policy in comparison.policies if policy != candidate]
    if candidate in comparison.policies:
        found += [_against(comparison, candidate, other) for other in others]
    if family:
        found = [replace(row, metric=f"{family}: {row.metric}") for row in found]
    return tuple(found)


_NOTE = "hours of all asked GPUs an episode; 95 % bootstrap over seeds"


def _against(comparison: Comparison, policy: str, other: str) -> Row:
    difference = comparison.of(policy) - comparison.of(other)
    value, low, high = bootstrap(difference)
    better = high < 0
    verdict = "beats" if better else "does not beat"
    return Row(
        metric=f"lost hours: {_words(policy)} - {_words(other)}",
        value=value,
        unit="h",
        low=low,
        high=high,
        n=len(comparison.seeds),
        goal="< 0, all of it",
        ok=better,
        note=f"{policy} {verdict} {other}; paired, 95 % bootstrap",
    )


def chosen(comparison: Comparison, policies: Mapping[str, Policy], *, default: str) -> Policy:
    """Return the policy to run: the best that beats every other one with its whole interval.

    policies: those that may run; the others of the comparison, the default among them, are held
    against them all the same: who does not beat a rule without a diagnosis is not chosen
    """
    better = {
        policy: comparison.of(policy).mean()
        for policy in comparison.policies
        if policy in policies
        and policy != default
        and all(
            _against(comparison, policy, other).ok
            for other in comparison.policies
            if other != policy and (other == default or other not in policies)
        )
    }
    return policies[min(better, key=lambda name: better[name], default=default)]


def _words(policy: str) -> str:
    return policy.replace("_", " ")
