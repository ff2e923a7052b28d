"""Orders about jobs: checkpoints, starts, sizes, settings, replicas, places and ends."""

from collections.abc import Callable, Mapping

from core.cluster import NodeCondition
from core.errors import ActionFailed
from core.types import Action
from sim.checks import nearest
from sim.engine import verbs
from sim.engine.words import NONE, JobKind, Phase, Stage
from sim.observe import nodes_of, owner_of
from sim.orders_desk import (
    Desk,
    check_all_may_start,
    check_placed,
    condition_of,
    count_of,
    how,
    id_of,
    job_of,
    live_job,
    needed,
    number_of,
)

_MOST_LOADERS = 16.0  # times as many as submitted: beyond, a node's processors are all busy
_MOST_BATCH = 8.0  # times as large as submitted: beyond, a GPU's memory does not hold it


def _checkpoint_now(desk: Desk, action: Action) -> None:
    job = job_of(desk, action)
    stage = Stage(int(desk.w.jobs[job]["stage"]))
    if stage is Stage.CAPTURING:
        return
    if stage is not Stage.STEPPING:
        raise ActionFailed(
            f"checkpoint_now {action.target}: it is {how(desk, job)} and makes no steps; only a "
            "running job has anything to save."
        )
    verbs.capture(desk.w, job)


def _restart_job(desk: Desk, action: Action) -> None:
    job = job_of(desk, action)
    _check_not_starting(desk, action, job)
    check_placed(desk, action, job)
    check_all_may_start(desk, action, job)
    verbs.restart(desk.w, job)


def _rollback_job(desk: Desk, action: Action) -> None:
    """Start a job from the newest checkpoint of a step or before, by default the last but one."""
    job = live_job(desk, action)
    _check_not_starting(desk, action, job)
    check_placed(desk, action, job)
    row = desk.w.jobs[job]
    if (
        row["kind"] == JobKind.SERVICE
        or not row["ideal_s"] > 0
        or row["interval_s"] == float("inf")
    ):
        raise ActionFailed(
            f"rollback_job {action.target}: it writes no checkpoints to go back to; restart it."
        )
    check_all_may_start(desk, action, job)
    step = number_of(action, "step", 0.0, float("inf"))
    if step is None:
        verbs.roll_back_one(desk.w, job)
    else:
        verbs.roll_back(desk.w, job, step)


