"""Turn what happened into notifications and hand them to the outbox, each once."""

from dataclasses import dataclass

import structlog

from agent.notify.outbox import Outbox
from core.clock import Clock
from core.errors import StoreError
from core.ports import Announcement, Notification
from core.types import Diagnosis, Incident, PlanRecord

log = structlog.get_logger()


@dataclass(slots=True)
class Teller:
    """Writes to the outbox before the store, with an id made of what is told.

    A crash between the two tells again under the same id, which receivers take as one.
    """

    outbox: Outbox
    clock: Clock

    async def tell_plan(
        self, announcement: Announcement, record: PlanRecord, incident: Incident
    ) -> None:
        """Queue what became of a plan."""
        steps = ", ".join(f"{action.kind} {action.target}" for action in record.plan.actions)
        summary = f"{str(announcement).replace('.', ' ')}: {steps}"
        if announcement is Announcement.PERSON_PAGED:
            summary = f"please come: {steps}. {record.plan.rationale}"
        await self.tell(announcement, summary, incident=incident, plan=record)

    async def tell(
        self,
        announcement: Announcement,
        summary: str,
        *,
        incident: Incident | None = None,
        diagnosis: Diagnosis | None = None,
        plan: PlanRecord | None = None,
    ) -> None:
        """Queue one notification for every receiver that wants it.

        While the store cannot be written, the outbox holds it in memory: what is told about is
        kept by others, who say so where that fails.
        """
        now_s = self.clock.now_s()
        subject = plan.plan.id if plan else incident.id if incident else "system"
        turn = incident.updated_s if incident else now_s
        if plan or diagnosis:  # either may change while the incident does not
            turn = plan.since_s if plan else diagnosis.made_at_s if diagnosis else turn
        notification = Notification(
            id=f"{subject}.{announcement}.{turn:.3f}",
            announcement=announcement,
            time_s=now_s,
            summary=summary,
            incident=incident,
            diagnosis=diagnosis,
            plan=plan,
        )
        try:
            await self.outbox.enqueue(notification)
        except StoreError as error:
            log.error("message not stored", message=notification.id, problem=str(error))
