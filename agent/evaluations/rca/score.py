"""When a diagnosis is right: the class, and the place that remediation would act on."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.evaluations.rca.truths import ONLY_THE_JOB, Truth, kind_of
from core.faults import FaultClass
from core.target import Target, TargetKind
from core.topology import Topology
from core.types import Cause, Diagnosis
from sim.catalogue import CLASSES
from sim.engine.words import Effect, Scope

# Two groups of nodes are one where they share half of all that are in either.
_SAME_GROUP = 0.5
TOP = 3


@dataclass(frozen=True, slots=True)
class Mark:
    """How good one diagnosis is.

    first:       its first cause is one of the truths, or "unknown" is its answer and the truth
    among_three: share of the truths among its first three
    strict:      as ``first``, but of a fault that only shows as one of its job its own place counts
    hit:         whether its first cause is one of the truths; None where it names none
    placed:      whether the first cause lies on or in what broke, whatever its class
    placed_three: share of the truths that one of the first three lies on or in
    gpu:         whether it lies on the very GPU; None where the truth is no GPU
    persistent:  whether the first cause, where right, is rightly held to last; None: not said
    probability: of the first cause
    quiet:       it says that nothing is broken
    """

    first: bool
    among_three: float
    strict: bool
    hit: bool | None
    placed: bool
    placed_three: float
    gpu: bool | None
    persistent: bool | None
    probability: float
    quiet: bool


def mark(diagnosis: Diagnosis, truths: Sequence[Truth], topology: Topology) -> Mark:
    """Return how good a diagnosis is; without truths only ``quiet`` and the probability count."""
    causes = diagnosis.causes
    first = causes[0] if causes else None
    strongest = first.probability if first else 0.0
    unnamed = diagnosis.unknown >= max(strongest, diagnosis.no_fault)
    hits = [[is_right(cause, truth, topology) for truth in truths] for cause in causes[:TOP]]
    lies = [[_lies_in(c.target, truth, topology) for truth in truths] for c in causes[:TOP]]
    right = [number for number, truth in enumerate(truths) if hits and hits[0][number]]
    said = [truth.kind is FaultClass.UNKNOWN and unnamed for truth in truths]
    told = first.persistent if first and right else None
    return Mark(
        first=bool(right) or any(said),
        among_three=_share(hits, said),
        strict=any(said) or any(_is_strictly(first, truths[number]) for number in right),
        hit=bool(right) if first else None,
        placed=bool(lies and any(lies[0])),
        placed_three=_share(lies, said),
        gpu=_on_gpu(first, truths),
        persistent=None if told is None else (told >= _SAME_GROUP) is truths[right[0]].persistent,
        probability=strongest,
        quiet=_is_quiet(diagnosis),
    )


def is_right(cause: Cause, truth: Truth, topology: Topology) -> bool:
    """Say whether a cause is of the truth's class and lies where one would act on it.

    Where a fault only shows as one of its job, that one is right too.
    """
    kind = _kind(cause)
    if truth.sim in ONLY_THE_JOB and cause.target.kind is TargetKind.JOB:
        as_job = kind is kind_of(ONLY_THE_JOB[truth.sim])
        return as_job and cause.target.job in truth.jobs
    return kind is truth.kind and lies_right(cause.target, truth, topology)


def _is_strictly(first: Cause | None, truth: Truth) -> bool:
    as_job = first is not None and first.target.kind is TargetKind.JOB
    return not (as_job and truth.sim in ONLY_THE_JOB)


def _kind(cause: Cause) -> FaultClass:
    return cause.kind if cause.kind is not FaultClass.UNKNOWN else kind_of(cause.fault)


def lies_right(target: Target, truth: Truth, topology: Topology) -> bool:
    """Say whether somebody sent to the target would act on what is broken.

    A GPU's or node's fault: its node, or its job where that one's program is at fault. A switch,
    rack or domain: a group of about the same nodes. A job's: the job. Shared storage: it, or the
    cluster. What strikes the whole cluster: the cluster, a job that it slows, or a node that has a
    new driver.
    """
    match truth.scope:
        case Scope.GPU | Scope.NODE:
            nodes = {topology.node_of(place) for place in (truth.target, *truth.others)}
            program = truth.kind is FaultClass.SOFTWARE and target.kind is TargetKind.JOB
            return topology.node_of(target) in nodes or (program and target.job in truth.jobs)
        case Scope.JOB:
            return target.kind is TargetKind.JOB and target.job == truth.target.job
        case Scope.STORAGE:
            return target.kind is TargetKind.CLUSTER or bool(target.volume and not target.node)
        case Scope.FLEET:
            wide = target.kind in (TargetKind.CLUSTER, TargetKind.JOB)
            return wide or CLASSES[truth.sim].effect == Effect.DRIVER
    group = topology.nodes if target.kind is TargetKind.CLUSTER else topology.nodes_in(target)
    either = truth.nodes.union(group)
    return len(truth.nodes.intersection(group)) > _SAME_GROUP * len(either)


def _lies_in(target: Target, truth: Truth, topology: Topology) -> bool:
    """Say whether a target is a part of what broke: all that a ranked variable can name."""
    if truth.scope is Scope.JOB:
        return target.job == truth.target.job
    if truth.sim in ONLY_THE_JOB and target.kind is TargetKind.JOB:
        return target.job in truth.jobs
    return lies_right(target, truth, topology) or topology.node_of(target) in truth.nodes


def _share(found: Sequence[Sequence[bool]], said: Sequence[bool]) -> float:
    """Return the share of truths that one of the answers found."""
    if not said:
        return 0.0
    any_of = [any(row[number] for row in found) or each for number, each in enumerate(said)]
    return sum(any_of) / len(said)


def _on_gpu(first: Cause | None, truths: Sequence[Truth]) -> bool | None:
    gpus = {truth.target.gpu for truth in truths if truth.scope is Scope.GPU}
    if not gpus:
        return None
    return first is not None and first.target.gpu in gpus


def _is_quiet(diagnosis: Diagnosis) -> bool:
    """Say whether it names nothing, or holds nothing for likelier than that nothing is broken."""
    if not diagnosis.causes:
        return True
    none = diagnosis.no_fault or diagnosis.unknown
    return none >= diagnosis.unknown and none > diagnosis.causes[0].probability
