"""One POST of JSON to a URL that a person configured, and what the answer means for delivery."""

import asyncio
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache

import httpx2

from agent.notify.addresses import (
    AddressPolicy,
    AddressRefused,
    Resolver,
    addresses_of,
    system_resolver,
)
from core.errors import ConfigError, SourceUnavailable
from core.ports import Delivery, DeliveryStatus

TIMEOUT_S = 10.0
MAX_RETRY_AFTER_S = 3600.0  # a receiver that asks for a longer pause is asked again after this
_MAX_ANSWER_BYTES = 2048  # an answer is read for its first words only
_MAX_SHOWN = 160
_OTHER_RETRIES = frozenset({408, 425, 429})  # time-out, too early, too many


@dataclass(frozen=True, slots=True)
class Address:
    """Where to post: a checked URL and what it may resolve to; ConfigError where it is unfit."""

    url: str
    policy: AddressPolicy = field(default_factory=AddressPolicy)
    timeout_s: float = TIMEOUT_S
    resolve: Resolver = system_resolver

    def __post_init__(self) -> None:
        try:
            url = httpx2.URL(self.url)
        except (httpx2.InvalidURL, TypeError, ValueError) as error:
            raise ConfigError(f"reading a webhook's url: {error}; {_URL_REMEDY}") from error
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            found = f"scheme {url.scheme!r}, host {url.host!r}"
            found += ", a user name" if url.userinfo else ""
            raise ConfigError(f"reading a webhook's url: found {found}; {_URL_REMEDY}")

    @property
    def shown(self) -> str:
        """Return scheme, host and port: a path may hold a secret and is never shown."""
        url = httpx2.URL(self.url)
        return f"{url.scheme}://{url.netloc.decode('ascii')}"


_URL_REMEDY = "it needs the form https://host[:port]/path, with no user name or password in it"


async def post(
    address: Address, body: bytes, *, headers: Mapping[str, str], now_s: float
) -> Delivery:
    """Try once, within the address's time limit, and never follow a redirect.

    2xx is delivered; 408, 425, 429, 5xx, a time-out and no connection are tried again; 410 means
    never again; any other answer, and an address that is not allowed, is given up.
    """
    try:
        async with asyncio.timeout(address.timeout_s):
            return await _attempt(address, body, headers=headers, now_s=now_s)
    except AddressRefused as error:
        return Delivery(DeliveryStatus.GIVE_UP, str(error))
    except TimeoutError:
        found = f"no full answer in {address.timeout_s:g} s"
    except SourceUnavailable as error:
        return Delivery(DeliveryStatus.RETRY, str(error))
    except (httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, OSError) as error:
        found = str(error) or type(error).__name__
    return Delivery(
        DeliveryStatus.RETRY, f"posting to {address.shown}: {found}; will be tried again"
    )


async def _attempt(
    address: Address, body: bytes, *, headers: Mapping[str, str], now_s: float
) -> Delivery:
    """Connect to an address that was checked, whatever the name says by then."""
    url = httpx2.URL(address.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    found = await addresses_of(url.host, port, policy=address.policy, resolve=address.resolve)
    transport = httpx2.AsyncHTTPTransport(verify=_trust(), trust_env=False, retries=0)
    async with httpx2.AsyncClient(
        transport=transport, trust_env=False, follow_redirects=False, timeout=address.timeout_s
    ) as client:
        for is_last, ip in _marked_last(found):
            pinned = httpx2.Request(
                "POST",
                url.copy_with(host=ip),
                content=body,
                headers={**headers, "host": url.netloc.decode("ascii")},
                extensions={"sni_hostname": url.host},
            )
            try:
                answer = await client.send(pinned, stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if is_last:
                    raise
                continue
            return _meaning(answer, await _first_words(answer), address=address, now_s=now_s)
    raise SourceUnavailable(f"resolving {url.host!r}: no address; check the name")


def _marked_last(found: tuple[str, ...]) -> list[tuple[bool, str]]:
    return [(index == len(found) - 1, ip) for index, ip in enumerate(found)]


def _meaning(answer: httpx2.Response, words: str, *, address: Address, now_s: float) -> Delivery:
    code = answer.status_code
    text = f"{address.shown} answered {code}{': ' if words else ''}{words}"
    if 200 <= code < 300:
        return Delivery(DeliveryStatus.DELIVERED, text)
    if code == httpx2.codes.GONE:
        return Delivery(DeliveryStatus.GONE, f"{text}; nothing more is sent there until redelivery")
    if code >= 500 or code in _OTHER_RETRIES:
        pause_s = retry_after_s(answer.headers.get("retry-after", ""), now_s)
        return Delivery(DeliveryStatus.RETRY, text, pause_s)
    if 300 <= code < 400:
        return Delivery(
            DeliveryStatus.GIVE_UP,
            f"{text}; redirects are not followed: configure the address it leads to",
        )
    return Delivery(DeliveryStatus.GIVE_UP, f"{text}; correct the receiver, then redeliver")


def retry_after_s(text: str, now_s: float) -> float | None:
    """Read ``Retry-After``, in seconds or as an HTTP date, into 0 .. an hour; None: unreadable."""
    try:
        pause_s = float(text)
    except ValueError:
        try:
            pause_s = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, OverflowError, TypeError, IndexError):
            return None
    if math.isnan(pause_s):
        return None
    return min(max(pause_s, 0.0), MAX_RETRY_AFTER_S)


async def _first_words(answer: httpx2.Response) -> str:
    """Return what the receiver says, cut short and on one line; the rest is never read."""
    read = b""
    try:
        async for piece in answer.aiter_raw():
            read += piece
            if len(read) >= _MAX_ANSWER_BYTES:
                break
    except (httpx2.HTTPError, httpx2.StreamError):
        return ""  # the status has been said: a body cut off changes nothing
    finally:
        await answer.aclose()
    words = " ".join(read[:_MAX_ANSWER_BYTES].decode("utf-8", "replace").split())
    return "".join(c for c in words if c.isprintable())[:_MAX_SHOWN]


@cache
def _trust() -> ssl.SSLContext:
    """Return the system's trusted authorities; reading them takes a while, so once a process."""
    return httpx2.create_ssl_context()
