"""What an API server says of nodes, pods and jobs, down to what is used of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lightkube.models.core_v1 import Container, ContainerStatus
from lightkube.models.meta_v1 import ManagedFieldsEntry, OwnerReference
from lightkube.resources.core_v1 import Node, Pod

from agent.act.kubernetes.declared import Declared, declared
from agent.act.kubernetes.kinds import INDEX_LABELS, ROLE_LABEL, ROLE_OF_MPI, JobKind, at
from agent.act.kubernetes.marks import DECLARED, Marks, marks_in

SOMEBODY = "somebody"
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
DRIVERS = ("nvidia.com/cuda.driver-version.full", "nvidia.com/cuda.driver.major")
# A pod that ended with an error, or whose container cannot be had, makes no step.
STUCK = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)


@dataclass(frozen=True, slots=True)
class Taint:
    """What keeps pods off a node that do not tolerate it."""

    key: str
    effect: str


@dataclass(frozen=True, slots=True)
class KubeNode:
    """A node.

    ready: its kubelet is heard of and says so; ready_s: since when this is so or not
    closed: no new pods (``spec.unschedulable``); closed_by, closed_s: who last wrote that, and when
    gpus: that it has; host: its name as pods choose it; labels: those that are used
    """

    name: str
    uid: str
    ready: bool
    ready_s: float
    closed: bool
    closed_by: str
    closed_s: float
    taints: tuple[Taint, ...]
    gpus: int
    host: str
    zone: str
    driver: str
    group: str
    marks: Marks


@dataclass(frozen=True, slots=True)
class KubePod:
    """A pod.

    phase: Pending, Running, Succeeded, Failed or Unknown
    stuck: why a container of it does not come up; no_place: why it got no node; "" where it does
    owner: uid of what would put another in its place; role, index: its place in a job, -1: not said
    begun_s: when its youngest container began, 0: not yet
    """

    name: str
    namespace: str
    uid: str
    node: str
    phase: str
    leaving: bool
    stuck: str
    no_place: str
    owner: str
    owner_kind: str
    owner_name: str
    role: str
    index: int
    gpus: int
    priority: int
    restarts: int
    address: str
    created_s: float
    begun_s: float

    @property
    def over(self) -> bool:
        """Say whether it has ended by itself."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Role:
    """Pods of a job that are alike; ``name`` in small letters, as pods are labelled."""

    name: str
    count: int
    gpus: int


@dataclass(frozen=True, slots=True)
class KubeJob:
    """A job.

    over: "Succeeded" or "Failed" where it has ended for good, with ``why``
    elastic: least and most pods of its last role, by itself; (0, 0) where it says nothing of it
    owner: uid of what made it, "" where people did
    """

    kind: JobKind
    name: str
    namespace: str
    uid: str
    owner: str
    roles: tuple[Role, ...]
    held: bool
    over: str
    why: str
    over_s: float
    elastic: tuple[int, int]
    created_s: float
    says: Declared
    marks: Marks

    @property
    def id(self) -> str:
        """Return what it is called."""
        return f"{self.namespace}/{self.name}"


def node_in(node: Node, *, gpu: str, group_label: str) -> KubeNode:
    """Read a node; ``gpu`` is the resource that its GPUs are counted as."""
    meta, spec, status = node.metadata, node.spec, node.status
    labels = (meta.labels if meta else None) or {}
    conditions = (status.conditions if status else None) or []
    ready = next((each for each in conditions if each.type == "Ready"), None)
    capacity = (status.capacity if status else None) or {}
    writer = _writer(meta.managedFields if meta else None, "f:spec", "f:unschedulable")
    name = (meta.name if meta else None) or ""
    return KubeNode(
        name=name,
        uid=(meta.uid if meta else None) or "",
        ready=ready is not None and ready.status == "True",
        ready_s=_seconds(ready.lastTransitionTime) if ready else 0.0,
        closed=bool(spec and spec.unschedulable),
        closed_by=(writer.manager if writer else None) or "",
        closed_s=_seconds(writer.time) if writer else 0.0,
        taints=tuple(
            Taint(each.key, each.effect) for each in (spec.taints if spec else None) or ()
        ),
        gpus=_whole(capacity.get(gpu)),
        host=labels.get(HOSTNAME, name),
        zone=labels.get(ZONE, ""),
        driver=next((labels[label] for label in DRIVERS if label in labels), ""),
        group=labels.get(group_label, "") or "default",
        marks=marks_in(meta.annotations if meta else None),
    )


