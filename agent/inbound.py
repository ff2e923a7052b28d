"""``POST /v1/alerts``: take alerts in, each once, and only from who may send them."""

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from agent.access import holds_token
from agent.alerts import Alert, AlertKey, parse
from agent.database import Database
from agent.notify.signing import SIGNATURE_HEADER, SignatureRefused, verify
from agent.refuse import Refused, limited_body
from core.clock import Clock
from core.errors import InputError
from core.types import Event

# Events by fingerprint of what fires, and the fingerprints of what has ended.
TakeAlerts = Callable[[Mapping[str, Event], Sequence[str]], Awaitable[None]]

# Alertmanager repeats a firing alert every 4 h by default; a month is far beyond any repeat.
FORGET_AFTER_S = 30 * 86400.0
_KNOWN_CLIENTS = 1024
_SHOWN_ERRORS = 20
# Refusals that the metric tells apart; the others are malformed.
_OUTCOMES = {code: code for code in ("unsigned", "too_large", "rate_limited")}


@dataclass(frozen=True, slots=True)
class InboundSettings:
    """secrets: any of them lets a sender in; empty: everybody may send.

    max_body: bytes; per_minute: messages one address may send, in bursts of as many
    """

    secrets: tuple[str, ...] = ()
    max_body: int = 5 * 2**20
    per_minute: int = 600
    body_deadline_s: float = 30.0


class Inbound:
    """Checks, reads, de-duplicates and hands on; every answer says what came of it.

    counted: called with accepted, duplicate, malformed, unsigned, too_large or rate_limited
    """

    def __init__(
        self,
        database: Database,
        take: TakeAlerts,
        *,
        clock: Clock,
        settings: InboundSettings,
        counted: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._database = database
        self._take = take
        self._clock = clock
        self._settings = settings
        self._counted = counted
        self._rate = RateLimit(settings.per_minute, clock)
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, request: Request) -> Response:
        """Answer one delivery: 202 with counts, or why not."""
        try:
            counts, errors = await self._receive(request)
        except Refused as error:
            self._counted(_OUTCOMES.get(error.code, "malformed"))
            return error.answer()
        self._counted("accepted" if counts["new"] or not counts["duplicate"] else "duplicate")
        return JSONResponse(
            {**counts, "refused": len(errors), "errors": errors[:_SHOWN_ERRORS]}, status_code=202
        )

    async def _receive(self, request: Request) -> tuple[dict[str, int], tuple[str, ...]]:
        self._check_rate(request)
        self._check_type(request)
        self._check_bearer(request)
        settings = self._settings
        body = await limited_body(request, settings.max_body, deadline_s=settings.body_deadline_s)
        self._check_signature(request, body)
        try:
            parsed = parse(body, self._clock.now_s())
        except InputError as error:
            remedy = "Point the sender's webhook here as it is, or correct what it sends."
            raise Refused(400, "malformed", str(error), remedy) from None
        return await self._accept(parsed.alerts), parsed.errors

    async def prune(self) -> int:
        """Forget deliveries that nobody repeats any more; returns how many."""
        before_s = self._clock.now_s() - FORGET_AFTER_S
        return await self._database.run(
            lambda db: db.execute("DELETE FROM inbox WHERE received_s < ?", (before_s,)).rowcount
        )

    def _check_rate(self, request: Request) -> None:
        client = request.client.host if request.client else ""
        if not self._rate.allows(client):
            error = f"More than {self._settings.per_minute} messages a minute came from {client}."
            raise Refused(429, "rate_limited", error, "Group alerts in the sender.")

    def _check_type(self, request: Request) -> None:
        found = request.headers.get("content-type", "none")
        if found.partition(";")[0].strip().lower() != "application/json":
            error = f"The content type is {found:.80}."
            raise Refused(415, "content_type", error, "Send application/json.")

    def _check_bearer(self, request: Request) -> None:
        """Turn away who brings neither a signature nor the secret, before reading the body."""
        if not self._settings.secrets or SIGNATURE_HEADER in request.headers:
            return
        if not holds_token(request, self._settings.secrets):
            found = "an Authorization header that does not fit"
            if "authorization" not in request.headers:
                found = f"neither {SIGNATURE_HEADER} nor Authorization"
            raise Refused(401, "unsigned", f"Who sends these alerts? Found {found}.", _SIGN)

    def _check_signature(self, request: Request, body: bytes) -> None:
        if not self._settings.secrets or SIGNATURE_HEADER not in request.headers:
            return
        try:
            now_s = self._clock.now_s()
            verify(request.headers, body, secrets=self._settings.secrets, now_s=now_s)
        except SignatureRefused as error:
            raise Refused(401, "unsigned", str(error), _SIGN) from None

    async def _accept(self, alerts: Sequence[Alert]) -> dict[str, int]:
        """Hand on what fires and what has ended, then remember all.

        In that order: a crash between the two lets the sender repeat what nobody has lost. A
        repeated alert is handed on again, which says that it still fires.
        """
        async with self._one_at_a_time:
            keys = {alert.key: alert for alert in alerts}
            known = await self._database.run(lambda db: _known(db, keys))
            new = [alert for key, alert in keys.items() if key not in known]
            firing = {k.fingerprint: a.event for k, a in keys.items() if a.firing and not a.own}
            ended = [key.fingerprint for key, alert in keys.items() if not alert.firing]
            if firing or ended:
                await self._take(firing, ended)
            now_s = self._clock.now_s()
            await self._database.run(lambda db: _remember(db, keys, now_s))
        return {
            "received": len(alerts),
            "new": sum(alert.firing and not alert.own for alert in new),
            "duplicate": len(alerts) - len(new),
            "resolved": sum(not alert.firing for alert in new),
            "own": sum(alert.firing and alert.own for alert in new),
        }


class RateLimit:
    """A bucket of tokens per client that fills at an even rate; the oldest clients are dropped."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, client: str) -> bool:
        """Take a token of the client's, or say no."""
        now_s = self._clock.monotonic_s()
        tokens, since_s = self._buckets.pop(client, (float(self._per_minute), now_s))
        tokens = min(self._per_minute, tokens + (now_s - since_s) * self._per_minute / 60)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now_s)
        if len(self._buckets) > _KNOWN_CLIENTS:
            self._buckets.popitem(last=False)
        return allowed


_SIGN = (
    "Sign per Standard Webhooks, or send Authorization: Bearer with the same secret "
    "(Alertmanager: http_config.authorization.credentials_file)."
)


def _known(db: sqlite3.Connection, keys: Iterable[AlertKey]) -> set[AlertKey]:
    return {
        key
        for key in keys
        if db.execute(
            "SELECT 1 FROM inbox WHERE group_key = ? AND fingerprint = ? AND starts_at = ? "
            "AND status = ?",
            (key.group_key, key.fingerprint, key.starts_at, key.status),
        ).fetchone()
    }


def _remember(db: sqlite3.Connection, keys: Iterable[AlertKey], now_s: float) -> None:
    """Note the alerts; one that is repeated stays remembered from its last delivery on."""
    db.executemany(
        "INSERT INTO inbox VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET received_s = "
        "excluded.received_s",
        [(key.group_key, key.fingerprint, key.starts_at, key.status, now_s) for key in keys],
    )
