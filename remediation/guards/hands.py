"""Whose hands are on it: a pause, people at work, another owner, another plan, a person's word."""

from fnmatch import fnmatchcase

from core.cluster import OWNER
from core.types import PlanState, Refusal
from remediation.catalogue import CATALOG, Agrees
from remediation.catalogue.subject import job_of, nodes_of
from remediation.catalogue.taken import taken
from remediation.guards.question import GuardContext, Question, all_jobs, all_nodes
from remediation.guards.settings import GuardSettings

# A plan that no person has to decide on may still be proposed to one: what only these guards
# refuse waits for a person's word instead.
ASKS_A_PERSON = frozenset({"agreement", "max_job"})


def paused(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse while acting is paused."""
    if not context.paused:
        return None
    return Refusal("pause", f"{question.not_doing}: acting is paused.", "Run `gpumedic resume`.")


def maintained(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse on nodes where people are at work."""
    found = [
        (window.end_s, node, window.by)
        for window in settings.maintenance
        if window.start_s <= context.now_s < window.end_s
        for node in sorted(all_nodes(question.actions))
        if window.covers(node)
    ]
    if not found:
        return None
    end_s, node, by = max(found)
    return Refusal(
        "maintenance",
        f"{question.not_doing}: {node} is under maintenance by {by}.",
        f"It ends in {end_s - context.now_s:.0f} s.",
        allowed_s=end_s,
    )


def owned(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse on a node that somebody else has taken out: it is theirs to put back.

    A job may be moved off one that the site's own health checks hold; the hold stays theirs.
    """
    held = [
        node
        for action in question.actions
        for name in nodes_of(action)
        if (node := context.state.node(name)) is not None
        and node.owner not in ("", OWNER)
        and not (node.owner in settings.automation and name in taken(action))
    ]
    if not held:
        return None
    node = min(held, key=lambda node: node.name)
    because = f" ({node.reason})" if node.reason else ""
    return Refusal(
        "ownership",
        f"{question.not_doing}: {node.name} is {node.condition} by {node.owner}{because}.",
        f"{node.owner} must return it first.",
    )


def alone(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to touch what another plan is handling now: one thing has one actor.

    Of two that may begin the older comes first.
    """
    plan = question.plan
    nodes, jobs = all_nodes(plan.actions), all_jobs(plan.actions)
    found = []
    for record in context.records:
        other = record.plan
        busy = record.state in (PlanState.ACTING, PlanState.VERIFYING)
        before = (other.made_at_s, other.id) < (plan.made_at_s, plan.id)
        if other.id == plan.id or not (busy or (record.state is PlanState.APPROVED and before)):
            continue
        if shared := (nodes & all_nodes(other.actions)) | (jobs & all_jobs(other.actions)):
            found.append((other.id, str(record.state), min(shared)))
    if not found:
        return None
    other_id, state, what = min(found)
    return Refusal(
        "live_plan",
        f"{question.not_doing}: plan {other_id} ({state}) handles {what}.",
        "Wait until that plan has ended.",
    )


def not_turned_down(question: Question, context: GuardContext, _: GuardSettings) -> Refusal | None:
    """Refuse to repeat what a person turned down or overrode in the same incident."""
    targets = {action.target for action in question.actions}
    found = [
        (record.plan.id, record.decided_by or "a person", str(record.state))
        for record in context.records
        if record.plan.incident_id == question.plan.incident_id
        and record.state in (PlanState.DENIED, PlanState.OVERRIDDEN)
        and targets.intersection(action.target for action in record.plan.actions)
    ]
    if not found:
        return None
    plan_id, who, state = min(found)
    return Refusal(
        "human",
        f"{question.not_doing}: {who} ended plan {plan_id} for the same incident ({state}).",
        "It stays with people until this incident is over.",
    )


def agreed(question: Question, context: GuardContext, settings: GuardSettings) -> Refusal | None:
    """Refuse what needs the word of the job's owner, where nobody has given it."""
    if context.attended:
        return None
    for action in question.actions:
        agreeing = any(fnmatchcase(action.kind, pattern) for pattern in settings.owners_agree)
        if CATALOG[action.kind].agrees is Agrees.OWNER and not agreeing:
            whose = job_of(action) or action.target
            return Refusal(
                "agreement",
                f"{question.not_doing}: {action.kind} needs the word of the owner of {whose}.",
                f'Approve the plan, or put "{action.kind}" into guards.owners_agree and reload.',
            )
    return None


def within_job_size(
    question: Question, context: GuardContext, settings: GuardSettings
) -> Refusal | None:
    """Refuse to stop a large job unless a person decides on it."""
    if context.attended:
        return None
    gpus = len(context.state.topology.gpus)
    shared = int(settings.max_job_share * gpus)
    most = min(settings.max_job_gpus or gpus, shared) if gpus else settings.max_job_gpus
    for action in question.actions:
        job = context.state.job(job_of(action))
        if job is None or not CATALOG[action.kind].stops_job or job.gpus <= most:
            continue
        return Refusal(
            "max_job",
            f"{question.not_doing}: job {job.id} has {job.gpus} of {gpus} GPUs, and no job of more "
            f"than {most} is stopped without a person's word.",
            f"Approve the plan, or raise guards.max_job_gpus (now {settings.max_job_gpus}, 0: any) "
            f"or guards.max_job_share (now {settings.max_job_share:g}) and reload.",
        )
    return None
