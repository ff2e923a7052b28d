"""A webhook goes out signed, to the address that was checked, and every answer means one thing."""

import asyncio
import base64
import ipaddress
import json
import socket
from email.utils import formatdate

import pytest

from agent.notify.addresses import (
    AddressPolicy,
    AddressRefused,
    addresses_of,
    refusal,
    system_resolver,
)
from agent.notify.envelope import Sender
from agent.notify.post import MAX_RETRY_AFTER_S, Address, post, retry_after_s
from agent.notify.signing import verify
from agent.notify.webhook import Webhook, WebhookSettings
from core.clock import ManualClock
from core.errors import ConfigError, SourceUnavailable
from core.ports import Announcement, Delivery, DeliveryStatus, Notification
from tests.receivers import receiving, response
from tests.test_webhook_envelope import MESSAGES

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SENDER = Sender(cluster="a", external_url="http://127.0.0.1:8642")
OK = response("200 OK", b"thanks")


def webhook(
    url: str, clock: ManualClock, *, announcements: frozenset[Announcement] = frozenset()
) -> Webhook:
    settings = WebhookSettings("ops", Address(url), (SECRET,), announcements)
    return Webhook(settings, sender=SENDER, clock=clock)


async def deliver_to(answer: bytes, *, timeout_s: float = 5.0) -> Delivery:
    async with receiving(lambda sent: answer) as receiver:
        address = Address(f"http://127.0.0.1:{receiver.port}/hook", timeout_s=timeout_s)
        return await post(address, b"{}", headers={}, now_s=0.0)


async def test_a_receiver_gets_a_signed_message_it_can_verify(clock: ManualClock) -> None:
    async with receiving(lambda sent: OK) as receiver:
        notifier = webhook(f"http://127.0.0.1:{receiver.port}/hook?team=gpu", clock)
        body = notifier.render(MESSAGES["diagnosed"])
        assert body is not None

        delivery = await notifier.deliver("msg_7", body)

    (sent,) = receiver.got
    assert delivery.status is DeliveryStatus.DELIVERED
    assert sent.line == "POST /hook?team=gpu HTTP/1.1"
    assert sent.headers["content-type"] == "application/json"
    assert verify(sent.headers, sent.body, secrets=[SECRET], now_s=clock.now_s()) == "msg_7"
    assert json.loads(sent.body)["gpumedic"]["event"] == "incident.diagnosed"


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("200 OK", DeliveryStatus.DELIVERED),
        ("202 Accepted", DeliveryStatus.DELIVERED),
        ("204 No Content", DeliveryStatus.DELIVERED),
        ("301 Moved Permanently", DeliveryStatus.GIVE_UP),
        ("307 Temporary Redirect", DeliveryStatus.GIVE_UP),
        ("400 Bad Request", DeliveryStatus.GIVE_UP),
        ("401 Unauthorized", DeliveryStatus.GIVE_UP),
        ("404 Not Found", DeliveryStatus.GIVE_UP),
        ("408 Request Timeout", DeliveryStatus.RETRY),
        ("410 Gone", DeliveryStatus.GONE),
        ("429 Too Many Requests", DeliveryStatus.RETRY),
        ("500 Internal Server Error", DeliveryStatus.RETRY),
        ("503 Service Unavailable", DeliveryStatus.RETRY),
    ],
)
async def test_each_answer_means_one_thing(status: str, meaning: DeliveryStatus) -> None:
    delivery = await deliver_to(response(status, b"because \x1b[31m of\nthis"))

    assert delivery.status is meaning
    assert f"answered {status[:3]}" in delivery.text
    assert "\x1b" not in delivery.text


async def test_a_redirect_is_not_followed() -> None:
    async with receiving(lambda sent: OK) as elsewhere:
        moved = response("302 Found", location=f"http://127.0.0.1:{elsewhere.port}/")

        delivery = await deliver_to(moved)

    assert delivery.status is DeliveryStatus.GIVE_UP
    assert "redirects are not followed" in delivery.text
    assert elsewhere.got == []


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-le"])
async def test_a_receiver_that_hangs_is_tried_again_later(answer: bytes) -> None:
    hanging = await deliver_to(answer, timeout_s=0.3)

    assert hanging.status is DeliveryStatus.RETRY


async def test_an_answer_of_ten_megabytes_is_not_read() -> None:
    delivery = await deliver_to(response("200 OK", b"x" * 10_000_000))

    assert delivery.status is DeliveryStatus.DELIVERED
    assert len(delivery.text) < 300


async def test_garbage_and_silence_are_tried_again() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    nobody = await post(Address(f"http://127.0.0.1:{port}/"), b"", headers={}, now_s=0.0)
    garbage = await deliver_to(b"\x00\x01\x02 not HTTP\r\n\r\n")

    assert (nobody.status, garbage.status) == (DeliveryStatus.RETRY, DeliveryStatus.RETRY)


