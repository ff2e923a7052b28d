"""Which network addresses a webhook may reach: the guard against being sent to a cloud's secrets.

A URL names a host, a host resolves to addresses, and only an address can be judged. So the name is
resolved here, every address is checked, and the caller connects to the address that was checked:
a name that resolves to something else a moment later gains nothing.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.errors import InputError, SourceUnavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Awaitable[tuple[str, ...]]]

RESOLVE_DEADLINE_S = 5.0
_MAX_LOOKUPS = 8  # threads that may hang in the system's resolver at one time

METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog", "instance-data"})
# Where clouds hand out a machine's credentials or configuration, by each vendor's documentation.
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, Oracle, OpenStack
        "169.254.170.2",  # AWS ECS task credentials
        "fd00:ec2::254",  # AWS over IPv6
        "fd20:ce::254",  # Google over IPv6
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle classic
        "168.63.129.16",  # Azure's wire server
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class AddressRefused(InputError):
    """A webhook's address must not be reached."""

    code = "address_refused"


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What may be reached beyond public addresses.

    allow_private: loopback and private networks, where a cluster's own receivers mostly are
    allowed: networks that may be reached whatever they are, link-local and metadata included
    """

    allow_private: bool = True
    allowed: tuple[Network, ...] = ()


async def addresses_of(
    host: str, port: int, *, policy: AddressPolicy, resolve: Resolver
) -> tuple[str, ...]:
    """Return the host's addresses, every one of them permitted.

    AddressRefused names the first that is not; SourceUnavailable where the name does not resolve.
    """
    name = host.rstrip(".").lower()
    if name in METADATA_NAMES and not policy.allowed:
        raise AddressRefused(_message(host, f"{name} is a cloud's metadata service"))
    found = await resolve(host, port)
    for address in found:
        if reason := refusal(address, policy):
            raise AddressRefused(_message(host, reason))
    return found


def refusal(text: str, policy: AddressPolicy) -> str:
    """Return why an address must not be reached, or "" where it may."""
    try:
        address = _innermost(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return f"{text!r:.80} is no IP address"
    if any(address in network for network in policy.allowed):
        return ""
    if address in METADATA_ADDRESSES:
        return f"{address} is a cloud's metadata service"
    for what, is_so in (
        ("link-local", address.is_link_local),
        ("unspecified", address.is_unspecified),
        ("multicast", address.is_multicast),
        ("the broadcast address", str(address) == "255.255.255.255"),
    ):
        if is_so:
            return f"{address} is {what}"
    if not policy.allow_private and not address.is_global:
        return f"{address} is loopback, private or reserved, and private addresses are not allowed"
    return ""


async def system_resolver(host: str, port: int) -> tuple[str, ...]:
    """Resolve with the system's own resolver, in a thread that nobody waits for at exit."""
    try:
        async with asyncio.timeout(RESOLVE_DEADLINE_S):
            return await _in_daemon_thread(host, port)
    except TimeoutError:
        found = f"no answer in {RESOLVE_DEADLINE_S:g} s"
    except (OSError, UnicodeError) as error:
        found = str(error)
    raise SourceUnavailable(
        f"resolving {host!r:.200}: {found}; check the name and this machine's DNS"
    )


_lookups = threading.BoundedSemaphore(_MAX_LOOKUPS)


async def _in_daemon_thread(host: str, port: int) -> tuple[str, ...]:
    """Run getaddrinfo without the loop's pool, whose threads would hold up the process's end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[str, ...]] = loop.create_future()
    if not _lookups.acquire(blocking=False):
        raise OSError(f"{_MAX_LOOKUPS} look-ups hang already")

    def settle(found: tuple[str, ...] | Exception) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look_up() -> None:
        found: tuple[str, ...] | Exception
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = tuple(dict.fromkeys(str(row[4][0]) for row in rows))
        except (OSError, UnicodeError) as error:
            found = error
        finally:
            _lookups.release()
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    return await answer


def _innermost(address: Address) -> Address:
    """Unwrap an IPv4 address that travels inside an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour:
        return inner
    if address.teredo:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _message(host: str, reason: str) -> str:
    return (
        f"sending a webhook to {host!r:.200}: {reason}; use another address, or allow its network "
        "in the webhook's settings"
    )