def _resize_job(desk: Desk, action: Action) -> None:
    """Let a job run on more or fewer nodes: it writes its state first and starts anew."""
    job = live_job(desk, action)
    row, each = desk.w.jobs[job], int(desk.w.nodes[0]["gpus"])
    if row["kind"] not in (JobKind.ELASTIC, JobKind.TRAINING) or row["gpus"] < each:
        kind = JobKind(int(row["kind"])).name.lower()
        raise ActionFailed(
            f"resize_job {action.target}: it is a job of kind {kind!r} on {row['gpus']} GPUs; only "
            "an elastic job or a training on whole nodes can have another size."
        )
    least, most = -(-int(row["least_gpus"]) // each), int(row["most_gpus"]) // each
    size = count_of(action, "nodes", 1, len(desk.w.nodes))
    if not least <= size <= most or size * each % max(int(row["unit"]), 1):
        raise ActionFailed(
            f"resize_job {action.target}: {size} nodes; it runs on {least} to {most}, in units of "
            f"{row['unit']} GPUs."
        )
    has = int(row["nodes"])
    if size == has or (not has and size * each == (row["ordered"] or row["gpus"])):
        raise ActionFailed(
            f"resize_job {action.target}: it has {size} nodes already; name another number."
        )
    if has:
        _check_room(desk, action, job, size)
    verbs.resize(desk.w, job, size)


def _check_room(desk: Desk, action: Action, job: int, size: int) -> None:
    """Refuse a size for which nodes are missing, or that keeps one on which no job may start."""
    nodes, free = nodes_of(desk.w, job), int(desk.w.core[0]["free_nodes"])
    if size - len(nodes) > free:
        raise ActionFailed(
            f"resize_job {action.target}: it has {len(nodes)} nodes and {free} are free beside the "
            f"spares; name at most {len(nodes) + free}, or make room first."
        )
    unready = [node for node in nodes if condition_of(desk, node) is not NodeCondition.READY]
    if len(unready) > max(len(nodes) - size, 0):
        check_all_may_start(desk, action, job)


def _tune_job(desk: Desk, action: Action) -> None:
    """Set loaders, batch and cache, each as in the job's specification; others stay.

    A cache is of its new size at once. Processes read the other two as they start, so a job that
    runs writes its state and starts anew.
    """
    job = live_job(desk, action)
    row = desk.w.jobs[job]
    if row["kind"] == JobKind.SERVICE:
        raise ActionFailed(
            f"tune_job {action.target}: it is a service, which has no loaders, batch or cache to "
            "set; order scale_service or shift_canary."
        )
    loaders = number_of(action, "loaders", 1 / _MOST_LOADERS, _MOST_LOADERS)
    batch = number_of(action, "batch", 1 / _MOST_BATCH, _MOST_BATCH)
    cache = number_of(action, "cache", 0.0, 1.0)
    unknown = [name for name, _ in action.params if name not in ("loaders", "batch", "cache")]
    if unknown or (loaders is None and batch is None and cache is None):
        found = f"no setting {unknown[0]!r}" if unknown else "no setting is named"
        raise ActionFailed(f"tune_job {action.target}: {found}; name loaders, batch or cache.")
    if row["phase"] == Phase.RUNNING and (loaders is not None or batch is not None):
        check_all_may_start(desk, action, job)
    verbs.tune(
        desk.w,
        job,
        float(row["loaders"] if loaders is None else loaders),
        float(row["batch"] if batch is None else batch),
        float(row["cache"] if cache is None else cache),
    )


def _move_job(desk: Desk, action: Action) -> None:
    """Start a job on other nodes, named in rank order: ``nodes`` = "node-03,node-04"."""
    job = live_job(desk, action)
    wanted = _named_nodes(desk, action)
    has = nodes_of(desk.w, job)
    if wanted == has:
        raise ActionFailed(f"move_job {action.target}: it runs on these already; name others.")
    each, row = int(desk.w.nodes[0]["gpus"]), desk.w.jobs[job]
    count = len(has) or max(int(row["ordered"] or row["gpus"]) // each, 1)
    if len(wanted) != count:
        raise ActionFailed(
            f"move_job {action.target}: {len(wanted)} nodes are named and it needs {count}; name "
            "as many, or resize it first."
        )
    for node in wanted:
        _check_can_have(desk, action, job, node)
    _place_again(desk, job, has, wanted)


def _place_again(desk: Desk, job: int, before: list[int], wanted: list[int]) -> None:
    """Move a job; for each spare that it takes a node that it leaves is a spare."""
    nodes = desk.w.nodes
    spares = sum(bool(nodes[node]["pool"]) for node in wanted)
    more_s = verbs.leave(desk.w, job)
    for node in wanted:
        verbs.take(desk.w, job, node)
    left = [
        node for node in before if node not in wanted and nodes[node]["free"] == nodes[node]["gpus"]
    ]
    for node in left[:spares]:
        verbs.keep_as_spare(desk.w, node)
    verbs.begin(desk.w, job, more_s)


def _named_nodes(desk: Desk, action: Action) -> list[int]:
    value = action.param("nodes")
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else []
    if not names or len(set(names)) < len(names):
        raise ActionFailed(
            f"move_job {action.target}: nodes is {value!r}; name each node once, with commas: "
            f"{','.join(desk.names.nodes[:2])}."
        )
    for name in names:
        if name not in desk.names.node_index:
            raise ActionFailed(
                f"move_job {action.target}: the cluster has no node {name!r}; "
                f"{nearest(name, desk.names.nodes)}"
            )
    return [desk.names.node_index[name] for name in names]


def _check_can_have(desk: Desk, action: Action, job: int, node: int) -> None:
    """Refuse a node that is out of service, or on which others leave too few GPUs."""
    name, row = desk.names.nodes[node], desk.w.nodes[node]
    found = condition_of(desk, node)
    if found is not NodeCondition.READY:
        owner, _ = owner_of(desk.w, node, desk.people.holds)
        raise ActionFailed(
            f"move_job {action.target}: {name} is {found}{f' by {owner}' if owner else ''}; name "
            "nodes that are ready."
        )
    wanted = min(int(desk.w.jobs[job]["gpus"]), int(row["gpus"]))
    free = int(((row["job"][: row["gpus"]] == NONE) | (row["job"][: row["gpus"]] == job)).sum())
    if free < wanted:
        other = next(j for j in row["job"].tolist() if j not in (NONE, job))
        raise ActionFailed(
            f"move_job {action.target}: {name} has {free} free GPUs and it needs {wanted} there; "
            f"job {id_of(desk, other)} has the others; name nodes that have them free."
        )


def _cancel_job(desk: Desk, action: Action) -> None:
    verbs.cancel(desk.w, live_job(desk, action))


def _scale_service(desk: Desk, action: Action) -> None:
    """Want so many replicas; new ones warm up first."""
    job = _service_of(desk, action)
    row = desk.w.jobs[job]
    count = count_of(action, "replicas", 1, int(desk.w.nodes["gpus"].sum()))
    if not verbs.set_replicas(desk.w, job, count):
        each = int(desk.w.services[row["service"]]["gpus_each"])
        raise ActionFailed(
            f"scale_service {action.target}: {count} replicas of {each} GPUs; it holds "
            f"{row['given']} GPUs, name at most {int(row['given']) // max(each, 1)}."
        )


def _shift_canary(desk: Desk, action: Action) -> None:
    """Let the newest version answer a share of the requests; 0 takes it back."""
    job = _service_of(desk, action)
    verbs.set_canary(desk.w, job, needed(action, "share", 0.0, 1.0))


def _service_of(desk: Desk, action: Action) -> int:
    job = live_job(desk, action)
    at = int(desk.w.jobs[job]["service"])
    if at == NONE:
        kind = JobKind(int(desk.w.jobs[job]["kind"])).name.lower()
        raise ActionFailed(
            f"{action.kind} {action.target}: it is of kind {kind!r} and answers no requests; name "
            "a service."
        )
    if desk.w.services[at]["due_s"] == 0:
        raise ActionFailed(
            f"{action.kind} {action.target}: it has not begun to answer; order it once it runs."
        )
    return job


def _check_not_starting(desk: Desk, action: Action, job: int) -> None:
    if desk.w.jobs[job]["phase"] == Phase.STARTING:
        raise ActionFailed(
            f"{action.kind} {action.target}: it is already starting; wait until it runs or stops."
        )


KINDS: Mapping[str, Callable[[Desk, Action], None]] = {
    "checkpoint_now": _checkpoint_now,
    "restart_job": _restart_job,
    "rollback_job": _rollback_job,
    "resize_job": _resize_job,
    "tune_job": _tune_job,
    "move_job": _move_job,
    "cancel_job": _cancel_job,
    "scale_service": _scale_service,
    "shift_canary": _shift_canary,
}
