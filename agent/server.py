"""The HTTP server: health, metrics, the API, alerts in, and the page, in the controller's loop."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.access import host_is_ours
from agent.api import Api
from agent.inbound import Inbound
from agent.messages import Messages
from agent.notify.outbox import Outbox
from agent.page import Page
from agent.refuse import Refused, refuse
from agent.view import Controls
from core.clock import Clock
from core.errors import ActionRefused, GpumedicError, InputError

log = structlog.get_logger()

MetricsPage = Callable[[str], tuple[bytes, str]]
Ready = Callable[[], Sequence[str]]

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """token: what commands bring; names: host names that this server is reached by."""

    token: str
    names: tuple[str, ...] = ()


def build_app(
    controls: Controls,
    *,
    metrics_page: MetricsPage,
    ready: Ready,
    settings: ServerSettings,
    clock: Clock,
    inbound: Inbound | None = None,
    outbox: Outbox | None = None,
) -> Starlette:
    """Return the application.

    metrics_page: Accept header -> the page and its content type
    ready:        what is missing before this controller is of use; empty when it is ready
    inbound:      takes ``POST /v1/alerts``; None: that path does not exist
    outbox:       what ``/v1/messages`` shows and sends again; None: that path does not exist
    """

    async def metrics(request: Request) -> Response:
        body, content_type = metrics_page(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def readyz(request: Request) -> Response:
        missing = list(ready())
        return JSONResponse(
            {"ready": not missing, "missing": missing}, status_code=503 if missing else 200
        )

    routes = [
        Route("/healthz", _healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        *([Route("/v1/alerts", inbound.__call__, methods=["POST"])] if inbound else []),
        *(Messages(outbox, settings.token).routes() if outbox else []),
        *Api(controls, settings.token).routes(),
        *Page(controls, clock).routes(),
    ]
    names = tuple(name.rstrip(".").lower() for name in (*settings.names, socket.gethostname()))
    return Starlette(
        routes=routes,
        middleware=[Middleware(_Guard, names=names)],
        exception_handlers={
            HTTPException: _http_error,
            GpumedicError: _our_error,
            Exception: _unknown_error,
        },
    )


class _Guard:
    """Turns away names that are not ours, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = Request(scope).headers.get("host", "")
        if host_is_ours(host, self._names):
            await self._app(scope, receive, send_guarded)
            return
        answer = refuse(
            421,
            "host",
            f"This server is not known as {host[:80]!r}.",
            "Use its address, or add the name to server.names.",
        )
        await answer(scope, receive, send_guarded)


async def _healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if request.url.path.startswith(("/v1/", "/metrics", "/healthz", "/readyz")):
        what = f"{request.method} {request.url.path[:80]}"
        detail = {404: "There is no such path.", 405: "The path takes another method."}
        found = detail.get(status, f"The request was refused with {status}.")
        answer: Response = refuse(status, "http", f"{what}: {found}", "See the API's reference.")
    else:
        answer = Page.error(status, "There is nothing at this address.")
    if isinstance(error, HTTPException):
        answer.headers.update(error.headers or {})
    return answer


async def _our_error(request: Request, error: Exception) -> Response:
    if isinstance(error, Refused) and not request.url.path.startswith("/v1/"):
        return Page.error(error.status, str(error))
    match error:
        case Refused():
            return error.answer()
        case ActionRefused():
            return refuse(409, error.guard, error.reason, error.remedy)
        case InputError():
            return refuse(400, error.code, str(error), "Correct the request and send it again.")
        case GpumedicError():
            return refuse(503, error.code, str(error), "Try again later; the log says more.")
    raise error


async def _unknown_error(request: Request, error: Exception) -> Response:
    """Say as little as possible: what broke is in the log, not in the answer."""
    log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
    error_text = "The request met an error of gpumedic's own."
    answer = refuse(500, "internal", error_text, "The log says more.")
    answer.headers.update(SECURITY_HEADERS)  # this answer does not pass the guard
    return answer
