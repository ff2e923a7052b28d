"""The outbox over HTTP: what waits, what was given up, and sending it again."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agent.command import read_command
from agent.notify.outbox import Outbox
from agent.notify.outbox_rows import Message
from agent.refuse import Refused
from core.errors import InputError

MAX_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Messages:
    """The routes under ``/v1/messages``; ``token`` is what a redelivery must bring."""

    outbox: Outbox
    token: str

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/messages", self.pending, methods=["GET"]),
            Route("/v1/messages/failed", self.failed, methods=["GET"]),
            Route("/v1/messages/redeliver", self.redeliver, methods=["POST"]),
        ]

    async def pending(self, request: Request) -> Response:
        """Answer the messages that wait, oldest first, and the receivers that are disabled."""
        messages = await self.outbox.pending()
        disabled = await self.outbox.disabled()
        return JSONResponse({**_shown(messages), "disabled": list(disabled)})

    async def failed(self, request: Request) -> Response:
        """Answer the messages that were given up, oldest first."""
        return JSONResponse(_shown(await self.outbox.failed()))

    async def redeliver(self, request: Request) -> Response:
        """Queue one message that was given up again, or all of them."""
        command = await read_command(request, self.token, "message")
        try:
            queued = await self.outbox.redeliver(command.number("message"))
        except Refused:
            raise
        except InputError as error:
            remedy = "GET /v1/messages/failed lists them."
            raise Refused(404, "not_found", str(error), remedy) from None
        return JSONResponse({"queued": queued})


def _shown(messages: tuple[Message, ...]) -> dict[str, Any]:
    """Return messages without their bodies, which may be long; ``count`` is of all of them."""
    return {
        "count": len(messages),
        "messages": [
            {
                "id": message.number,
                "message_id": message.message_id,
                "receiver": message.receiver,
                "sequence_key": message.sequence_key,
                "announcement": message.announcement,
                "state": message.state,
                "attempts": message.attempts,
                "next_try_s": message.next_try_s,
                "created_s": message.created_s,
                "last_text": message.last_text,
            }
            for message in messages[:MAX_SHOWN]
        ],
    }