async def test_a_secret_in_the_path_is_shown_nowhere() -> None:
    async with receiving(lambda sent: response("404 Not Found")) as receiver:
        address = Address(f"http://127.0.0.1:{receiver.port}/T0/SECRETPATH?k=SECRETPATH")

        delivery = await post(address, b"", headers={}, now_s=0.0)

    assert "SECRETPATH" not in delivery.text


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("99999999", MAX_RETRY_AFTER_S),
        ("inf", MAX_RETRY_AFTER_S),
        ("nan", None),
        (formatdate(1_700_000_090, usegmt=True), 90.0),
        (formatdate(1_600_000_000, usegmt=True), 0.0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(text: str, pause_s: float | None) -> None:
    assert retry_after_s(text, 1_700_000_000.0) == pause_s


async def test_a_pause_that_is_asked_for_is_passed_on() -> None:
    delivery = await deliver_to(response("429 Too Many Requests", retry_after="77"))

    assert delivery.retry_after_s == 77.0


async def test_a_receiver_hears_only_what_it_asked_for_and_tests(clock: ManualClock) -> None:
    wanted = frozenset({Announcement.INCIDENT_RESOLVED})
    notifier = webhook("http://127.0.0.1:9/", clock, announcements=wanted)
    trial = Notification("t", Announcement.TEST, 0.0, "test")

    assert notifier.render(MESSAGES["diagnosed"]) is None
    assert notifier.render(MESSAGES["resolved"]) is not None
    assert notifier.render(trial) is not None


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.7",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "0.0.0.0",  # noqa: S104 - nobody binds to it here
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "not an address",
    ],
)
def test_metadata_and_link_local_are_refused_in_every_dress(address: str) -> None:
    assert refusal(address, AddressPolicy()) != ""


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "fd12::3"])
def test_a_private_address_is_a_matter_of_policy(address: str) -> None:
    assert refusal(address, AddressPolicy(allow_private=True)) == ""
    assert "private addresses are not allowed" in refusal(
        address, AddressPolicy(allow_private=False)
    )


def test_a_public_address_is_reached_under_every_policy() -> None:
    for policy in (AddressPolicy(allow_private=True), AddressPolicy(allow_private=False)):
        assert refusal("93.184.215.14", policy) == ""


def test_link_local_may_be_allowed_by_name_of_its_network() -> None:
    policy = AddressPolicy(allowed=(ipaddress.ip_network("169.254.7.0/24"),))

    assert refusal("169.254.7.1", policy) == ""
    assert refusal("169.254.8.1", policy) != ""


async def test_a_name_that_also_resolves_to_metadata_is_refused() -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return ("93.184.215.14", "169.254.169.254")

    with pytest.raises(AddressRefused, match="metadata service"):
        await addresses_of("hooks.example.org", 443, policy=AddressPolicy(), resolve=resolve)


async def test_the_metadata_name_is_refused_without_asking_anybody() -> None:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        raise AssertionError("asked")

    with pytest.raises(AddressRefused):
        await addresses_of("Metadata.Google.Internal.", 80, policy=AddressPolicy(), resolve=resolve)


async def test_a_name_that_changes_its_address_after_the_check_gains_nothing() -> None:
    asked = []

    async def rebinding(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",) if len(asked) == 1 else ("169.254.169.254",)

    async with receiving(lambda sent: OK) as receiver:
        url = f"http://rebinding.example:{receiver.port}/x"
        first = await post(Address(url, resolve=rebinding), b"1", headers={}, now_s=0.0)
        second = await post(Address(url, resolve=rebinding), b"2", headers={}, now_s=0.0)

    assert first.status is DeliveryStatus.DELIVERED
    assert receiver.got[0].headers["host"] == f"rebinding.example:{receiver.port}"
    assert second.status is DeliveryStatus.GIVE_UP
    assert [sent.body for sent in receiver.got] == [b"1"]


async def test_a_second_address_is_tried_where_the_first_does_not_answer() -> None:
    async def two(host: str, port: int) -> tuple[str, ...]:
        return ("::1", "127.0.0.1")

    async with receiving(lambda sent: OK) as receiver:
        address = Address(f"http://two.example:{receiver.port}/", resolve=two)

        delivery = await post(address, b"", headers={}, now_s=0.0)

    assert delivery.status is DeliveryStatus.DELIVERED


async def test_an_unknown_name_is_tried_again_later() -> None:
    with pytest.raises(SourceUnavailable, match="check the name"):
        await system_resolver("no-such-name.invalid", 80)


async def test_numbers_that_stand_for_an_address_are_checked_as_that_address() -> None:
    delivery = await post(Address("http://2852039166/latest"), b"", headers={}, now_s=0.0)

    assert delivery.status is DeliveryStatus.GIVE_UP
    assert "169.254.169.254" in delivery.text


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http:///path", "/just/a/path", "http://user:pw@host/", "http://[::1", ""]
)
def test_an_unfit_url_is_refused_when_it_is_configured(url: str) -> None:
    with pytest.raises(ConfigError, match="https://host"):
        Address(url)


def test_an_unfit_secret_is_refused_when_it_is_configured(clock: ManualClock) -> None:
    settings = WebhookSettings("ops", Address("http://127.0.0.1:9/"), ("hunter2",))

    with pytest.raises(ConfigError, match="webhook secret"):
        Webhook(settings, sender=SENDER, clock=clock)


async def test_a_resolver_that_hangs_holds_up_nobody() -> None:
    async def hanging(host: str, port: int) -> tuple[str, ...]:
        await asyncio.Event().wait()
        return ()

    address = Address("http://slow.example/", timeout_s=0.2, resolve=hanging)

    assert (await post(address, b"", headers={}, now_s=0.0)).status is DeliveryStatus.RETRY