def pod_in(pod: Pod, *, gpu: str) -> KubePod:
    """Read a pod."""
    meta, spec, status = pod.metadata, pod.spec, pod.status
    labels = (meta.labels if meta else None) or {}
    containers = (status.containerStatuses if status else None) or []
    conditions = (status.conditions if status else None) or []
    placed = next((each for each in conditions if each.type == "PodScheduled"), None)
    owner = _owner(meta.ownerReferences if meta else None)
    refused = placed is not None and placed.status == "False"
    return KubePod(
        name=(meta.name if meta else None) or "",
        namespace=(meta.namespace if meta else None) or "",
        uid=(meta.uid if meta else None) or "",
        node=(spec.nodeName if spec else None) or "",
        phase=(status.phase if status else None) or "Pending",
        leaving=bool(meta and meta.deletionTimestamp),
        stuck=next((why for each in containers if (why := _waits(each)) in STUCK), ""),
        no_place=((placed.message or placed.reason or "") if placed and refused else ""),
        owner=owner.uid if owner else "",
        owner_kind=owner.kind if owner else "",
        owner_name=owner.name if owner else "",
        role=labels.get(ROLE_LABEL) or labels.get(ROLE_OF_MPI, ""),
        index=_index(labels, (meta.annotations if meta else None) or {}),
        gpus=_gpus_of(spec.containers if spec else (), gpu),
        priority=(spec.priority if spec else None) or 0,
        restarts=sum(each.restartCount for each in containers),
        address=(status.podIP if status else None) or "",
        created_s=_seconds(meta.creationTimestamp if meta else None),
        begun_s=_begun(containers) or _seconds(status.startTime if status else None),
    )


def job_in(row: Mapping[str, Any], kind: JobKind, *, gpu: str) -> KubeJob:
    """Read a job of a kind; one without parts that are looked for reads as if they were empty."""
    meta = row.get("metadata") or {}
    conditions = at(row, ("status", "conditions")) or ()
    ended = {"Succeeded": "Succeeded", "Complete": "Succeeded", "Failed": "Failed"}
    over: Mapping[str, Any] = next(
        (c for c in conditions if c.get("type") in ended and c.get("status") == "True"), {}
    )
    annotations = meta.get("annotations") or {}
    policy = at(row, ("spec", "elasticPolicy")) or {}
    return KubeJob(
        kind=kind,
        name=str(meta.get("name", "")),
        namespace=str(meta.get("namespace", "")),
        uid=str(meta.get("uid", "")),
        owner=next(
            (o["uid"] for o in meta.get("ownerReferences") or () if o.get("controller")), ""
        ),
        roles=tuple(role for name in kind.roles if (role := _role(row, kind, name, gpu)).count),
        held=bool(at(row, kind.suspend)),
        over=ended.get(over.get("type", ""), ""),
        why=str(over.get("message") or over.get("reason") or ""),
        over_s=_seconds(over.get("lastTransitionTime")),
        elastic=(int(policy.get("minReplicas") or 0), int(policy.get("maxReplicas") or 0)),
        created_s=_seconds(meta.get("creationTimestamp")),
        says=declared(str(annotations.get(DECLARED, ""))),
        marks=marks_in(annotations),
    )


def _role(row: Mapping[str, Any], kind: JobKind, name: str, gpu: str) -> Role:
    there = at(row, kind.role_path(name))
    if not isinstance(there, Mapping):
        return Role(name.lower(), 0, 0)
    containers = at(there, ("template", "spec", "containers")) or ()
    count = at(row, kind.count_path(name))
    gpus = sum(_whole(at(each, ("resources", "limits", gpu))) for each in containers)
    return Role(name.lower(), 1 if count is None else int(count), gpus)


def _writer(entries: Sequence[ManagedFieldsEntry] | None, *path: str) -> ManagedFieldsEntry | None:
    """Return who last wrote a field, as the API server itself keeps it."""
    found = [each for each in entries or () if at(each.fieldsV1 or {}, path) is not None]
    return max(found, key=lambda each: _seconds(each.time), default=None)


def _owner(references: Sequence[OwnerReference] | None) -> OwnerReference | None:
    return next((each for each in references or () if each.controller), None)


def _waits(status: ContainerStatus) -> str:
    waiting = status.state.waiting if status.state else None
    return (waiting.reason or "") if waiting else ""


def _begun(containers: Sequence[ContainerStatus]) -> float:
    running = [each.state.running for each in containers if each.state and each.state.running]
    return max((_seconds(each.startedAt) for each in running), default=0.0)


def _gpus_of(containers: Iterable[Container], gpu: str) -> int:
    return sum(
        _whole((each.resources.limits or {}).get(gpu)) for each in containers if each.resources
    )


def _index(labels: Mapping[str, str], annotations: Mapping[str, str]) -> int:
    found = next(
        (
            labels.get(n) or annotations.get(n)
            for n in INDEX_LABELS
            if n in {**labels, **annotations}
        ),
        "",
    )
    return int(found) if found and found.isdecimal() else -1


def _whole(quantity: Any) -> int:
    """Return a count: extended resources are whole numbers and have no units."""
    text = str(quantity or 0)
    return int(text) if text.isdecimal() else 0


def _seconds(moment: Any) -> float:
    """Return seconds since the epoch; the API server writes whole ones."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return 0.0
    if not isinstance(moment, datetime):
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
