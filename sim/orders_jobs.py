"""Orders about jobs: checkpoints, starts, settings and ends."""

from collections.abc import Callable, Mapping

from core.errors import ActionFailed
from core.types import Action
from sim.engine import verbs
from sim.engine.words import JobKind, Phase, Stage
from sim.orders_desk import (
    Desk,
    check_all_may_start,
    check_placed,
    how,
    job_of,
    live_job,
    needed,
    number_of,
)

_MOST_LOADERS = 16.0  # times as many as submitted: beyond, a node's processors are all busy
_LONGEST_S = 7 * 86_400.0
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


def _restart_in_place(desk: Desk, action: Action) -> None:
    """Start a job's processes again in the containers they had."""
    job = job_of(desk, action)
    _check_not_starting(desk, action, job)
    check_placed(desk, action, job)
    check_all_may_start(desk, action, job)
    verbs.restart_in_place(desk.w, job)


def _set_checkpoint_interval(desk: Desk, action: Action) -> None:
    """Let a job that writes checkpoints write them at another interval from now on."""
    job = live_job(desk, action)
    row = desk.w.jobs[job]
    if row["kind"] == JobKind.SERVICE or row["interval_s"] == float("inf"):
        raise ActionFailed(
            f"set_checkpoint_interval {action.target}: it writes no checkpoints; its owner must "
            "let it."
        )
    least_s = max(float(row["save_s"]), 1.0)
    verbs.set_interval(desk.w, job, needed(action, "interval_s", least_s, _LONGEST_S))


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


def _tune_job(desk: Desk, action: Action) -> None:
    """Set loaders, batch, accumulation and cache, each as in the job's specification; others stay.

    A cache is of its new size at once. Processes read the others as they start, so a job that runs
    writes its state and starts anew.
    """
    job = live_job(desk, action)
    row = desk.w.jobs[job]
    if row["kind"] == JobKind.SERVICE:
        raise ActionFailed(
            f"tune_job {action.target}: it is a service, which has no loaders, batch or cache to "
            "set; order scale_service or shift_canary."
        )
    found = {
        "loaders": number_of(action, "loaders", 1 / _MOST_LOADERS, _MOST_LOADERS),
        "batch": number_of(action, "batch", 1 / _MOST_BATCH, _MOST_BATCH),
        "accumulate": number_of(action, "accumulate", 1 / _MOST_BATCH, _MOST_BATCH),
        "cache": number_of(action, "cache", 0.0, 1.0),
    }
    unknown = [n for n, _ in action.params if n not in found and not n.startswith("prior_")]
    named = {name: value for name, value in found.items() if value is not None}
    if unknown or not named:
        said = f"no setting {unknown[0]!r}" if unknown else "no setting is named"
        raise ActionFailed(f"tune_job {action.target}: {said}; name {', '.join(found)}.")
    if row["phase"] == Phase.RUNNING and set(named) != {"cache"}:
        check_all_may_start(desk, action, job)
    sizes = tuple(float(named.get(name, row[name])) for name in found)
    verbs.set_up(desk.w, job, (sizes[0], sizes[1], sizes[2], sizes[3]), bool(row["compressed"]))


def _set_compression(desk: Desk, action: Action) -> None:
    """Let a job of several nodes send its gradients compressed, or not, from a new start on."""
    job = live_job(desk, action)
    row, on = desk.w.jobs[job], action.param("on")
    if not isinstance(on, bool):
        raise ActionFailed(f"set_compression {action.target}: on is {on!r}; give true or false.")
    if row["kind"] == JobKind.SERVICE or not row["gpus"] > desk.w.nodes[0]["gpus"]:
        raise ActionFailed(
            f"set_compression {action.target}: it sends no gradients over the network; name a "
            "training of several nodes."
        )
    if row["phase"] == Phase.RUNNING:
        check_all_may_start(desk, action, job)
    sizes = tuple(float(row[name]) for name in ("loaders", "batch", "accumulate", "cache"))
    verbs.set_up(desk.w, job, (sizes[0], sizes[1], sizes[2], sizes[3]), on)


def _cancel_job(desk: Desk, action: Action) -> None:
    verbs.cancel(desk.w, live_job(desk, action))


def _check_not_starting(desk: Desk, action: Action, job: int) -> None:
    if desk.w.jobs[job]["phase"] == Phase.STARTING:
        raise ActionFailed(
            f"{action.kind} {action.target}: it is already starting; wait until it runs or stops."
        )


KINDS: Mapping[str, Callable[[Desk, Action], None]] = {
    "checkpoint_now": _checkpoint_now,
    "set_checkpoint_interval": _set_checkpoint_interval,
    "restart_in_place": _restart_in_place,
    "restart_job": _restart_job,
    "rollback_job": _rollback_job,
    "tune_job": _tune_job,
    "set_compression": _set_compression,
    "cancel_job": _cancel_job,
}
