"""The HTTP API: what the controller knows as JSON, and the few commands it takes.

Values have the form of ``core.codec``: a field is a key with its unit in its name, times are
seconds since the epoch, a number nobody knows is null.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.command import read_command
from agent.refuse import Refused
from agent.view import Controls, View
from core.cluster import NodeCondition
from core.codec import to_json
from core.errors import InputError
from core.types import Incident, IncidentState, PlanRecord, PlanState
from rca.explain import explain
from remediation.deciding import decided

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Api:
    """The routes under ``/v1``; ``token`` is what a command must bring."""

    controls: Controls
    token: str

    def routes(self) -> list[Route]:
        """Return the API's routes."""
        questions: Mapping[str, Handler] = {
            "/v1/status": self.status,
            "/v1/incidents": self.incidents,
            "/v1/incidents/{id:path}/deep": self.deep,
            "/v1/incidents/{id:path}/path": self.path,
            "/v1/incidents/{id:path}": self.incident,
            "/v1/forecasts": self.forecasts,
            "/v1/energy": self.energy,
            "/v1/learned": self.learned,
            "/v1/plans": self.plans,
            "/v1/plans/{id:path}": self.plan,
        }
        commands: Mapping[str, Handler] = {
            "/v1/plans/{id:path}/approve": self.approve,
            "/v1/plans/{id:path}/deny": self.deny,
            "/v1/plans/{id:path}/acknowledge": self.acknowledge,
            "/v1/pause": self.pause,
            "/v1/resume": self.resume,
        }
        return [
            *(Route(path, handler, methods=["GET"]) for path, handler in questions.items()),
            *(Route(path, handler, methods=["POST"]) for path, handler in commands.items()),
        ]

    async def status(self, request: Request) -> Response:
        """Answer how things stand."""
        return JSONResponse(status_of(self.controls.view()))

    async def incidents(self, request: Request) -> Response:
        """Answer the incidents, newest first; ``?open=true`` leaves out the resolved ones."""
        wanted = request.query_params.get("open", "").lower()
        if wanted not in ("", "true", "false", "1", "0"):
            error = f"The query has open={wanted[:20]!r}."
            raise Refused(400, "input", error, "Ask with open=true or open=false.")
        found = sorted(self.controls.view().incidents, key=lambda each: -each.opened_s)
        if wanted in ("true", "1"):
            found = [each for each in found if each.state is IncidentState.OPEN]
        if wanted in ("false", "0"):
            found = [each for each in found if each.state is IncidentState.RESOLVED]
        return JSONResponse({"incidents": to_json(found)})

    async def incident(self, request: Request) -> Response:
        """Answer one incident with its diagnosis, that in words, plans and history."""
        view = self.controls.view()
        incident = find_incident(view, request.path_params["id"])
        diagnosis = view.diagnoses.get(incident.id)
        said = diagnosis and explain(incident, diagnosis, view.state, experience=view.experience)
        return JSONResponse(
            {
                "incident": to_json(incident),
                "diagnosis": diagnosis and to_json(diagnosis),
                "explanation": said and to_json(said),
                "plans": [to_json(each) for each in plans_of(view, incident.id)],
                "timeline": [
                    {**to_json(line), "words": decided.in_words(line)}
                    for line in await self.controls.timeline(incident.id)
                ],
            }
        )

    async def deep(self, request: Request) -> Response:
        """Answer what DoWhy says of an incident; seconds to minutes, and worker memory."""
        incident = find_incident(self.controls.view(), request.path_params["id"])
        try:
            found = await self.controls.deep(incident.id)
        except InputError as error:
            raise Refused(422, error.code, str(error), "") from None
        return JSONResponse({"incident": incident.id, **to_json(found)})

    async def path(self, request: Request) -> Response:
        """Answer the readings from the likeliest cause to the symptom, each with its band."""
        incident = find_incident(self.controls.view(), request.path_params["id"])
        try:
            hops = await self.controls.path(incident.id)
        except InputError as error:
            raise Refused(422, error.code, str(error), "") from None
        return JSONResponse({"incident": incident.id, "hops": to_json(hops)})

    async def forecasts(self, request: Request) -> Response:
        """Answer the forecasts that are shown, each with its recent history, and GPUs wanted."""
        view = self.controls.view()
        return JSONResponse(
            {
                "forecasts": [to_json(each) for each in view.forecasts],
                "demand": view.demand and to_json(view.demand),
            }
        )

    async def energy(self, request: Request) -> Response:
        """Answer what each job has used and costs, and what would take less, most first."""
        return JSONResponse({"jobs": to_json(list(self.controls.view().energy.values()))})

    async def learned(self, request: Request) -> Response:
        """Answer what the outcomes of plans have taught of each fault on this fleet."""
        return JSONResponse({"learned": to_json(self.controls.view().learned)})

    async def plans(self, request: Request) -> Response:
        """Answer the plans, newest first."""
        found = sorted(self.controls.view().plans, key=lambda each: -each.plan.made_at_s)
        return JSONResponse({"plans": to_json(found)})

    async def plan(self, request: Request) -> Response:
        """Answer one plan."""
        plan = find_plan(self.controls.view(), request.path_params["id"])
        return JSONResponse({"plan": to_json(plan)})

    async def approve(self, request: Request) -> Response:
        """Let a proposed plan run."""
        command = await read_command(request, self.token, "by")
        plan_id = find_plan(self.controls.view(), request.path_params["id"]).plan.id
        record = await _decided(self.controls.approve(plan_id, by=command.text("by")))
        return JSONResponse({"plan": to_json(record)})

    async def deny(self, request: Request) -> Response:
        """Turn a proposed plan down."""
        command = await read_command(request, self.token, "by", "because")
        plan_id = find_plan(self.controls.view(), request.path_params["id"]).plan.id
        by, because = command.text("by"), command.text("because", default="")
        record = await _decided(self.controls.deny(plan_id, by=by, because=because))
        return JSONResponse({"plan": to_json(record)})

    async def acknowledge(self, request: Request) -> Response:
        """Note that a person who was called has taken over."""
        command = await read_command(request, self.token, "by")
        plan_id = find_plan(self.controls.view(), request.path_params["id"]).plan.id
        record = await _decided(self.controls.acknowledge(plan_id, by=command.text("by")))
        return JSONResponse({"plan": to_json(record)})

    async def pause(self, request: Request) -> Response:
        """Stop acting, for a time or until resumed."""
        command = await read_command(request, self.token, "by", "because", "for_s")
        by, because = command.text("by"), command.text("because", default="")
        await self.controls.pause(by=by, because=because, for_s=command.seconds("for_s"))
        pause = self.controls.view().pause
        return JSONResponse({"pause": pause and to_json(pause)})

    async def resume(self, request: Request) -> Response:
        """Act again."""
        command = await read_command(request, self.token, "by")
        await self.controls.resume(by=command.text("by"))
        pause = self.controls.view().pause
        return JSONResponse({"pause": pause and to_json(pause)})


