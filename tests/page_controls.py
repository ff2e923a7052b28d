"""A controller for tests of the page and the API: it shows a view, and keeps what it is told."""

from dataclasses import dataclass, field, replace
from typing import Any

from agent.view import Pause, View
from core.errors import InputError
from core.types import (
    JournalEntry,
    PlanRecord,
    PlanState,
)
from rca.hops import HopSeries
from rca.reference.change import ChangeShares
from rca.reference.gcm import Attribution
from rca.reference.questions import Answers
from rca.reference.what_if import WhatIf
from tests.diagnoses import hops
from tests.page_views import NOW_S, busy_view


@dataclass
class FakeControls:
    """A controller that shows one view and writes down what it was told."""

    shown: View = field(default_factory=busy_view)
    told: list[tuple[object, ...]] = field(default_factory=list)
    deep_fails: str = ""

    def view(self) -> View:
        return self.shown

    async def timeline(self, incident_id: str) -> tuple[JournalEntry, ...]:
        return tuple(self.shown.timelines.get(incident_id, ()))

    async def deep(self, incident_id: str) -> Answers:
        if self.deep_fails:
            return Answers(None, None, None, (self.deep_fails,))
        names = (f"job_step_time_s of {incident_id}", "gpu_sm_clock_hz of GPU-8")
        return Answers(
            attribution=Attribution(names, (2.5, -0.1), "fake attribution"),
            what_if=WhatIf(names[1:], 3.0, 2.0, (2.2,), (2.1,), "fake counterfactual"),
            change=ChangeShares(names, (0.25, 0.75), 1.0, "fake change"),
            own=Attribution(names, (2.75, 0.0), "fake closed form"),
        )

    async def path(self, incident_id: str) -> tuple[HopSeries, ...]:
        if incident_id not in self.shown.diagnoses:
            raise InputError(f"Following incident {incident_id}: no path is known.")
        return hops()

    async def approve(self, plan_id: str, *, by: str) -> PlanRecord:
        record = next(each for each in self.shown.plans if each.plan.id == plan_id)
        if record.state is not PlanState.PROPOSED:
            raise InputError(f"Approving {plan_id}: it is {record.state} already.")
        self.told.append(("approve", plan_id, by))
        return replace(record, state=PlanState.APPROVED, decided_by=by)

    async def deny(self, plan_id: str, *, by: str, because: str) -> PlanRecord:
        record = next(each for each in self.shown.plans if each.plan.id == plan_id)
        self.told.append(("deny", plan_id, by, because))
        return replace(record, state=PlanState.DENIED, decided_by=by)

    async def acknowledge(self, plan_id: str, *, by: str) -> PlanRecord:
        record = next(each for each in self.shown.plans if each.plan.id == plan_id)
        self.told.append(("acknowledge", plan_id, by))
        return replace(record, state=PlanState.OVERRIDDEN, decided_by=by)

    async def pause(self, *, by: str, because: str, for_s: float | None) -> None:
        until_s = None if for_s is None else NOW_S + for_s
        self.shown = replace(self.shown, pause=Pause(by, because, NOW_S, until_s))

    async def resume(self, *, by: str) -> None:
        self.told.append(("resume", by))
        self.shown = replace(self.shown, pause=None)

    async def take_alerts(self, firing: Any, resolved: Any) -> None:
        self.told += [("event", event) for event in firing.values()]
