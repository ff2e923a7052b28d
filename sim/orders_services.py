"""Orders to services: replicas, batches, the newest version's share, the cache."""

from collections.abc import Callable, Mapping

from core.errors import ActionFailed
from core.types import Action
from sim.engine import verbs
from sim.engine.words import NONE, JobKind
from sim.orders_desk import Desk, count_of, live_job, needed

_MOST_BATCH = 1024.0
_MOST_CACHE = 0.8  # share of the memory: the rest holds the requests of a batch


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


def _set_service_batch(desk: Desk, action: Action) -> None:
    """Let so many requests be answered together at most."""
    job = _service_of(desk, action)
    cache = float(desk.w.services[desk.w.jobs[job]["service"]]["cache"])
    verbs.set_service(desk.w, job, needed(action, "batch", 1.0, _MOST_BATCH), cache)


def _set_cache(desk: Desk, action: Action) -> None:
    """Let so large a share of the memory keep answered prompts."""
    job = _service_of(desk, action)
    batch = float(desk.w.services[desk.w.jobs[job]["service"]]["batch"])
    verbs.set_service(desk.w, job, batch, needed(action, "cache", 0.0, _MOST_CACHE))


KINDS: Mapping[str, Callable[[Desk, Action], None]] = {
    "scale_service": _scale_service,
    "set_service_batch": _set_service_batch,
    "set_cache": _set_cache,
    "shift_canary": _shift_canary,
}
