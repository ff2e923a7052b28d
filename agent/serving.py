"""Serve an application in the process' own loop, until it is told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from agent.addresses import host_and_port
from core.errors import ConfigError

DRAIN_S = 8  # the process has 10 s for its orderly end
MAX_CONNECTIONS = 256
DATE_S = 1.0  # an answer's date is in whole seconds


async def serve(
    app: ASGIApp, listen: str, stop: asyncio.Event, *, max_connections: int = MAX_CONNECTIONS
) -> None:
    """Serve at ``address:port`` until ``stop`` is set, then finish what runs within 8 s.

    ConfigError where the address cannot be had. Signals stay with the process' own handlers.
    """
    bound = listen_at(listen)
    server = _Server(
        stop,
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=max_connections,
            timeout_graceful_shutdown=DRAIN_S,
        ),
    )
    try:
        await server.serve(sockets=[bound])
    finally:
        bound.close()


def page_url(listen: str) -> str:
    """Return where this machine reaches what listens there; every interface is loopback too."""
    host, port = host_and_port(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen_at(listen: str) -> socket.socket:
    """Return a socket bound to ``address:port`` (``[::1]:8642`` for IPv6; port 0: any free one)."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"Listening at {listen!r}: this is no address with a port. Write server.listen like "
            "127.0.0.1:8642 or [::1]:8642."
        )
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 - ":8642" says all interfaces
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends small answers at once only where it is: else the
    # end of an answer waits 40 ms for the other side's delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, int(port)))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"Listening at {listen}: {error.strerror or error}. End the program that has this "
            f"port (`ss -ltnp 'sport = :{port}'` names it), or set server.listen to another."
        ) from error
    return bound


class _Server(uvicorn.Server):
    def __init__(self, stop: asyncio.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stop = stop

    async def main_loop(self) -> None:
        """Keep the date of answers until told to stop.

        uvicorn's own loop looks ten times a second whether it is to end: more than all else that a
        node service does which reads every 15 s.
        """
        while not self._stop.is_set():
            await self.on_tick(0)  # the count at which it sets the date
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_S):
                    await self._stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which stops more than this server."""
        yield
