"""One look at the cluster, put together from what Slurm says and what is kept beside it."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from agent.act.slurm.declared import declared
from agent.act.slurm.kept import JobNote, Kept, SlurmNodeNote
from agent.act.slurm.progress import Pace
from agent.act.slurm.records import LAUNCH_FAILED, Reservation, SlurmJob, SlurmNode
from core.cluster import OWNER, ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.topology import Topology, flat_topology

LEMON = "lemon"
SLURM = "slurm"
_NODE, _JOB = SlurmNodeNote(), JobNote()
# Who writes "NHC: ..." or "ada: ..." says who they are; Slurm itself only knows a user.
_WHO = re.compile(r"([A-Za-z][\w.-]{0,31}):\s+(.*)", re.DOTALL)
_OURS = re.compile(rf"{OWNER}: (?:({LEMON}): )?(.*?)(?: \[[^\[\]]*\])?(?: : .*)?\Z")
# What slurmctld and slurmd write into a reason by themselves (src/slurmctld, 22.05 to 26.05).
_BY_SLURM = (
    "Not responding",
    "Node unexpectedly rebooted",
    "Kill task failed",
    "Prolog error",
    "Epilog error",
    "batch job complete failure",
    "Low RealMemory",
    "Low CPUs",
    "Low socket*core*thread",
    "Low TmpDisk",
    "gres/",
    "Configured ",
    "Duplicate jobid",
    "health check",
    "ResumeTimeout",
    "SlurmdSpoolDir",
    "Reboot timed out",
    "reboot timed out",
)
_OUT = {"DRAIN", "DRAINING", "DRAINED", "FAIL", "FAILING", "INVALID_REG"}
_AWAY = {"DOWN", "ERROR", "UNKNOWN", "REBOOT_ISSUED", "REBOOT_REQUESTED", "REBOOT"}
_NEVER_THERE = {"FUTURE"}
_FAILED = {"FAILED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "LAUNCH_FAILED", "RECONFIG_FAIL"}
# Why a job that was begun already waits: a requeue's hold, or Slurm gave up on starting it.
HELD_BY_SLURM = frozenset({LAUNCH_FAILED, "JobLaunchFailure"})
HELD_BY_PEOPLE = frozenset({"JobHeldUser", "JobHeldAdmin"})
_HELD_BY_REQUEUE = HELD_BY_SLURM | {"BeginTime"}
_OVER = {"COMPLETED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "REVOKED", "SPECIAL_EXIT"}
_ENDED = {"None", "TimeLimit", "DeadLine"}  # why a job ends that has not failed
_CLOCKS_DIFFER_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was said at one moment.

    silent: nodes that have not answered for so long that they count as down
    leaf_of: leaf switch of each node, where Slurm knows a tree
    """

    at_s: float
    nodes: tuple[SlurmNode, ...]
    jobs: tuple[SlurmJob, ...]
    reservations: tuple[Reservation, ...] = ()
    silent: frozenset[str] = frozenset()
    leaf_of: Mapping[str, str] = field(default_factory=dict)

    def node(self, name: str) -> SlurmNode | None:
        """Return the node of that name, or None."""
        return next((node for node in self.nodes if node.name == name), None)

    def job(self, job_id: str) -> SlurmJob | None:
        """Return the job of that id, or None."""
        return next((job for job in self.jobs if str(job.id) == job_id), None)

    def reserved(self, name: str) -> tuple[str, ...]:
        """Return the nodes of the reservation of that name; none where there is no such one."""
        return next((r.nodes for r in self.reservations if r.name == name), ())


