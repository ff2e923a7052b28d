"""Orders about jobs. What moves a job requeues it: Slurm cannot grow a job that has GPUs.

The job starts again from its newest checkpoint by its own script, on the nodes that are named.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from agent.act.slurm.declared import declared
from agent.act.slurm.desk import Desk, said
from agent.act.slurm.holding import take_out
from agent.act.slurm.kept import Return
from agent.act.slurm.picture import can_requeue, is_over
from agent.act.slurm.records import SlurmJob
from core.errors import ActionFailed, SourceUnavailable
from core.types import Action
from remediation.catalogue.asked import number
from remediation.catalogue.job_obstacles import free_nodes
from remediation.catalogue.subject import names_in

REQUEUE_ONLY_BATCH = (
    "Slurm starts only batch jobs again, and only where their owner lets it: submit with sbatch "
    "--requeue."
)


async def requeue(
    desk: Desk,
    action: Action,
    job: SlurmJob,
    *,
    nodes: Sequence[str] = (),
    count: int = 0,
    spares: Sequence[str] = (),
) -> None:
    """Send a job back to the queue and see to it that it starts at once.

    nodes: it is to run on these, and where they are too few, on others as well
    count: on so many; 0: as many as it has
    spares: of those nodes, which are kept back until it starts
    """
    _check_requeue(desk, action, job)
    had = _nodes_of(desk, job)
    if count and len(job.nodes) < len(had) and "COMPLETING" in job.state:
        raise SourceUnavailable(
            f"{said(action)}: Slurm takes its nodes off one after the other, and says the size of "
            "what is left; it is asked again."
        )
    size = _size(action, job, count) if count else ()
    named = tuple(desk.node(name).name for name in nodes)
    silent = tuple(name for name in had if name in desk.look.silent)
    back = Return(
        job=job.id,
        key=action.key,
        since_s=desk.look.at_s,
        task=job.called,
        had=had,
        silent=silent,
        nodes=named,
        size=size,
        spares=tuple(spares),
        priority=job.priority,
    )
    await desk.returning.keep_places(back, desk.look)
    try:
        await _to_queue(desk, action, job)
    except ActionFailed:
        await desk.returning.places.give(job.id)
        raise
    desk.returning.begin(back)


async def _to_queue(desk: Desk, action: Action, job: SlurmJob) -> None:
    """Send a job back to the queue; one that is on its way there already goes by itself."""
    if "PENDING" in job.state:
        return
    try:
        await desk.calls.order("scontrol", "requeue", job.called, why=said(action))
    except ActionFailed:
        if "COMPLETING" not in job.state:
            raise


async def _restart(desk: Desk, action: Action) -> None:
    """Start a job again on the nodes that it has, or had."""
    job = desk.job(action)
    state = desk.state.job(str(job.id))
    await requeue(desk, action, job, nodes=state.nodes if state else ())


async def _swap(desk: Desk, action: Action) -> None:
    spare = str(action.param("spare") or "")
    await _exchange(desk, action, {action.target.node: spare}, spares=(spare,))


async def _swaps(desk: Desk, action: Action) -> None:
    spares = names_in(action, "spares")
    other = dict(zip(names_in(action, "nodes"), spares, strict=True))
    await _exchange(desk, action, other, spares=spares)


async def _exchange(
    desk: Desk, action: Action, other: Mapping[str, str], *, spares: Sequence[str]
) -> None:
    job = desk.job(action)
    had = _nodes_of(desk, job)
    nodes = [other.get(name, name) for name in had]
    await requeue(desk, action, job, nodes=nodes, spares=spares)


async def _evict(desk: Desk, action: Action) -> None:
    """Take a straggler's node out, and the job to a spare, or to one node less."""
    job, spare = desk.job(action), str(action.param("spare") or "")
    _check_requeue(desk, action, job)
    await take_out(desk, action, action.target.node)
    if spare:
        await _exchange(desk, action, {action.target.node: spare}, spares=(spare,))
        return
    others = [name for name in _nodes_of(desk, job) if name != action.target.node]
    await requeue(desk, action, job, nodes=others, count=len(others))


async def _borrow(desk: Desk, action: Action) -> None:
    """Put a lender's node in the place of one that is taken out; the lender waits its turn."""
    job, lent = desk.job(action), str(action.param("spare") or "")
    lender = str(action.param("lender") or "")
    _check_requeue(desk, action, job)
    if lender:
        _check_requeue(desk, action, desk.job_named(lender))
    await take_out(desk, action, action.target.node)
    await _exchange(desk, action, {action.target.node: lent}, spares=(lent,))
    if lender:  # only now: the node that it leaves is kept from the queue already
        await _send_back(desk, action, desk.job_named(lender))


