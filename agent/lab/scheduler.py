"""The scheduler of a simulated cluster over HTTP: how the cluster is, and orders to it."""

import json
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.access import holds_token
from agent.refuse import Refused, limited_body, refuse
from core.codec import from_json, to_json
from core.errors import ActionFailed, InputError
from core.types import Action
from sim.port import SimulatedCluster

MAX_BODY = 1 << 16
BODY_DEADLINE_S = 10.0
FAILED = "action_failed"


@dataclass(frozen=True, slots=True)
class SchedulerApi:
    """``/scheduler/v1``: ``state`` for everyone, ``actions`` for who brings the token.

    An order is answered when it was taken (200) or was not (409), after the site's delay; one with
    a key that was taken does nothing again, so a call that broke off is simply made once more.
    """

    cluster: SimulatedCluster
    token: str

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/scheduler/v1/state", self._state),
            Route("/scheduler/v1/actions", self._act, methods=["POST"]),
        ]

    async def _state(self, request: Request) -> Response:
        return JSONResponse(to_json(await self.cluster.state()))

    async def _act(self, request: Request) -> Response:
        if not holds_token(request, (self.token,)):
            return refuse(
                401, "token", "An order needs the token.", "Send it as Authorization: Bearer TOKEN."
            )
        try:
            body = await limited_body(request, MAX_BODY, deadline_s=BODY_DEADLINE_S)
            action = from_json(Action, json.loads(body))
        except Refused as error:
            return error.answer()
        except (InputError, ValueError, RecursionError) as error:
            remedy = "Send an action as core.codec writes it."
            return refuse(400, "input", f"The order cannot be read: {str(error)[:300]}", remedy)
        try:
            await self.cluster.perform(action)
        except ActionFailed as error:
            return refuse(409, FAILED, str(error), "Look at the state again.")
        return JSONResponse({"taken": action.key})
