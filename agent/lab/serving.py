"""Serve a simulated cluster as a real one is served: everything under one address."""

import asyncio
import secrets
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.applications import Starlette

from agent.access import ensure_token
from agent.lab.exporters import ExporterPages
from agent.lab.logs import Logs
from agent.lab.prometheus import QueryApi
from agent.lab.scheduler import SchedulerApi
from agent.serving import serve as serve_app
from core.clock import Clock, RealClock
from sim.exporter import EVERY_S, Exporters
from sim.port import SimulatedCluster
from sim.scenario import Scenario
from sim.warm import warm
from sim.world import World

# A Prometheus keeps a connection to each target: two exporters on each of many nodes.
MAX_CONNECTIONS = 4096


@dataclass(frozen=True, slots=True)
class LabSettings:
    """How to serve.

    token_folder: the token that orders must bring is in its file ``token``, made on first use
    every_s: how often the exporters collect
    stamped: samples bear the cluster's time, for a clock that is not the time of day
    """

    listen: str = "127.0.0.1:9800"
    token_folder: Path = Path("gpumedic-lab")
    every_s: float = EVERY_S
    stamped: bool = False


def lab_app(cluster: SimulatedCluster, wanted: LabSettings, *, token: str) -> Starlette:
    """Return the application: exporters, query API, logs and scheduler of one cluster."""
    exporters = Exporters(cluster.world, every_s=wanted.every_s)
    return Starlette(
        routes=[
            *SchedulerApi(cluster, token).routes(),
            *Logs(cluster, run=secrets.token_hex(4)).routes(),
            *ExporterPages(cluster, exporters, stamped=wanted.stamped).routes(),
            *QueryApi(cluster, exporters).routes(),
        ]
    )


async def serve_cluster(
    cluster: SimulatedCluster, wanted: LabSettings, stop: asyncio.Event
) -> None:
    """Serve until ``stop`` is set; ConfigError where the address cannot be had."""
    app = lab_app(cluster, wanted, token=ensure_token(wanted.token_folder))
    await serve_app(app, wanted.listen, stop, max_connections=MAX_CONNECTIONS)


async def serve(
    script: Scenario,
    wanted: LabSettings,
    *,
    seed: int,
    stop: asyncio.Event,
    clock: Clock | None = None,
) -> World:
    """Let a scenario begin now and serve it until ``stop`` is set; return the world it came to.

    Its time is the time of day, one second a second: what scrapes and what looks after it is a
    real program with a clock of its own.
    """
    warm(lambda line: print(line, file=sys.stderr))  # noqa: T201 - a person waits meanwhile
    clock = clock or RealClock()
    begun = replace(script.starting_at(clock.now_s()), telemetry="full")
    world = World.build(begun, seed=seed)
    cluster = SimulatedCluster(world, clock=clock)
    await serve_cluster(cluster, wanted, stop)
    cluster.catch_up()
    return world


async def serve_for(
    script: Scenario, wanted: LabSettings, *, seed: int, duration_s: float = 0.0
) -> World:
    """Serve a scenario for so long, 0: until a signal comes; return the world it came to."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    if duration_s:
        loop.call_later(duration_s, stop.set)
    return await serve(script, wanted, seed=seed, stop=stop)
