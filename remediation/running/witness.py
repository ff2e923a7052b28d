"""What a cluster has mended by itself, as a plan: journaled, verified, and not done again."""

from core.ports import Announcement
from core.types import (
    Autonomy,
    Cause,
    Diagnosis,
    Incident,
    Mended,
    Outcome,
    OutcomeStatus,
    Plan,
    PlanRecord,
    PlanState,
)
from remediation.catalogue import CATALOG, make
from remediation.running.course import PRIOR_OUT
from remediation.running.ledger import Ledger
from remediation.running.witnessed import WITNESS

_LIFE_S = 3600.0


def incident_of(mended: Mended, incidents: tuple[Incident, ...]) -> Incident | None:
    """Return the newest open incident about what was mended, None where there is none yet."""
    mine = [
        incident
        for incident in incidents
        if incident.resolved_s is None
        and (mended.about in incident.targets or mended.job in incident.jobs)
    ]
    return max(mine, key=lambda incident: incident.opened_s, default=None)


async def witness(
    mended: Mended, incident: Incident, diagnosis: Diagnosis, ledger: Ledger, *, plan_id: str
) -> PlanRecord:
    """Write down what was done, to be verified like a plan of our own.

    A node that it took out was out already: it had failed, and whoever returns it may.
    """
    params = dict(mended.params)
    if CATALOG[mended.kind].takes_out:
        params[PRIOR_OUT] = True
    action = make(mended.kind, mended.target, params, plan_id=plan_id, step=0)
    first = diagnosis.causes[0] if diagnosis.causes else None
    plan = Plan(
        id=plan_id,
        incident_id=incident.id,
        made_at_s=mended.started_s,
        expires_s=mended.ended_s + _LIFE_S,
        cause=first or Cause(mended.about, "unknown", diagnosis.unknown),
        actions=(action,),
        rationale=f"{mended.by} did it before anybody was asked: {mended.text}.",
        lost_gpu_s_with=0.0,
        lost_gpu_s_without=0.0,
        policy=WITNESS,
        policy_version="1",
    )
    took_s = mended.ended_s - mended.started_s
    done = f"{mended.by} did it in {took_s:.2f} s"
    outcome = Outcome(action, OutcomeStatus.SUCCEEDED, mended.started_s, mended.ended_s, done)
    record = PlanRecord(
        plan,
        PlanState.VERIFYING,
        Autonomy.AUTO,
        since_s=mended.ended_s,
        step=1,
        decided_by=mended.by,
        outcomes=(outcome,),
    )
    text = f"{mended.kind} {mended.target}: done by {mended.by}; {mended.text}"
    await ledger.write(record, incident, text, Announcement.ACTION_SUCCEEDED)
    return record
