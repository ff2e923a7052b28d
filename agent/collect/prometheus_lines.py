"""A few threads that talk to one Prometheus, each call with a deadline and a way to end it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from agent.collect.prometheus_cut import Cut
from agent.collect.prometheus_settings import Answer, Failed, PrometheusAccess

if TYPE_CHECKING:
    from agent.collect.prometheus_http import PrometheusHttp


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
