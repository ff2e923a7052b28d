"""Every node's exporters under one address, and the lists by which a Prometheus finds them.

One server stands for all nodes: a target's ``__metrics_path__`` says whose exporter is meant, and
its ``instance`` is the node's own name and port, as scraping each node at its address gives it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent.refuse import refuse
from sim.exporter import PORTS, Exporters
from sim.exporter_families import DCGM, JOBS, NODE
from sim.port import SimulatedCluster

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CONFIG = """\
global: {{scrape_interval: {every}, scrape_timeout: {every}}}
scrape_configs:
{jobs}"""
_JOB = """\
  - job_name: {name}
    honor_labels: true
    http_sd_configs: [{{url: "http://{host}/sd/{name}"}}]
"""


@dataclass(slots=True)
class ExporterPages:
    """The pages, made once a tick for all nodes.

    stamped: samples bear the cluster's time, as they must where it is not the time of day
    """

    cluster: SimulatedCluster
    exporters: Exporters
    stamped: bool = False
    _made: dict[str, tuple[int, Mapping[str, bytes]]] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/nodes/{node}/{exporter}/metrics", self._node),
            Route("/jobs/metrics", self._jobs),
            Route("/sd/{exporter}", self._targets),
            Route("/prometheus.yml", self._config),
        ]

    async def _node(self, request: Request) -> Response:
        exporter, node = request.path_params["exporter"], request.path_params["node"]
        if exporter not in PORTS or node not in self.exporters.nodes:
            found = f"There is no {exporter[:80]!r} on a node {node[:80]!r}."
            return refuse(404, "no_exporter", found, f"See /sd/{NODE} and /sd/{DCGM}.")
        page = self._pages(exporter).get(node)
        if page is None:
            remedy = "It answers again when the node is up and its exporter runs."
            return refuse(503, "no_answer", f"The {exporter} of {node} does not answer.", remedy)
        return Response(page, headers={"content-type": CONTENT_TYPE})

    async def _jobs(self, request: Request) -> Response:
        page = self._pages(JOBS).get("", b"")
        return Response(page, headers={"content-type": CONTENT_TYPE})

    async def _targets(self, request: Request) -> Response:
        """Answer with the targets of one exporter in the form of Prometheus' HTTP discovery."""
        exporter, host = request.path_params["exporter"], _host(request)
        if exporter == JOBS:
            return JSONResponse(
                [{"targets": [host], "labels": {"__metrics_path__": "/jobs/metrics"}}]
            )
        if exporter not in PORTS:
            remedy = f"There are {NODE}, {DCGM} and {JOBS}."
            return refuse(404, "no_exporter", f"There is no {exporter[:80]!r}.", remedy)
        return JSONResponse(
            [
                {
                    "targets": [host],
                    "labels": {
                        "__metrics_path__": f"/nodes/{node}/{exporter}/metrics",
                        "instance": f"{node}:{PORTS[exporter]}",
                    },
                }
                for node in self.exporters.nodes
            ]
        )

    async def _config(self, request: Request) -> Response:
        """Answer with the settings of a Prometheus that scrapes all of it."""
        every = request.query_params.get("every", f"{self.exporters.every_s:g}s")
        host = _host(request)
        jobs = "".join(_JOB.format(name=name, host=host) for name in (NODE, DCGM, JOBS))
        return PlainTextResponse(_CONFIG.format(every=every, jobs=jobs))

    def _pages(self, exporter: str) -> Mapping[str, bytes]:
        self.cluster.catch_up()
        tick = self.exporters.tick
        known = self._made.get(exporter)
        if known is None or known[0] != tick:
            stamp_ms = round(tick * self.exporters.every_s * 1000) if self.stamped else None
            pages = self.exporters.pages(exporter, stamp_ms=stamp_ms)
            known = (tick, {node: page.encode() for node, page in pages.items()})
            self._made[exporter] = known
        return known[1]


def _host(request: Request) -> str:
    return request.headers.get("host", "") or request.url.netloc
