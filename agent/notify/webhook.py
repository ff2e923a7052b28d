"""A receiver of webhooks: any URL, each message signed where a secret is set."""

from dataclasses import dataclass

from agent.notify.envelope import Sender
from agent.notify.envelope import body as envelope_body
from agent.notify.post import Address, post
from agent.notify.signing import sign
from core.clock import Clock
from core.ports import Announcement, Delivery, Notification

USER_AGENT = "gpumedic"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """One receiver.

    secrets:       ``whsec_...``; while one replaces another both stand here, and both sign
    announcements: what it wants to hear of; empty: everything
    """

    name: str
    address: Address
    secrets: tuple[str, ...] = ()
    announcements: frozenset[Announcement] = frozenset()


class Webhook:
    """Posts the envelope, signed per Standard Webhooks, with the message's id as its key.

    It tells in every autonomy mode: a message changes nothing in the cluster.
    """

    def __init__(self, settings: WebhookSettings, *, sender: Sender, clock: Clock) -> None:
        self.name = settings.name
        self._settings = settings
        self._sender = sender
        self._clock = clock
        sign(b"", message_id="check", now_s=0.0, secrets=settings.secrets)  # ConfigError now

    def render(self, notification: Notification) -> bytes | None:
        """Return the body to keep and send, or None when this receiver does not want it.

        A test message is always wanted.
        """
        wanted = self._settings.announcements
        is_test = notification.announcement is Announcement.TEST
        if wanted and not is_test and notification.announcement not in wanted:
            return None
        return envelope_body(notification, self._sender, receiver=self.name)

    async def deliver(self, message_id: str, body: bytes) -> Delivery:
        """Try once; the id is the same on every try, the signature's time is of this one."""
        now_s = self._clock.now_s()
        headers = {"content-type": "application/json", "user-agent": USER_AGENT}
        if secrets := self._settings.secrets:
            headers |= sign(body, message_id=message_id, now_s=now_s, secrets=secrets)
        else:
            headers["webhook-id"] = message_id
        return await post(self._settings.address, body, headers=headers, now_s=now_s)
