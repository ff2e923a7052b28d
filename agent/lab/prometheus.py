"""Prometheus' query API over a simulated cluster, as far as gpumedic asks it.

Readings are worked out for just the query, the cluster's history included: back-fill works with no
Prometheus at all. What is not spoken here is refused in Prometheus' own error form. A query of many
points is answered by a thread of its own from a copy of the cluster, so scrapes and orders go on.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from agent.lab.evaluate import Evaluation
from agent.lab.promql import BadExpression, Expression, duration_s, parse
from agent.refuse import limited_body
from agent.times import from_rfc3339
from core.errors import InputError
from core.types import Floats
from sim.exporter import Exporters, Raw
from sim.port import SimulatedCluster
from sim.world import World

# More points a series Prometheus refuses as well (web/api/v1/api.go).
MAX_POINTS = 11_000
# From so many points on a query is answered aside: less takes less time than a copy and a thread.
MANY_POINTS = 240
MAX_BODY = 1 << 16
BODY_DEADLINE_S = 10.0
VERSION = "2.42.0"  # the one whose answers these are like


@dataclass(slots=True)
class QueryApi:
    """``/api/v1`` and the two paths that say how the server is."""

    cluster: SimulatedCluster
    exporters: Exporters
    _aside: "_Aside" = field(init=False)

    def __post_init__(self) -> None:
        self._aside = _Aside(Exporters(self.exporters.world, every_s=self.exporters.every_s))

    def routes(self) -> list[Route]:
        """Return the routes."""
        both = ["GET", "POST"]
        return [
            Route("/-/ready", _ready),
            Route("/-/healthy", _ready),
            Route("/api/v1/query_range", self._query_range, methods=both),
            Route("/api/v1/query", self._query, methods=both),
            Route("/api/v1/label/__name__/values", self._names),
            Route("/api/v1/status/buildinfo", _build),
            Route("/api/v1/{rest:path}", _unknown, methods=both),
        ]

    async def _query_range(self, request: Request) -> Response:
        try:
            given = await _parameters(request)
            expression, time_s = parse(given.get("query", "")), _times(given)
            self.cluster.catch_up()
            if len(time_s) >= MANY_POINTS:
                body = await self._aside.answer(self.cluster.world, expression, time_s)
            else:
                body = _range_body(self.exporters, expression, time_s)
        except BadExpression as error:
            return _bad_data(error)
        return _json(body, 200)

    async def _query(self, request: Request) -> Response:
        try:
            given = await _parameters(request)
            self.cluster.catch_up()
            at_s = _time_s(given, "time") if given.get("time") else self.cluster.world.now_s
            time_s = np.array([at_s], dtype=np.float64)
            expression = parse(given.get("query", ""))
            found = Evaluation(self.exporters, time_s).result(expression)
        except BadExpression as error:
            return _bad_data(error)
        result = [
            {"metric": series["metric"], "value": series["values"][0]}
            for series in _matrix(found, time_s)
        ]
        return _success({"resultType": "vector", "result": result})

    async def _names(self, request: Request) -> Response:
        return _success(sorted(self.exporters.names))


class _Aside:
    """Answers queries one after another in a thread, with exporters that nobody else uses."""

    def __init__(self, exporters: Exporters) -> None:
        self._exporters = exporters
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="query")

    async def answer(self, world: World, expression: Expression, time_s: Floats) -> str:
        """Return the body of the answer as the world is now, whatever becomes of it meanwhile."""
        fork = world.fork()
        work = partial(self._answered, fork, expression, time_s)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _answered(self, fork: World, expression: Expression, time_s: Floats) -> str:
        self._exporters.world = fork
        return _range_body(self._exporters, expression, time_s)


def _range_body(exporters: Exporters, expression: Expression, time_s: Floats) -> str:
    found = Evaluation(exporters, time_s).result(expression)
    return _data({"resultType": "matrix", "result": _matrix(found, time_s)})


async def _ready(request: Request) -> Response:
    return PlainTextResponse("The simulated cluster is ready.\n")


async def _build(request: Request) -> Response:
    return _success({"version": VERSION, "revision": "gpumedic simulated cluster"})


async def _unknown(request: Request) -> Response:
    text = f"{request.url.path} is not served here: only queries, metric names and buildinfo are"
    return _refused(404, "not_found", text)


async def _parameters(request: Request) -> Mapping[str, str]:
    given = dict(request.query_params)
    if request.method == "POST":
        body = await limited_body(request, MAX_BODY, deadline_s=BODY_DEADLINE_S)
        given |= dict(parse_qsl(body.decode("utf-8", "replace")))
    return given


def _time_s(given: Mapping[str, str], name: str) -> float:
    """Read seconds since the epoch or an RFC 3339 time."""
    text = given.get(name, "")
    try:
        found = float(text)
    except ValueError:
        try:
            found = from_rfc3339(text)
        except (InputError, ValueError):
            found = math.nan
    if not math.isfinite(found):
        raise BadExpression(
            f'invalid parameter "{name}": cannot parse {text!r} to a valid timestamp'
        )
    return found


def _times(given: Mapping[str, str]) -> Floats:
    """Return the (T,) points of a range query."""
    start_s, end_s, step_s = _time_s(given, "start"), _time_s(given, "end"), _step_s(given)
    if end_s < start_s:
        raise BadExpression('invalid parameter "end": end timestamp must not be before start time')
    if (end_s - start_s) / step_s > MAX_POINTS:
        raise BadExpression(
            f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries. Try "
            "decreasing the query resolution (?step=XX)"
        )
    count = math.floor((end_s - start_s) / step_s + 1e-9) + 1
    return np.asarray(start_s + np.arange(count, dtype=np.float64) * step_s)


def _step_s(given: Mapping[str, str]) -> float:
    text = given.get("step", "")
    try:
        found = float(text)
    except ValueError:
        found = duration_s(text)
    if not 0 < found < math.inf:
        raise BadExpression(
            f'invalid parameter "step": {text!r} is no duration above zero; write 15 or 15s'
        )
    return found


def _matrix(found: Raw, time_s: Floats) -> list[dict[str, Any]]:
    """Return Prometheus' form of the series that have any sample."""
    times = time_s.tolist()
    result: list[dict[str, Any]] = []
    for labels, row in zip(found.labels, found.value.tolist(), strict=True):
        values = [
            (at, repr(value))
            for at, value in zip(times, row, strict=True)
            if value == value  # noqa: PLR0124 - a million times: only NaN differs from itself
        ]
        if values:
            result.append({"metric": labels, "values": values})
    return result


def _success(data: object) -> Response:
    return _json(_data(data), 200)


def _data(data: object) -> str:
    return json.dumps({"status": "success", "data": data})


def _bad_data(error: BadExpression) -> Response:
    return _refused(400, "bad_data", str(error))


def _refused(status: int, kind: str, text: str) -> Response:
    body = json.dumps({"status": "error", "errorType": kind, "error": text})
    return _json(body, status)


def _json(body: str, status: int) -> Response:
    return Response(body, status_code=status, media_type="application/json")
