"""Start the processes: the node service, the controller, or both in one, from loaded settings."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.collect.host import HostReader
from agent.collect.nvml import NvmlReader, inventory
from agent.collect.prometheus_settings import PrometheusAccess
from agent.collect.reading import ReaderSource
from agent.config import Loaded, Reloader, Settings
from agent.config.checks import secret_path
from agent.log import start_logging
from agent.node import NodeService
from agent.service import Service
from agent.serving import serve
from agent.systemd import Systemd
from core.clock import Clock, RealClock
from core.ports import MetricSource

if TYPE_CHECKING:
    from agent.act.http import HttpCluster

log = structlog.get_logger()

LOCAL_PROMETHEUS = "http://127.0.0.1:9090"


def node_name(settings: Settings) -> str:
    """Return this machine's node name: as set, else the host name without its domain."""
    return settings.host.node or socket.gethostname().partition(".")[0]


async def run_node(loaded: Loaded, *, listen: str, duration_s: float = 0.0) -> None:
    """Serve this machine's readings until a signal comes."""
    settings, clock = loaded.settings, RealClock()
    start_logging(
        level=settings.log.level, form=settings.log.format, clock=clock, stream=sys.stderr
    )
    node = node_name(settings)
    host = HostReader(node, clock=clock, volumes=settings.host.volumes)
    page = NodeService((host, NvmlReader(node)), clock=clock)
    log.info("node service started", node=node, page=f"http://{listen}/metrics")
    await Service(
        systemd=Systemd(os.environ, clock),
        periodic=(),
        servers=(lambda stop: serve(page.app, listen, stop),),
        status=lambda: f"Serving the readings of {node} at {listen}.",
        healthy=lambda: True,
        reload=_nothing_to_reload,
        close=_nothing_to_close,
        duration_s=duration_s,
    ).run()


async def run_controller(
    loaded: Loaded, *, read: Callable[[], Loaded], with_host: bool, duration_s: float = 0.0
) -> None:
    """Run the controller until a signal comes.

    read: reads the settings anew, for a reload
    with_host: this machine's own readings are a source too
    """
    from agent.assembly import Inputs, assemble  # noqa: PLC0415 - the node service does without

    settings, clock = loaded.settings, RealClock()
    start_logging(
        level=settings.log.level, form=settings.log.format, clock=clock, stream=sys.stderr
    )
    for warning in loaded.warnings:
        log.warning("setting could be safer", problem=str(warning))
    found = await discover(settings, clock=clock, with_host=with_host)
    for line in found.said:
        log.info("looked for sources", found=line)
    scheduler = scheduler_of(settings, clock=clock)
    hands = (scheduler,) if scheduler else ()
    inputs = Inputs(sources=found.sources, event_sources=hands, cluster=scheduler)
    app = await assemble(settings, inputs, clock=clock)
    log.info("controller started", page=f"http://{settings.server.listen}")
    await app.service(Reloader(loaded, read=read, apply=app.apply), duration_s=duration_s).run()


@dataclass(frozen=True, slots=True)
class Found:
    """The sources of readings there are, and what was looked for and found, a line each."""

    sources: Sequence[MetricSource]
    said: Sequence[str]


async def discover(settings: Settings, *, clock: Clock, with_host: bool) -> Found:
    """Find sources: the Prometheus that is set or a local one, and this machine's own readings."""
    from agent.collect.prometheus import PrometheusSource, probe  # noqa: PLC0415 - heavy

    sources: list[MetricSource] = []
    said = []
    access = prometheus_access(settings)
    answer = await probe(access, clock=clock)
    own = with_host and settings.host.enabled
    # One that is not there yet is asked again each cycle, where there is nothing else to ask.
    if answer.found or settings.prometheus.url or not own:
        sources.append(PrometheusSource(access, clock=clock))
    said.append(f"Prometheus at {access.url}: {answer.text}")
    if own:
        node = node_name(settings)
        host = HostReader(node, clock=clock, volumes=settings.host.volumes)
        sources += [ReaderSource(reader, clock=clock) for reader in (host, NvmlReader(node))]
        said += [f"this machine: node {node}", f"GPUs here: {_gpus()}", f"Slurm: {_slurm()}"]
    return Found(sources, said)


def prometheus_access(settings: Settings) -> PrometheusAccess:
    """Return how to reach the Prometheus that is set, or a local one."""
    wanted = settings.prometheus
    return PrometheusAccess(
        url=wanted.url or LOCAL_PROMETHEUS,
        token_file=secret_path(wanted.token_file, os.environ) if wanted.token_file else None,
        ca_file=Path(wanted.ca_file) if wanted.ca_file else None,
        timeout_s=wanted.timeout,
        metrics=wanted.metrics,
        extra_labels={str(part): label for part, label in wanted.labels.items()},
    )


def scheduler_of(settings: Settings, *, clock: Clock) -> "HttpCluster | None":
    """Return the scheduler that is set, or None; ConfigError where its certificate is none."""
    wanted = settings.scheduler
    if not wanted.url:
        return None
    from agent.act.http import ClusterAccess, HttpCluster  # noqa: PLC0415 - heavy

    access = ClusterAccess(
        url=wanted.url,
        token_file=secret_path(wanted.token_file, os.environ) if wanted.token_file else None,
        ca_file=Path(wanted.ca_file) if wanted.ca_file else None,
        timeout_s=wanted.timeout,
    )
    return HttpCluster(access, clock=clock)


def _gpus() -> str:
    found = inventory()
    count = len(found.gpus)
    return f"{count}, driver {found.driver}" if count else found.missing


def _slurm() -> str:
    sinfo = shutil.which("sinfo")
    if sinfo is None:
        return "sinfo is not on PATH; what would be done is said for the nodes that readings name"
    return f"{sinfo} is here, but this version does not act through Slurm yet"


async def _nothing_to_reload() -> None:
    log.info("nothing to reload: the node service has no settings that change while it runs")


async def _nothing_to_close() -> None:
    return
