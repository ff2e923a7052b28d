"""One look at the cluster, put together from its nodes, pods and jobs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.act.kubernetes.records import KubeJob, KubeNode, KubePod
from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.topology import flat_topology

SOMEBODY = "somebody"
# Taints that others put on a node which is to have no more pods.
OUT_TAINTS = frozenset(
    {
        "node.kubernetes.io/out-of-service",
        "node.cloudprovider.kubernetes.io/shutdown",
        "ToBeDeletedByClusterAutoscaler",
        "karpenter.sh/disrupted",
    }
)
SavedAt = Callable[[str], float | None]
Slot = tuple[str, int]  # a pod's place in its job: the role's name and a number


@dataclass(frozen=True, slots=True)
class Look:
    """What is there at one moment.

    pods_of: the pods of each job, by id; others: those with GPUs that are of no job known here
    spare: the taint that keeps spare nodes; had: the node of each place of each job, by id, where
    it was last seen
    """

    at_s: float
    nodes: Mapping[str, KubeNode]
    jobs: Mapping[str, KubeJob]
    pods_of: Mapping[str, tuple[KubePod, ...]]
    others: tuple[KubePod, ...]
    spare: str
    had: Mapping[str, Mapping[Slot, str]] = field(default_factory=dict)

    def away(self, node: str) -> bool:
        """Say whether a node is not heard of, or not there."""
        return node not in self.nodes or not self.nodes[node].ready

    def is_spare(self, node: KubeNode) -> bool:
        """Say whether a node is kept for swaps."""
        return any(taint.key == self.spare for taint in node.taints)


@dataclass(frozen=True, slots=True)
class Placed:
    """A place of a job: its pod, None where it has none now, and the node that it has or had."""

    slot: Slot
    pod: KubePod | None
    node: str


def look_at(
    at_s: float,
    nodes: Iterable[KubeNode],
    pods: Iterable[KubePod],
    jobs: Iterable[KubeJob],
    *,
    spare: str,
    had: Mapping[str, Mapping[Slot, str]],
) -> Look:
    """Put together what belongs together: each pod with the job that would replace it."""
    by_uid = {job.uid: job for job in jobs}
    root = {uid: by_uid.get(job.owner, job) for uid, job in by_uid.items()}
    named = {job.id: job for job in by_uid.values() if root[job.uid] is job and _trains(job)}
    pods_of: dict[str, list[KubePod]] = {}
    others = []
    for pod in pods:
        job = root.get(pod.owner)
        if job is not None and named.get(job.id) is job:
            pods_of.setdefault(job.id, []).append(pod)
        elif pod.gpus and pod.node and not pod.over:
            others.append(pod)
    return Look(
        at_s,
        {node.name: node for node in nodes if node.gpus},
        named,
        {job_id: tuple(found) for job_id, found in pods_of.items()},
        tuple(others),
        spare,
        had,
    )


def _trains(job: KubeJob) -> bool:
    return any(role.gpus for role in job.roles)


def picture(look: Look, *, saved_at: SavedAt) -> ClusterState:
    """Return the cluster as ``core`` knows it.

    saved_at: when the newest valid checkpoint in a folder was finished, None where there is none
    """
    live = [job for job in look.jobs.values() if not job.over]
    places = {job.id: places_of(job, look) for job in live}
    busy = {p.node for found in places.values() for p in found if p.pod is not None and p.node}
    busy |= {pod.node for pod in look.others}
    trainings = [_job_state(job, places[job.id], look, saved_at) for job in live]
    jobs = (*trainings, *_other_jobs(look))
    free_of = _free_gpus(look)
    ranks = {job.id: list(_ranks(_pods_in(places[job.id]), free_of)) for job in live}
    ranks |= {name: list(_ranks(pods, free_of)) for name, pods in _kin(look).items()}
    gpus_of = {
        name: [gpu_name(name, at) for at in range(node.gpus)] for name, node in look.nodes.items()
    }
    nodes = tuple(_node_state(node, look, busy) for node in look.nodes.values())
    return ClusterState(look.at_s, flat_topology(gpus_of, ranks), nodes, jobs)


def gpu_name(node: str, number: int) -> str:
    """Return what a GPU is called where only its node numbers it."""
    return f"{node}/gpu{number}"


def places_of(job: KubeJob, look: Look) -> tuple[Placed, ...]:
    """Return the places of a job that have GPUs, in the order of its ranks."""
    if job.held:
        return ()
    had = look.had.get(job.id, {})
    found = []
    for role in job.roles:
        if not role.gpus:
            continue
        pods = _by_place(job, role.name, look)
        for number in range(role.count):
            slot = (role.name, number)
            pod = pods.get(number)
            node = pod.node if pod else ""
            found.append(Placed(slot, pod, node or had.get(slot, "")))
    return tuple(found)


def _by_place(job: KubeJob, role: str, look: Look) -> dict[int, KubePod]:
    """Return a role's pods by their number; of several of one number the one that counts."""
    own = [pod for pod in look.pods_of.get(job.id, ()) if not role or pod.role == role]
    own.sort(key=lambda pod: (pod.leaving, pod.over, -pod.created_s, pod.name))
    found: dict[int, KubePod] = {}
    unnumbered = []
    for pod in own:
        if pod.index >= 0:
            found.setdefault(pod.index, pod)
        else:
            unnumbered.append(pod)
    if not found:
        count = next((each.count for each in job.roles if each.name == role), 0)
        found = dict(enumerate(sorted(unnumbered[:count], key=lambda pod: pod.name)))
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """Who keeps a node out of service, and why; ``mark`` where people must bring it back."""

    owner: str
    reason: str
    mark: str = ""


