"""Readings from a Prometheus, or from what speaks its query API, on the grid."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agent.collect.align import Grid
from agent.collect.prometheus_cut import Cut
from agent.collect.prometheus_lines import Lines
from agent.collect.prometheus_parse import Matrix, Reply, Series, names_in, parse_matrix, window_of
from agent.collect.prometheus_settings import Answer, Failed, PrometheusAccess
from core.clock import Clock
from core.details import DETAILS
from core.errors import SourceUnavailable
from core.exporters import expressions
from core.ports import Collected, Problem, Query
from core.target import Target
from core.types import Window
from core.units import CATALOG

if TYPE_CHECKING:
    from agent.collect.prometheus_http import PrometheusHttp

# Prometheus refuses to answer with more points a series than this (web/api/v1/api.go).
MAX_POINTS = 11_000
# About 8 MB of JSON, which Python reads in 0.2 s; more at once would hold the event loop up.
MAX_READINGS = 250_000
MAX_SKEW_S = 5.0
# How long what was learnt of its metrics is believed: at first shortly, for exporters start at the
# same time as we do, and each time twice as long up to an hour.
FIRST_LEARN_S, LAST_LEARN_S = 60.0, 3600.0
# What will not get better within the same read, so that asking on would only take time.
HOPELESS = frozenset({"unreachable", "tls", "redirect", "unauthorized", "token_file"})
PATIENCE = 1.5  # a read starts no further query after so many time-outs worth of waiting


@dataclass(slots=True)
class _Round:
    """One read's tally: what failed, and how far Prometheus' clock is from ours."""

    began_s: float
    failures: list[tuple[str, Failed]] = field(default_factory=list)
    given_up: Failed | None = None
    skew_s: float = math.inf


class PrometheusSource:
    """Asks for every metric of the catalogue that is there.

    A metric may come from several exporters: ``core.exporters`` lists an expression for each, and
    each target is read from the first that has it. Which exist is learnt from the list of metric
    names, so that a cycle costs one query an expression that can give something.

    A series without a scrape for ``stale_after_s`` is missing: Prometheus' own five minutes would
    have a dead node look well for as long.
    """

    name = "prometheus"

    def __init__(self, access: PrometheusAccess, *, clock: Clock) -> None:
        self.access = access
        self._clock = clock
        self._lines = Lines(access)
        self._names: frozenset[str] | None = None
        self._learn_again_s = -math.inf
        self._believe_s = FIRST_LEARN_S
        self._series: dict[tuple[str, str], Series] = {}
        self._orders: dict[str, tuple[Target, ...]] = {}

    async def read(self, query: Query) -> Collected:
        """Return the readings on the grid; a metric that cannot be had is a Problem.

        Raises SourceUnavailable where every query failed.
        """
        grid = Grid.of(query)
        if grid.count == 0:
            return Collected(())
        tally = _Round(self._clock.monotonic_s())
        await self._learn(tally)
        jobs = [
            (metric, expression)
            for metric in query.metrics
            if metric in (self.access.metrics or CATALOG) or metric in DETAILS
            for expression in expressions(metric)
            if self._names is None or names_in(expression) <= self._names
        ]
        replies = await asyncio.gather(*(self._reply(job, grid, tally) for job in jobs))
        if jobs and len(tally.failures) >= len(jobs) and not any(replies):
            raise self._unavailable(tally)
        windows, problems = self._windows(grid, jobs, replies)
        return Collected(windows, (*self._said(tally, jobs), *problems))

    async def close(self) -> None:
        """Let go of threads and connections; nothing is waited for."""
        self._lines.close()

    async def probe(self) -> "ProbeResult":
        """Look whether a Prometheus answers, and how much of the catalogue it has."""
        tally = _Round(self._clock.monotonic_s())
        url = self.access.shown_url
        try:
            names = _listed((await self._call(lambda http, cut: http.names(cut), tally)).data)
        except Failed as failed:
            return ProbeResult(url, False, "", (), f"no Prometheus at {url}: {failed.text}")
        try:
            build = (await self._call(lambda http, cut: http.build(cut), tally)).data
            version = str(build.get("version", "")) if isinstance(build, dict) else ""
        except Failed:
            version = ""  # not every server of the query API tells
        metrics = tuple(
            metric
            for metric in CATALOG
            if any(names_in(expression) <= names for expression in expressions(metric))
        )
        text = f"{url} is Prometheus {version} with {len(metrics)} of {len(CATALOG)} metrics."
        return ProbeResult(url, True, version, metrics, text)

    async def _learn(self, tally: _Round) -> None:
        """Look which metrics there are, when that is due; SourceUnavailable where nobody answers.

        A server that keeps its list of names to itself is asked for everything.
        """
        if self._clock.monotonic_s() < self._learn_again_s:
            return
        try:
            answer = await self._call(lambda http, cut: http.names(cut), tally)
            self._names = _listed(answer.data)
        except Failed as failed:
            tally.failures.append(("the list of metric names", failed))
            if failed.code in HOPELESS or failed.code in ("timeout", "not_json", "cut_off"):
                raise self._unavailable(tally) from failed
            self._names = None
        self._learn_again_s = self._clock.monotonic_s() + self._believe_s
        self._believe_s = min(2 * self._believe_s, LAST_LEARN_S)

    async def _reply(self, job: tuple[str, str], grid: Grid, tally: _Round) -> Reply | None:
        metric, expression = job
        try:
            parts, warnings = await self._parts(metric, expression, grid, tally)
        except Failed as failed:
            tally.failures.append((f"{metric} ({expression})", failed))
            if failed.code in HOPELESS:
                tally.given_up = failed
            return None
        return Reply(expression, tuple(parts), tuple(dict.fromkeys(warnings)))

    async def _parts(
        self, metric: str, expression: str, grid: Grid, tally: _Round
    ) -> tuple[list[Matrix], list[str]]:
        """Ask piece by piece; a piece whose answer is too long is halved."""
        series = self._series.get((metric, expression), Series())
        fit = MAX_READINGS // max(1, len(series.marks))
        waiting = grid.parts(min(MAX_POINTS, max(1, fit)))
        parts: list[Matrix] = []
        warnings: list[str] = []
        while waiting:
            piece = waiting.pop(0)
            try:
                matrix, said = await self._piece(metric, expression, piece, tally)
            except Failed as failed:
                if failed.code != "too_large" or piece.count == 1:
                    raise
                waiting = piece.parts(-(-piece.count // 2)) + waiting
                continue
            self._series[metric, expression] = matrix.known
            parts.append(matrix)
            warnings += said
        return parts, warnings

    async def _piece(
        self, metric: str, expression: str, grid: Grid, tally: _Round
    ) -> tuple[Matrix, tuple[str, ...]]:
        known, extra = self._series.get((metric, expression)), self.access.extra_labels

        def ask(http: "PrometheusHttp", cut: Cut) -> Answer:
            answer = http.range(expression, grid, cut)
            return replace(answer, data=parse_matrix(answer.data, metric, extra, known=known))

        answer = await self._call(ask, tally)
        return answer.data, answer.warnings

    async def _call(self, ask: "Callable[[PrometheusHttp, Cut], Answer]", tally: _Round) -> Answer:
        async with self._lines.free:
            waited_s = self._clock.monotonic_s() - tally.began_s
            if tally.given_up is not None:
                raise tally.given_up
            if waited_s > PATIENCE * self.access.timeout_s:
                raise Failed("timeout", f"not asked: this read had taken {waited_s:.0f} s already.")
            before_s = self._clock.now_s()
            answer = await self._lines.call(ask)
            middle_s = (before_s + self._clock.now_s()) / 2
        skew_s = answer.date_s + 0.5 - middle_s  # the header has whole seconds, cut off
        if abs(skew_s) < abs(tally.skew_s):
            tally.skew_s = skew_s
        return answer

    def _windows(
        self, grid: Grid, jobs: list[tuple[str, str]], replies: list[Reply | None]
    ) -> tuple[tuple[Window, ...], tuple[Problem, ...]]:
        by_metric: dict[str, list[Reply]] = {}
        problems: list[Problem] = []
        for (metric, expression), reply in zip(jobs, replies, strict=True):
            if reply is not None and reply.parts:
                by_metric.setdefault(metric, []).append(reply)
                about = f"{metric} ({expression}): Prometheus warns: "
                problems += [Problem(self.name, "warning", about + w) for w in reply.warnings]
        windows = []
        for metric, given in by_metric.items():
            window, found = window_of(metric, grid, given, source=self.name)
            problems += found
            if window is not None:
                windows.append(self._in_order(window))
        return tuple(windows), tuple(problems)

    def _in_order(self, window: Window) -> Window:
        """Give the same targets as the same tuple each time: the history then finds rows fast."""
        known = self._orders.get(window.metric)
        if known != window.targets:
            self._orders[window.metric] = window.targets
            return window
        return Window(window.metric, known, window.time_s, window.value)

    def _said(self, tally: _Round, jobs: list[tuple[str, str]]) -> tuple[Problem, ...]:
        """Return the read's own problems: failed queries, a clock that is off, nothing to read."""
        url = self.access.shown_url
        problems = [
            Problem(self.name, failed.code, f"asking {url} for {what}: {failed.text}")
            for what, failed in tally.failures
        ]
        if MAX_SKEW_S < abs(tally.skew_s) < math.inf:
            ahead = "ahead of" if tally.skew_s > 0 else "behind"
            problems.append(
                Problem(
                    self.name,
                    "clock_skew",
                    f"the clock of {url} is {abs(tally.skew_s):.0f} s {ahead} ours. Let NTP set "
                    "both: readings are placed by its clock and judged by ours.",
                )
            )
        if not jobs:
            problems.append(
                Problem(
                    self.name,
                    "no_metrics",
                    f"{url} has {len(self._names or ())} metrics, none that gpumedic reads. Let it "
                    "scrape dcgm-exporter, node_exporter or `gpumedic node`.",
                )
            )
        return tuple(problems)

    def _unavailable(self, tally: _Round) -> SourceUnavailable:
        what, failed = tally.failures[0]
        self._learn_again_s = -math.inf
        more = len(tally.failures) - 1
        also = f" ({more} more queries came to nothing.)" if more else ""
        return SourceUnavailable(
            f"asking {self.access.shown_url} for {what}: {failed.text}{also} [{failed.code}]"
        )


def _listed(names: object) -> frozenset[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Failed(
            "shape", f"its list of metric names is {str(names)[:200]!r}. Is it Prometheus?"
        )
    return frozenset(names)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What is at an address: ``found`` a Prometheus, its version, which of our metrics it has.

    text: one sentence; with the remedy where nothing was found
    """

    url: str
    found: bool
    version: str
    metrics: tuple[str, ...]
    text: str


async def probe(access: PrometheusAccess, *, clock: Clock) -> ProbeResult:
    """Look whether a Prometheus answers there, and how much of the catalogue it has."""
    source = PrometheusSource(access, clock=clock)
    try:
        return await source.probe()
    finally:
        await source.close()
