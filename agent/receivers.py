"""The receivers of messages, made from the settings."""

import os
import uuid
from collections.abc import Mapping
from ipaddress import ip_network

from agent.config import Settings, read_secret
from agent.notify.addresses import AddressPolicy
from agent.notify.alertmanager import Alertmanager, AlertmanagerSettings, alerts_url
from agent.notify.envelope import Sender, trial_notification
from agent.notify.post import Address
from agent.notify.signing import read_secrets
from agent.notify.webhook import Webhook, WebhookSettings
from agent.serving import page_url
from core.clock import Clock, RealClock
from core.ports import Delivery, DeliveryStatus


def sender_of(settings: Settings) -> Sender:
    """Return who speaks: the cluster, and where its page is."""
    url = settings.server.external_url or page_url(settings.server.listen)
    return Sender(cluster=settings.cluster, external_url=url.rstrip("/"))


def webhooks_of(
    settings: Settings, *, clock: Clock, environ: Mapping[str, str] = os.environ
) -> tuple[Webhook, ...]:
    """Return a receiver for each ``[[webhooks]]``; ConfigError where its secret cannot be read."""
    sender = sender_of(settings)
    made = []
    for wanted in settings.webhooks:
        policy = AddressPolicy(
            allow_private=wanted.allow_private_addresses,
            allowed=tuple(map(ip_network, wanted.allowed_networks)),
        )
        secrets: tuple[str, ...] = ()
        if wanted.secret_file:
            secrets = read_secrets(read_secret(wanted.secret_file, environ=environ))
        form = WebhookSettings(
            name=wanted.name,
            address=Address(wanted.url, policy=policy),
            secrets=secrets,
            announcements=frozenset(wanted.announcements),
        )
        made.append(Webhook(form, sender=sender, clock=clock))
    return tuple(made)


def alertmanager_of(
    settings: Settings, *, clock: Clock, environ: Mapping[str, str] = os.environ
) -> Alertmanager | None:
    """Return the Alertmanager that is told of incidents, or None."""
    wanted = settings.alertmanager
    if not wanted.url:
        return None
    form = AlertmanagerSettings(
        address=Address(alerts_url(wanted.url)),
        cycle_s=settings.cycle.interval,
        token=read_secret(wanted.token_file, environ=environ) if wanted.token_file else "",
    )
    return Alertmanager(form, sender=sender_of(settings), clock=clock)


async def try_receivers(settings: Settings) -> tuple[tuple[str, Delivery], ...]:
    """Send every receiver a test message now, past the outbox, and return what each said."""
    clock = RealClock()
    message_id = f"test.{uuid.uuid4().hex[:12]}"
    trial = trial_notification(message_id, clock.now_s())
    results = []
    for webhook in webhooks_of(settings, clock=clock):
        body = webhook.render(trial)
        nothing = Delivery(DeliveryStatus.GIVE_UP, "this receiver has no form for a test")
        said = nothing if body is None else await webhook.deliver(message_id, body)
        results.append((webhook.name, said))
    return tuple(results)