def held_by(node: KubeNode) -> Held | None:
    """Return who has taken a node out; None where nobody has.

    It is ours where our mark is on it and the API server knows us as who closed it: a person who
    opened it and closed it again has it, whatever mark was left.
    """
    ours = node.marks.held
    if node.closed and ours and node.closed_by in ("", OWNER):
        return Held(OWNER, ours.reason, ours.mark)
    if node.closed:
        who = node.closed_by if node.closed_by != OWNER else SOMEBODY
        return Held(who or SOMEBODY, "closed to new pods")
    taint = next((each for each in node.taints if each.key in OUT_TAINTS), None)
    return Held(taint.key, f"tainted {taint.effect}") if taint else None


def _node_state(node: KubeNode, look: Look, busy: set[str]) -> NodeState:
    held, noted = held_by(node), node.marks.noted
    if not node.ready:
        condition = NodeCondition.DOWN
    elif held:
        condition = NodeCondition.CORDONED if node.name in busy else NodeCondition.DRAINED
    else:
        condition = NodeCondition.READY
    why = "its kubelet is not ready or does not answer" if not node.ready and not held else ""
    found = NodeState(
        node.name,
        condition,
        held.owner if held else "",
        held.reason if held else why,
        group=node.group,
        spare=look.is_spare(node) and node.name not in busy,
        since_s=_by(max(node.ready_s, node.closed_s if held else 0.0), look.at_s),
        zone=node.zone,
        driver=node.driver,
        mark=held.mark if held else "",
    )
    return noted.beside(found)


def phase_of(job: KubeJob, places: Sequence[Placed], look: Look) -> JobPhase:
    """Return where a job is: it runs where all its places do, or as many as it can do with."""
    if job.over:
        return JobPhase.COMPLETED
    pods = _pods_in(places)
    if not any(pod.node for pod in pods):
        began = any(place.node for place in places) and not job.held
        return JobPhase.STARTING if began and not pods else JobPhase.PENDING
    if any(_is_lost(pod, look) for pod in pods):
        return JobPhase.STOPPED
    running = sum(_runs(pod) for pod in pods)
    if running == len(places):
        return JobPhase.RUNNING
    if any(pod.no_place for pod in pods):
        least, _ = _bounds(job)
        return JobPhase.RUNNING if 0 < least <= running else JobPhase.STOPPED
    return JobPhase.STARTING


def _is_lost(pod: KubePod, look: Look) -> bool:
    ended = pod.phase in ("Failed", "Unknown") or bool(pod.stuck)
    return (bool(pod.node) and look.away(pod.node)) or (ended and not pod.leaving)