async def _shrink(desk: Desk, action: Action) -> None:
    """Let a job go on with fewer nodes: by a new start, or at once where its owner said ``live``.

    Without accounting Slurm resizes a running job only once, and afterwards refuses any change of
    it; the node of the batch script can never be taken away. Those start anew.
    """
    job, count = desk.job(action), int(number(action, "nodes"))
    had = _nodes_of(desk, job)
    leave = names_in(action, "leave")
    unready = {node.name for node in desk.state.nodes if node.condition != "ready"}
    first_out = sorted(had, key=lambda name: (name in leave, name in unready))
    kept = [name for name in had if name in set(first_out[:count])]
    if _shrinks_live(desk, job, had, kept):
        change = (f"JobId={job.called}", f"NodeList={','.join(kept)}")
        await desk.calls.order("scontrol", "update", *change, why=said(action))
        return
    await requeue(desk, action, job, nodes=kept, count=count)


def _shrinks_live(desk: Desk, job: SlurmJob, had: Sequence[str], kept: Sequence[str]) -> bool:
    accounts = not desk.config.get("AccountingStorageType", "").endswith("none")
    able = declared(job.comment).live and "RUNNING" in job.state and had[0] in kept
    return bool(able and (accounts or job.resize_s == 0))


async def _grow(desk: Desk, action: Action) -> None:
    """Let a job go on with more nodes; with GPUs, Slurm can only start it anew."""
    job, count = desk.job(action), int(number(action, "nodes"))
    had = _nodes_of(desk, job)
    more = [name for name in free_nodes(desk.state) if name not in had][: count - len(had)]
    await requeue(desk, action, job, nodes=(*had, *more), count=count)


async def _move(desk: Desk, action: Action) -> None:
    names = names_in(action, "nodes")
    order = {node.name: at for at, node in enumerate(desk.look.nodes)}
    if list(names) != sorted(names, key=lambda name: order.get(name, 0)):
        raise ActionFailed(
            f"{said(action)}: Slurm places ranks in the order of its own list of nodes. Name the "
            "nodes in that order; for another, set SLURM_HOSTFILE and srun "
            "--distribution=arbitrary in the job's script."
        )
    await requeue(desk, action, desk.job(action), nodes=names)


async def _preempt(desk: Desk, action: Action) -> None:
    await _send_back(desk, action, desk.job(action))


async def _send_back(desk: Desk, action: Action, job: SlurmJob) -> None:
    """Requeue a job and leave it to the queue; Slurm's hold lets the more urgent one go first."""
    _check_requeue(desk, action, job)
    await _to_queue(desk, action, job)
    desk.note_job(job.id, queued=True)


async def _checkpoint(desk: Desk, action: Action) -> None:
    """Signal the batch script to save, as its owner says: any other signal would end it."""
    job = desk.job(action)
    signal = declared(job.comment).signal
    argv = ("scancel", "--batch", f"--signal={signal}", job.called)
    await desk.calls.order(*argv, why=said(action))


def _nodes_of(desk: Desk, job: SlurmJob) -> tuple[str, ...]:
    """Return the nodes that a job has, or had when it stopped."""
    state = desk.state.job(str(job.id))
    return job.nodes if state is None else state.nodes


def _check_requeue(desk: Desk, action: Action, job: SlurmJob) -> None:
    if is_over(job, desk.look.at_s):
        raise ActionFailed(
            f"{said(action)}: it has ended, only its last processes are still there; Slurm would "
            "begin it anew. Submit it again if that is wanted."
        )
    if not can_requeue(job):
        found = (
            "it is no batch job" if not job.batch else "its owner submitted it with --no-requeue"
        )
        raise ActionFailed(f"{said(action)}: {found}. {REQUEUE_ONLY_BATCH}")


def _size(action: Action, job: SlurmJob, count: int) -> tuple[int, int, int]:
    """Return nodes, tasks and processors of a job on so many nodes, each node as before."""
    now = max(len(job.nodes), job.least_nodes, 1)
    if job.tasks % now or job.cpus % now:
        raise ActionFailed(
            f"{said(action)}: its {job.tasks} tasks and {job.cpus} processors do not divide by its "
            f"{now} nodes. Submit with --ntasks-per-node and --cpus-per-task."
        )
    return count, job.tasks // now * count, job.cpus // now * count


KINDS: Mapping[str, Callable[[Desk, Action], Awaitable[None]]] = {
    "restart_job": _restart,
    "swap_node": _swap,
    "swap_nodes": _swaps,
    "evict_rank": _evict,
    "borrow_node": _borrow,
    "shrink_job": _shrink,
    "grow_job": _grow,
    "move_job": _move,
    "preempt_job": _preempt,
    "checkpoint_now": _checkpoint,
}
