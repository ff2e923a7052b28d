"""A few threads that talk to one Prometheus, each call with a deadline and a way to end it."""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from agent.collect.prometheus_settings import Answer, Failed, PrometheusAccess

if TYPE_CHECKING:
    from agent.collect.prometheus_http import PrometheusHttp


class Cut:
    """Lets one thread end another's request, whatever it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._done = False

    def watch(self, connection: socket.socket | None) -> None:
        """Take note of the socket the request is on."""
        with self._lock:
            self._socket = connection
            if self._done:
                self._shut()

    def now(self) -> None:
        """End the request: its next read or write fails."""
        with self._lock:
            self._done = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is None:
            return
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself


class Lines:
    """No more calls at once than threads; a thread keeps its connection."""

    def __init__(self, access: PrometheusAccess) -> None:
        self._access = access
        self._pool = ThreadPoolExecutor(access.parallel, "prometheus")
        self._own = threading.local()
        self._open: list[PrometheusHttp] = []
        self.free = asyncio.Semaphore(access.parallel)

    async def call(self, ask: "Callable[[PrometheusHttp, Cut], Answer]") -> Answer:
        """Run it in a thread; Failed("timeout") at the deadline, and the connection is cut."""
        cut = Cut()
        future: Future[Answer] = self._pool.submit(lambda: ask(self._http(), cut))
        try:
            async with asyncio.timeout(self._access.timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise Failed(
                "timeout",
                f"no whole answer within {self._access.timeout_s:g} s. See whether it is "
                "overloaded, or raise prometheus.timeout.",
            ) from None
        finally:
            if not future.done() or future.cancelled():
                cut.now()

    def close(self) -> None:
        """Close every connection and start nothing more; nothing is waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for http in self._open:
            http.close()

    def _http(self) -> "PrometheusHttp":
        # 130 ms that only whoever has a Prometheus pays.
        from agent.collect.prometheus_http import PrometheusHttp  # noqa: PLC0415

        if not hasattr(self._own, "http"):
            self._own.http = PrometheusHttp(self._access)
            self._open.append(self._own.http)
        http: PrometheusHttp = self._own.http
        return http