def _runs(pod: KubePod) -> bool:
    return pod.phase == "Running" and not pod.leaving


def _job_state(job: KubeJob, places: Sequence[Placed], look: Look, saved_at: SavedAt) -> JobState:
    phase = phase_of(job, places, look)
    nodes = [place.node for place in places if place.node in look.nodes]
    alone = len(set(nodes)) == len(nodes)
    if phase is JobPhase.PENDING:
        nodes = []
    elif phase is JobPhase.RUNNING:
        nodes = [p.node for p in places if p.pod is not None and p.pod.node in look.nodes]
    least, most = _bounds(job) if alone else (0, 0)
    pods = _pods_in(places)
    return JobState(
        id=job.id,
        phase=phase,
        nodes=tuple(dict.fromkeys(nodes)),
        gpus=sum(role.count * role.gpus for role in job.roles),
        since_s=_by(_since_s(job, phase, pods), look.at_s),
        checkpoint_s=saved_at(job.says.checkpoint) if job.says.checkpoint else None,
        restarts=sum(pod.restarts for pod in pods),
        priority=max((pod.priority for pod in pods), default=0),
        kind="elastic" if most > least else "training",
        least_nodes=least,
        most_nodes=most,
        unit_nodes=job.says.unit,
        asked_nodes=len(places) if alone else 0,
        interval_s=job.says.interval_s,
        paged_s=job.marks.noted.paged_s,
        saves=job.says.can_save,
    )


def _bounds(job: KubeJob) -> tuple[int, int]:
    """Return how many nodes a job can do with, where each of its pods has one; (0, 0): not said."""
    if job.says.most:
        return job.says.least, job.says.most
    least, most = job.elastic
    fixed = sum(role.count for role in job.roles[:-1] if role.gpus)
    return (least + fixed, most + fixed) if most else (0, 0)


def _since_s(job: KubeJob, phase: JobPhase, pods: Sequence[KubePod]) -> float:
    if phase is JobPhase.RUNNING:
        return max((pod.begun_s for pod in pods), default=0.0)
    return max((pod.created_s for pod in pods), default=job.created_s)


def _by(second: float, now_s: float) -> float:
    """Return by when something had happened that is dated to a whole second, rounded down."""
    return min(second + 1.0, now_s) if second else 0.0


def _free_gpus(look: Look) -> dict[str, list[str]]:
    return {
        name: [gpu_name(name, at) for at in range(node.gpus)] for name, node in look.nodes.items()
    }


def _pods_in(places: Sequence[Placed]) -> list[KubePod]:
    return [place.pod for place in places if place.pod is not None]


def _kin(look: Look) -> dict[str, list[KubePod]]:
    """Return the pods of no known job by whose they are: a ReplicaSet's, or each its own."""
    found: dict[str, list[KubePod]] = {}
    for pod in look.others:
        found.setdefault(f"{pod.namespace}/{pod.owner_name or pod.name}", []).append(pod)
    return found


def _other_jobs(look: Look) -> Iterable[JobState]:
    """Yield what else has GPUs: nothing is ordered of it, but its nodes are not free."""
    for name, pods in _kin(look).items():
        nodes = tuple(dict.fromkeys(pod.node for pod in pods if pod.node in look.nodes))
        begun_s = max(pod.begun_s for pod in pods)
        yield JobState(
            id=name,
            phase=JobPhase.RUNNING,
            nodes=nodes,
            gpus=sum(pod.gpus for pod in pods),
            since_s=_by(begun_s, look.at_s),
            priority=max(pod.priority for pod in pods),
            kind="interactive",
            saves=False,
        )


def _ranks(pods: Iterable[KubePod], free_of: dict[str, list[str]]) -> Iterable[str]:
    """Yield the GPU of each rank: which of a node's a pod has, only its kubelet knows."""
    for pod in pods:
        if pod.over or pod.node not in free_of:
            continue
        free = free_of[pod.node]
        taken, free_of[pod.node] = free[: pod.gpus], free[pod.gpus :]
        yield from taken
