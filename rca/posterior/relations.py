"""Which hypothesis follows from which: what a plainer cause above it explains counts less."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from core.target import Target, TargetKind
from core.units import CATALOG
from rca.faults.catalogue import FAULTS, NO_FAULTS
from rca.graph.templates import Template
from rca.posterior.case import Case
from rca.posterior.hypothesis import Hypothesis, Kind
from rca.posterior.standing import ODD_Z
from rca.words import say_target

_FOLLOWS = -4.0  # nats
_PLAIN = 3.0  # nats of its own from which a cause is as likely there as not
_ORDER_S = 120.0  # an onset is two readings in a row, and these may be a minute apart
_OWN = (
    Kind.RESIDUAL,
    Kind.PEERS,
    Kind.GROUP,
    Kind.EVENT,
    Kind.SILENCE,
    Kind.DETECTOR,
    Kind.AFTERMATH,
    Kind.CONTEXT,
)
# What a synchronous job does, all of its ranks do: they wait for the slowest of them.
_WAITS = frozenset({"rank_collective_time_s", "rank_data_wait_s"})


def mark_explained(case: Case, found: Sequence[Hypothesis]) -> None:
    """Add to every hypothesis how much of it follows from the plainest cause above it."""
    places = [_Place(case, item) for item in found]
    sure = [_sureness(item) for item in found]
    bonus: list[tuple[Hypothesis, int, float]] = []
    carries: dict[tuple[Target, str], float] = {}
    what: dict[tuple[Target, str], Hypothesis] = {}
    for number, item in enumerate(found):
        if item.fault in NO_FAULTS:
            continue
        for other, cause in enumerate(found):
            if other == number or cause.fault in NO_FAULTS or sure[other] < _LEAST:
                continue
            share = sure[other] * _covers(places[other], places[number])
            if share > _LEAST and not _later(cause, item):
                bonus.append((cause, number, share))
    for cause, effect, share in bonus:
        carried = max(0.0, found[effect].value(*_OWN)) * share
        if carried > carries.get(cause.key, 0.0):
            carries[cause.key] = carried
            what[cause.key] = found[effect]
    for number, (cause, share) in _plainest(bonus).items():
        found[number].add(
            Kind.EXPLAINED,
            f"it would follow from {cause.fault} on {say_target(cause.target)}",
            _FOLLOWS * share,
        )
    for item in found:
        if item.key in carries:
            effect_of = what[item.key]
            text = f"explains {effect_of.fault} on {say_target(effect_of.target)} too"
            item.add(Kind.EXPLAINED, text, carries[item.key])


_LEAST = 0.05


def _plainest(
    bonus: Sequence[tuple[Hypothesis, int, float]],
) -> Mapping[int, tuple[Hypothesis, float]]:
    """Return for each effect what explains most of it."""
    best: dict[int, tuple[Hypothesis, float]] = {}
    for cause, effect, share in bonus:
        if effect not in best or share > best[effect][1]:
            best[effect] = (cause, share)
    return best


def _sureness(item: Hypothesis) -> float:
    return float(1 / (1 + np.exp(_PLAIN - item.value(*_OWN))))


def _later(cause: Hypothesis, effect: Hypothesis) -> bool:
    return bool(cause.began_s > effect.began_s + _ORDER_S)


class _Place:
    """Where a hypothesis sits and which readings it is made of."""

    def __init__(self, case: Case, item: Hypothesis) -> None:
        known = FAULTS.get(item.fault)
        odd = np.nan_to_num(case.left[item.variables]) > ODD_Z
        accused = item.variables[odd] if item.value(Kind.RESIDUAL) > 0 else item.variables[:0]
        self.fault = item.fault
        self.own = item.value(*_OWN)
        self.said = [(note.of, note.value) for note in item.notes if note.kind in _ENDS_JOBS]
        self.words = dict(self.said)
        self.metrics = {case.graph.metrics[m] for m in case.graph.metric[accused].tolist()}
        named = set(known.metrics) if known else set()
        self.effects = _below(case.knowledge.links, frozenset(self.metrics | named))
        self.nodes = set(case.nodes_of(item.target).tolist())
        self.jobs = set(case.jobs_on(item.target).tolist())
        self.gpus = {item.target.gpu} if item.target.gpu else set()
        self.own_job = item.target.kind is TargetKind.JOB
        self.said_only = not self.metrics

    def apart(self, other: "_Place") -> float:
        """Return what was said of it beyond what the same words say of the other."""
        return sum(value - other.words.get(said, 0.0) for said, value in self.said)


def _covers(cause: _Place, effect: _Place) -> float:
    """Return the share of the effect's readings, or of what was said, that the cause explains."""
    if cause.fault in _BRINGS.get(effect.fault, ()):
        apart = cause.own if effect.fault in _SILENT else cause.apart(effect)
        return _likely(apart) if _same_place(cause, effect) else 0.0
    if effect.said_only:
        program = effect.own_job and not cause.own_job and bool(cause.jobs & effect.jobs)
        # Only what was said, or fell silent, ends a job; a reading a little off slows it.
        return _likely(cause.apart(effect)) if program and effect.fault in _ENDED else 0.0
    if not cause.metrics - effect.metrics and cause.metrics:
        return 0.0  # they read the same: rivals, and neither is above the other
    reached = [
        name
        for name in effect.metrics
        if name in cause.effects and name not in cause.metrics and _touch(cause, effect, name)
    ]
    return len(reached) / len(effect.metrics)