@dataclass(frozen=True, slots=True)
class Held:
    """Who keeps a node out of service, and why; ``mark`` where people must bring it back."""

    owner: str
    reason: str
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What jobs show beside Slurm, None where they do not.

    saved_at: folder -> when its newest valid checkpoint was finished
    pace_of: job id -> steps that it has done, and what one takes
    """

    saved_at: Callable[[str], float | None]
    pace_of: Callable[[str], Pace | None]


def picture(look: Look, kept: Kept, *, spares: str, seen: Seen) -> ClusterState:
    """Return the cluster as ``core`` knows it; ``spares``: the reservation that keeps them."""
    nodes = tuple(node for node in look.nodes if not node.state & _NEVER_THERE)
    jobs = [job for job in look.jobs if not _forgotten(job)]
    around = _Around(
        known=frozenset(node.name for node in nodes),
        busy=frozenset(name for job in jobs for name in job.nodes if on_nodes(job)),
        spares=frozenset(look.reserved(spares)),
        maintained={
            name: reservation.name
            for reservation in look.reservations
            if "MAINT" in reservation.flags and reservation.name != spares
            for name in reservation.nodes
        },
        away=look.silent | {node.name for node in nodes if is_away(node)},
        coming={job: back.priority for job, back in kept.returns.items()},
        at_s=look.at_s,
    )
    states = tuple(_node_state(node, kept.nodes.get(node.name, _NODE), around) for node in nodes)
    notes = [kept.jobs.get(str(job.id), _JOB) for job in jobs]
    told = tuple(_job_state(*each, around, seen) for each in zip(jobs, notes, strict=True))
    had = [_gpus_had(*each) for each in zip(jobs, notes, strict=True)]
    return ClusterState(look.at_s, _topology(look, nodes, told, had), states, told)


@dataclass(frozen=True, slots=True)
class _Around:
    """What one node or job is seen against: names of nodes, who maintains which, and when.

    coming: jobs that are on their way back by our order, and the priority that each had
    """

    known: frozenset[str]
    busy: frozenset[str]
    spares: frozenset[str]
    maintained: Mapping[str, str]
    away: frozenset[str]
    coming: Mapping[str, int]
    at_s: float


def held_by(node: SlurmNode) -> Held:
    """Return who has taken a node out and why, by the reason that Slurm keeps."""
    if ours := _OURS.match(node.reason):
        return Held(OWNER, ours[2], ours[1] or "")
    if node.reason.startswith(_BY_SLURM):
        return Held(SLURM, node.reason)
    if named := _WHO.match(node.reason):
        return Held(named[1], named[2])
    if node.reason or node.reason_by:
        return Held(node.reason_by or SLURM, node.reason)
    return Held("", "")


def reason_of(text: str, key: str, *, lemon: bool = False) -> str:
    """Return the reason that marks a node as ours; ``held_by`` reads it back."""
    plain = " ".join(text.replace("[", "(").replace("]", ")").split())[:160]
    return f"{OWNER}: {f'{LEMON}: ' if lemon else ''}{plain} [{key[:80]}]"


def is_away(node: SlurmNode) -> bool:
    """Say whether Slurm itself knows that a node is not there, or about to reboot.

    One that was down when we took it out and answers again is down only by that: Slurm gives back
    by itself what it took out itself, under its own reason.
    """
    away = node.state & _AWAY
    ours = "DRAIN" in node.state and held_by(node).owner == OWNER
    return bool(away) and not (ours and away == {"DOWN"} and not is_silent(node))


def is_silent(node: SlurmNode) -> bool:
    """Say whether a node did not answer last time; it may the next."""
    return bool(node.state & {"NOT_RESPONDING", "NO_RESPOND"})


def takes_no_jobs(node: SlurmNode) -> bool:
    """Say whether somebody or Slurm keeps jobs off a node."""
    return bool(node.state & _OUT)


def on_nodes(job: SlurmJob) -> bool:
    """Say whether a job has its nodes now, its processes running or ending."""
    here = {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING"}
    return bool(job.state & (here | {"STAGE_OUT", "RESIZING"})) and bool(job.nodes)


def is_over(job: SlurmJob, now_s: float) -> bool:
    """Say whether a job has ended and asks for nothing, though processes of it may still end.

    22.05 says only COMPLETING then, as of a job that was requeued: the end of that is yet to come.
    """
    ends = job.state == {"COMPLETING"} and job.why in _ENDED
    return bool(job.state & _OVER) or (ends and 0 < job.end_s <= now_s + _CLOCKS_DIFFER_S)


def waits_after_requeue(job: SlurmJob) -> bool:
    """Say whether a job that had begun stands in the queue only because it was requeued."""
    pending = "PENDING" in job.state and "COMPLETING" not in job.state
    return pending and job.restarts > 0 and job.why in _HELD_BY_REQUEUE


def _node_state(node: SlurmNode, note: SlurmNodeNote, around: _Around) -> NodeState:
    condition, held = _condition(node, around), held_by(node)
    if condition is NodeCondition.READY:
        held = Held("", "")
    elif node.name in around.maintained and not takes_no_jobs(node):
        held = Held(around.maintained[node.name], "reserved for maintenance")
    elif condition is NodeCondition.DOWN and not takes_no_jobs(node) and held.owner == SLURM:
        held = Held("", held.reason)  # it has failed: nobody has taken it out
    out_s = 0.0 if condition is NodeCondition.READY else node.reason_s
    found = NodeState(
        node.name,
        condition,
        held.owner,
        held.reason,
        group=node.partitions[0] if node.partitions else "default",
        spare=node.name in around.spares and node.name not in around.busy,
        since_s=_by(max(node.up_s, out_s), around.at_s),
        mark=held.mark,
    )
    return note.beside(found)


def _condition(node: SlurmNode, around: _Around) -> NodeCondition:
    if node.name in around.away:
        return NodeCondition.DOWN
    if takes_no_jobs(node) or node.name in around.maintained:
        return NodeCondition.CORDONED if node.name in around.busy else NodeCondition.DRAINED
    return NodeCondition.READY


def _forgotten(job: SlurmJob) -> bool:
    """Say whether a job that Slurm still shows is of no more interest to anybody."""
    ended = job.state & _OVER and "COMPLETING" not in job.state
    return bool(ended or (job.state & _FAILED and not can_requeue(job)))


def can_requeue(job: SlurmJob) -> bool:
    """Say whether Slurm can start a job again; only batch jobs, and not where its owner says no."""
    return job.batch and job.requeue


def phase_of(job: SlurmJob) -> JobPhase:
    """Return where a job is; one that is only held back by its requeue has stopped."""
    if job.state & _OVER:
        return JobPhase.COMPLETED
    if job.state & _FAILED or waits_after_requeue(job):
        return JobPhase.STOPPED
    if "COMPLETING" in job.state or job.state & {"CONFIGURING", "REQUEUED"}:
        return JobPhase.STARTING
    if "RUNNING" in job.state:
        return JobPhase.RUNNING
    return JobPhase.PENDING


def _job_state(job: SlurmJob, note: JobNote, around: _Around, seen: Seen) -> JobState:
    says, phase = declared(job.comment), phase_of(job)
    if phase is JobPhase.RUNNING and around.away.intersection(job.nodes):
        phase = JobPhase.STOPPED  # Slurm has not noticed yet: a rank is lost, so no step is made
    elif phase is JobPhase.STOPPED and note.queued and not job.state & _FAILED:
        phase = JobPhase.PENDING
    elif phase is JobPhase.STOPPED and str(job.id) in around.coming:
        phase = JobPhase.STARTING
    elif phase is JobPhase.PENDING and _lost_a_node(job, note, around):
        phase = JobPhase.STOPPED
    nodes = job.nodes if on_nodes(job) else ()
    if "COMPLETING" in job.state and set(nodes) < set(note.nodes):
        nodes = note.nodes  # Slurm takes off one after the other; it ran on all of them
    if not nodes and phase in (
        JobPhase.STOPPED,
        JobPhase.STARTING,
    ):  # nobody has them: there it would go on
        nodes = tuple(name for name in note.nodes if name not in around.busy)
    nodes = tuple(name for name in nodes if name in around.known)
    held = sum(len(each) for each in job.gpus)
    sized = says.least > 0 and can_requeue(job)
    plain = "training" if job.batch else "interactive"
    pace = seen.pace_of(str(job.id))
    return JobState(
        id=str(job.id),
        phase=phase,
        nodes=nodes,
        gpus=held or job.gpus_asked * max(len(nodes), job.least_nodes),
        since_s=_by(_since_s(job, phase), around.at_s),
        checkpoint_s=seen.saved_at(says.checkpoint) if says.checkpoint else None,
        step=pace.steps if pace else None,
        restarts=job.restarts,
        priority=_priority(around.coming.get(str(job.id), 0) or job.priority),
        kind="elastic" if sized and says.most > says.least else plain,
        least_nodes=says.least if sized else 0,
        most_nodes=says.most if sized else 0,
        unit_nodes=says.unit,
        asked_nodes=job.least_nodes,
        interval_s=says.interval_s,
        step_s=pace.step_s if pace else None,
        usual_step_s=pace.usual_step_s if pace else None,
        paged_s=note.paged_s,
        saves=says.can_save,
    )


def _lost_a_node(job: SlurmJob, note: JobNote, around: _Around) -> bool:
    """Say whether Slurm itself put the job back into the queue, as a node that it ran on is away.

    It may wait there for nodes that never come: nobody has held it back.
    """
    if note.queued or job.why in HELD_BY_PEOPLE or not job.restarts:
        return False
    if str(job.id) in around.coming:  # it is our own order that put it there
        return False
    return bool(around.away.intersection(note.nodes))


def _priority(number: int) -> int:
    """Return a priority that fits 31 bits: ``priority/basic`` counts down from 2^32, others up."""
    return number if number < 1 << 31 else number - (1 << 31)


def _by(second: float, now_s: float) -> float:
    """Return by when something had happened that Slurm dates to a whole second, rounded down."""
    return min(second + 1.0, now_s) if second else 0.0


def _since_s(job: SlurmJob, phase: JobPhase) -> float:
    if phase is JobPhase.RUNNING:
        return max(job.start_s, job.resize_s)
    if job.state & _FAILED:
        return job.end_s
    # A requeue sets it anew; a job that has lost a node stops then, and Slurm says later when.
    return job.start_s if "RUNNING" in job.state else job.submit_s


def _gpus_had(job: SlurmJob, note: JobNote) -> Mapping[str, Sequence[int]]:
    """Return which GPUs of each node the job has, or had when it last ran."""
    now = zip(job.nodes, job.gpus, strict=False) if on_nodes(job) else ()
    return {**dict(zip(note.nodes, note.gpus, strict=False)), **dict(now)}


def _topology(
    look: Look,
    nodes: Sequence[SlurmNode],
    told: Sequence[JobState],
    had: Sequence[Mapping[str, Sequence[int]]],
) -> Topology:
    """Place nodes, GPUs and ranks: Slurm knows GPUs by their number, so that is their name."""
    gpus_of = {node.name: [gpu_name(node.name, at) for at in range(node.gpus)] for node in nodes}
    ranks = {
        job.id: list(_ranks(job.nodes, its, gpus_of)) for job, its in zip(told, had, strict=True)
    }
    flat = flat_topology(gpus_of, ranks)
    if not look.leaf_of:
        return flat
    switches = tuple(dict.fromkeys(look.leaf_of.values()))
    index = {name: at for at, name in enumerate(switches)}
    leaf = [index.get(look.leaf_of.get(node.name, ""), -1) for node in nodes]
    return Topology(
        **{
            **{name: getattr(flat, name) for name in flat.__dataclass_fields__},
            "switches": switches,
            "node_switch": np.array(leaf, dtype=np.int64),
        }
    )


def gpu_name(node: str, number: int) -> str:
    """Return what a GPU is called where Slurm alone names it."""
    return f"{node}/gpu{number}"


def _ranks(
    nodes: Sequence[str],
    indices: Mapping[str, Sequence[int]],
    gpus_of: Mapping[str, Sequence[str]],
) -> Iterable[str]:
    """Yield the GPU of each rank, one rank a GPU, in the order of the job's nodes."""
    for node in nodes:
        there = gpus_of.get(node, ())
        yield from (there[at] for at in indices.get(node, ()) if at < len(there))
