"""Planned work on nodes that jobs have: the jobs leave in order before it begins.

Where enough others are free, the nodes are drained; where not, the job goes on to the end and its
state is saved shortly before.
"""

from collections.abc import Iterable

from core.cluster import JobPhase, JobState, NodeCondition
from core.target import Target
from remediation.capacity.look import Need, NewId, Outlook
from remediation.catalogue import CHECKPOINT_NOW, DRAIN, first_obstacle, make
from remediation.catalogue.asked import jobs_on
from remediation.catalogue.costs import restart_s
from remediation.catalogue.subject import gpus_on
from remediation.guards import Maintenance

PLANNED = "planned_work"
# So long before the work begins a job leaves. Shorter than what was taken stays taken
# (running.duties): a node must not come back just before people take it.
LEAD_S = 1500.0
# A job that has nowhere to go is saved so long before: a save takes 300 s at most.
SAVE_S = 600.0


def planned_work(look: Outlook, new_id: NewId) -> Iterable[Need]:
    """Yield what is to be done for each job on nodes that people are about to work on."""
    for window in sorted(look.wishes.windows, key=lambda window: window.start_s):
        left_s = window.start_s - look.now_s
        if not 0 < left_s <= LEAD_S:
            continue
        for job in look.state.jobs:
            names = tuple(name for name in job.nodes if window.covers(name))
            if job.phase is JobPhase.RUNNING and names:
                need = _need(job, names, window, look, new_id())
                if need is not None:
                    yield need


def _need(
    job: JobState, names: tuple[str, ...], window: Maintenance, look: Outlook, plan_id: str
) -> Need | None:
    left_s, state = window.start_s - look.now_s, look.state
    others = sum(
        node.condition is NodeCondition.READY
        and not jobs_on(state, node.name)
        and not any(each.covers(node.name) for each in look.wishes.windows)
        and gpus_on(state, node.name) == gpus_on(state, names[0])
        for node in state.nodes
    )
    if others >= len(names):
        why = {"reason": f"{window.by} work on it soon"}
        steps = [(DRAIN, Target(node=name), why) for name in names]
        does = "the job goes to others meanwhile"
    elif left_s <= SAVE_S and job.service is None:
        steps = [(CHECKPOINT_NOW, Target(job=job.id), {})]
        does = f"{others} others are free, so it runs on until then and its state is saved"
    else:
        return None
    actions = tuple(
        make(kind, target, params, plan_id=plan_id, step=number)
        for number, (kind, target, params) in enumerate(steps)
    )
    if first_obstacle(actions, state) is not None:
        return None
    unsaved_s = window.start_s - (job.since_s if job.checkpoint_s is None else job.checkpoint_s)
    return Need(
        plan_id=plan_id,
        fault=PLANNED,
        target=Target(job=job.id),
        title=f"job {job.id} runs where {window.by} will work",
        actions=actions,
        reason=(
            f"{window.by} work on {', '.join(names)} in {left_s / 60:.0f} min, which job {job.id} "
            f"has: {does}."
        ),
        saved_gpu_s=job.gpus * (max(unsaved_s, 0.0) + restart_s(job.gpus)),
    )