_ENDS_JOBS = frozenset({Kind.EVENT, Kind.CONTEXT, Kind.SILENCE})
_ENDED = frozenset({"software_error", "job_hang"})
_SILENT = frozenset({"node_silent"})
# What is said of both when the first of them is there: which brings which.
_BRINGS = {
    "node_silent": ("kernel_panic", "host_machine_check", "power_lost", "node_taken_down"),
    "gpu_row_remap": ("gpu_ecc_uncorrectable",),
    "inference_overload": ("bad_release",),
}


def _likely(apart: float) -> float:
    return float(1 / (1 + np.exp(_PLAIN - apart)))


def _same_place(cause: "_Place", effect: "_Place") -> bool:
    if cause.own_job or effect.own_job:
        return cause.own_job and effect.own_job and cause.jobs == effect.jobs
    inside = bool(effect.nodes) and effect.nodes <= cause.nodes
    return inside and (not cause.gpus or cause.gpus == effect.gpus)


def _touch(cause: _Place, effect: _Place, metric: str) -> bool:
    scope = CATALOG[metric].scope
    if metric in _WAITS or scope is TargetKind.JOB:
        return bool(cause.jobs & effect.jobs)
    # What is smaller does not move what is larger: a hot GPU is not why its rack is warm.
    if not effect.nodes or not effect.nodes <= cause.nodes:
        return False
    return not cause.gpus or cause.gpus == effect.gpus


@lru_cache(maxsize=512)
def _below(links: tuple[Template, ...], metrics: frozenset[str]) -> frozenset[str]:
    """Return the metrics that these move, directly or not."""
    waiting, found = list(metrics), set[str]()
    by_cause = _effects(links)
    while waiting:
        for effect in by_cause.get(waiting.pop(), ()):
            if effect not in found:
                found.add(effect)
                waiting.append(effect)
    return frozenset(found)


@lru_cache(maxsize=8)
def _effects(links: tuple[Template, ...]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for link in links:
        if not link.feedback:
            found.setdefault(link.cause, []).append(link.effect)
    return {cause: tuple(effects) for cause, effects in found.items()}


def stands_alone(case: Case, item: Hypothesis, best: Hypothesis) -> bool:
    """Say whether a hypothesis lies elsewhere than the best one, on machines of its own."""
    if item.target.kind in _WIDE or best.target.kind in _WIDE:
        return False
    mine, its = set(case.nodes_of(item.target).tolist()), set(case.nodes_of(best.target).tolist())
    return bool(mine) and not mine & its


_WIDE = frozenset({TargetKind.JOB, TargetKind.RANK, TargetKind.CLUSTER})
