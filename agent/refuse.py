"""How the server says no: one form of error, and a body that never grows beyond its bound."""

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from core.errors import InputError

RETRY_S = 5  # when a sender may come again after "too many" or "the store is away"


class Refused(InputError):
    """A request is turned down: ``status`` is HTTP's, ``remedy`` says what would be accepted."""

    def __init__(self, status: int, code: str, error: str, remedy: str) -> None:
        super().__init__(error)
        self.status, self.code, self.remedy = status, code, remedy

    def answer(self) -> JSONResponse:
        """Return the refusal as the server sends it."""
        return refuse(self.status, self.code, str(self), self.remedy)


def refuse(status: int, code: str, error: str, remedy: str) -> JSONResponse:
    """Return an error: ``code`` for machines, ``error`` what was found, ``remedy`` what helps."""
    headers = {"retry-after": str(RETRY_S)} if status in (429, 503) else None
    content = {"code": code, "error": error, "remedy": remedy}
    return JSONResponse(content, status_code=status, headers=headers)


async def limited_body(request: Request, limit: int, *, deadline_s: float) -> bytes:
    """Read a body of at most ``limit`` bytes; Refused with 413 once more is announced or comes.

    Refused with 408 where it takes longer than the deadline: a sender that dribbles or breaks off
    holds nothing up.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(int(announced[:20]), limit)
    pieces, size = [], 0
    try:
        async with asyncio.timeout(deadline_s):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise _too_large(size, limit)
                pieces.append(piece)
    except (TimeoutError, ClientDisconnect):
        error = f"Only {size} bytes of the body came within {deadline_s:g} s."
        raise Refused(408, "incomplete", error, "Send it again.") from None
    return b"".join(pieces)


def _too_large(found: int, limit: int) -> Refused:
    error = f"The body has {found} bytes or more; at most {limit} are accepted."
    return Refused(413, "too_large", error, "Send less at once, or raise server.max_body.")