def status_of(view: View) -> dict[str, Any]:
    """Return a view without its long parts: a source that is down has lag null."""
    state = view.state
    return {
        "version": view.version,
        "cluster": view.cluster,
        "made_at_s": view.made_at_s,
        "sentence": view.sentence,
        "pause": view.pause and to_json(view.pause),
        "nodes_out": view.nodes_out,
        "nodes_out_limit": view.nodes_out_limit,
        "goodput_ratio": view.goodput_ratio,
        "series": view.series,
        "learning": view.learning,
        "sources": {
            name: None if math.isnan(lag_s) else lag_s for name, lag_s in view.sources.items()
        },
        "problems": to_json(list(view.problems)),
        "incidents_open": sum(each.state is IncidentState.OPEN for each in view.incidents),
        "plans_waiting": sum(each.state is PlanState.PROPOSED for each in view.plans),
        "nodes_ready": sum(n.condition is NodeCondition.READY for n in state.nodes) if state else 0,
        "nodes": to_json(list(state.nodes)) if state else [],
        "jobs": to_json(list(state.jobs)) if state else [],
    }


def find_incident(view: View, incident_id: str) -> Incident:
    """Return the incident of that id; Refused with 404 where the view has none."""
    for incident in view.incidents:
        if incident.id == incident_id:
            return incident
    error = f"There is no incident {incident_id[:80]!r} among the {len(view.incidents)} newest."
    raise Refused(404, "not_found", error, "GET /v1/incidents lists them.")


def find_plan(view: View, plan_id: str) -> PlanRecord:
    """Return the plan of that id; Refused with 404 where the view has none."""
    for record in view.plans:
        if record.plan.id == plan_id:
            return record
    error = f"There is no plan {plan_id[:80]!r} among the {len(view.plans)} newest."
    raise Refused(404, "not_found", error, "GET /v1/plans lists them.")


def plans_of(view: View, incident_id: str) -> tuple[PlanRecord, ...]:
    """Return an incident's plans, newest first."""
    found = (record for record in view.plans if record.plan.incident_id == incident_id)
    return tuple(sorted(found, key=lambda record: -record.plan.made_at_s))


async def _decided(decision: Awaitable[PlanRecord]) -> PlanRecord:
    try:
        return await decision
    except Refused:
        raise
    except InputError as error:
        raise Refused(409, "conflict", str(error), "GET /v1/plans shows where it stands.") from None
