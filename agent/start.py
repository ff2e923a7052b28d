"""Start the processes: the node service, the controller, or both in one, from loaded settings."""

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.act.slurm.calls import SlurmAccess
from agent.checkpoints.wiring import CheckpointAges, audit_of, work_of
from agent.checks.once import wanted
from agent.collect.host import HostReader
from agent.collect.nvml import NvmlReader, inventory
from agent.collect.prometheus_settings import PrometheusAccess
from agent.collect.reading import ReaderSource
from agent.config import Loaded, Reloader, Settings
from agent.config.checks import secret_path
from agent.log import start_logging
from agent.node_plan import NodePlan
from agent.node_process import become, run_node
from agent.progress.reader import ProgressReader
from agent.progress.records import records
from core.clock import Clock, RealClock
from core.ports import Closing, EventSource, MetricSource, SelfMending

if TYPE_CHECKING:
    from agent.act.http import HttpCluster
    from agent.act.kubernetes.cluster import KubernetesCluster
    from agent.act.slurm.cluster import SlurmCluster
    from agent.act.torchrun.cluster import TorchrunCluster
    from agent.assembly import Inputs

log = structlog.get_logger()

LOCAL_PROMETHEUS = "http://127.0.0.1:9090"
SLURM_ORDERS = "slurm.json"
LAUNCH_ORDERS = "torchrun.json"


def node_name(settings: Settings) -> str:
    """Return this machine's node name: as set, else the host name without its domain."""
    return settings.host.node or socket.gethostname().partition(".")[0]


def start_node(loaded: Loaded, *, listen: str, duration_s: float = 0.0) -> None:
    """Serve this machine's readings until a signal comes.

    This process becomes the small one, but where checkpoints are watched, which takes the settings.
    """
    settings, clock = loaded.settings, RealClock()
    token = settings.host.orders_token_file
    plan = NodePlan(
        node=node_name(settings),
        listen=listen,
        volumes=tuple(settings.host.volumes),
        interval_s=settings.host.interval,
        dcgm_names=settings.host.dcgm_names,
        kernel_log=settings.host.kernel_log,
        orders_token=str(secret_path(token, os.environ)) if token else "",
        checks=wanted(settings),
        checks_interval_s=settings.checks.interval,
        log_level=settings.log.level,
        log_form=settings.log.format,
        state_dir=str(settings.state_dir),
        duration_s=duration_s,
    )
    audit = audit_of(settings, None, clock)
    if audit is None:
        become(plan)
    else:
        work = work_of(audit, settings.checkpoints.audit)
        asyncio.run(run_node(plan, readers=(CheckpointAges(audit, clock),), work=work))


async def run_controller(
    loaded: Loaded, *, read: Callable[[], Loaded], with_host: bool, duration_s: float = 0.0
) -> None:
    """Run the controller until a signal comes.

    read: reads the settings anew, for a reload
    with_host: this machine's own readings are a source too
    """
    from agent.assembly import assemble  # noqa: PLC0415 - the node service does without

    settings, clock = loaded.settings, RealClock()
    start_logging(
        level=settings.log.level, form=settings.log.format, clock=clock, stream=sys.stderr
    )
    for warning in loaded.warnings:
        log.warning("setting could be safer", problem=str(warning))
    found = await discover(settings, clock=clock, with_host=with_host)
    for line in found.said:
        log.info("looked for sources", found=line)
    inputs = inputs_of(settings, found.sources, clock=clock, events=found.event_sources)
    app = await assemble(settings, inputs, clock=clock)
    log.info("controller started", page=f"http://{settings.server.listen}")
    await app.service(Reloader(loaded, read=read, apply=app.apply), duration_s=duration_s).run()


@dataclass(frozen=True, slots=True)
class Found:
    """The sources there are, and what was looked for and found, a line each."""

    sources: Sequence[MetricSource]
    said: Sequence[str]
    event_sources: Sequence[EventSource] = ()


async def discover(settings: Settings, *, clock: Clock, with_host: bool) -> Found:
    """Find sources: the Prometheus that is set or a local one, and this machine's own readings."""
    from agent.collect.node_events import NodeEvents  # noqa: PLC0415 - heavy
    from agent.collect.prometheus import PrometheusSource, probe  # noqa: PLC0415 - heavy
    from agent.kernel.wiring import kernel_log_of  # noqa: PLC0415 - the node service has its own

    sources: list[MetricSource] = []
    events: list[EventSource] = []
    said = []
    access = prometheus_access(settings)
    answer = await probe(access, clock=clock)
    own = with_host and settings.host.enabled
    # One that is not there yet is asked again each cycle, where there is nothing else to ask.
    tells = own or settings.scheduler.backend != "http"
    if answer.found or settings.prometheus.url or not tells:
        sources.append(PrometheusSource(access, clock=clock))
        events.append(NodeEvents(access, clock=clock))
    said.append(f"Prometheus at {access.url}: {answer.text}")
    if own:
        node = node_name(settings)
        host = HostReader(node, clock=clock, volumes=settings.host.volumes)
        nvml = NvmlReader(node)
        if settings.host.kernel_log:
            kept = settings.state_dir
            events.append(kernel_log_of(node, nvml, None, state_dir=kept, clock=clock))
        ranks = partial(records, tuple(map(Path, settings.checks.progress)))
        progress = ProgressReader(node, ranks, clock)
        sources += [ReaderSource(reader, clock=clock) for reader in (host, nvml, progress)]
        said += [f"this machine: node {node}", f"GPUs here: {_gpus()}", f"Slurm: {_slurm()}"]
    return Found(sources, said, events)


def inputs_of(
    settings: Settings,
    sources: Sequence[MetricSource],
    *,
    clock: Clock,
    events: Sequence[EventSource] = (),
) -> "Inputs":
    """Return what the controller reads: these sources, and the scheduler in all that it offers."""
    from agent.assembly import Inputs  # noqa: PLC0415 - the node service does without

    scheduler = scheduler_of(settings, clock=clock, sources=sources)
    tells = (scheduler,) if isinstance(scheduler, MetricSource) else ()
    return Inputs(
        sources=(*sources, *tells),
        event_sources=(*events, scheduler) if scheduler else tuple(events),
        cluster=scheduler,
        mending=scheduler if isinstance(scheduler, SelfMending) else None,
        closing=scheduler if isinstance(scheduler, Closing) else None,
    )


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


def scheduler_of(
    settings: Settings, *, clock: Clock, sources: Sequence[MetricSource] = ()
) -> "HttpCluster | SlurmCluster | KubernetesCluster | TorchrunCluster | None":
    """Return the scheduler that is set, or None; ConfigError where it cannot be reached so.

    sources: that tell which GPU is which, where the scheduler knows only their numbers
    """
    wanted = settings.scheduler
    if wanted.backend == "slurm":
        return slurm_of(settings, clock=clock, sources=sources)
    if wanted.backend == "kubernetes":
        return kubernetes_of(settings, clock=clock)
    if wanted.backend == "torchrun":
        return torchrun_of(settings, clock=clock)
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


def slurm_of(
    settings: Settings, *, clock: Clock, sources: Sequence[MetricSource]
) -> "SlurmCluster":
    """Return the Slurm that is set; orders are kept in the state folder."""
    from agent.act.gpu_names import GpuNames  # noqa: PLC0415
    from agent.act.programs import Programs  # noqa: PLC0415
    from agent.act.slurm.cluster import SlurmCluster, SlurmSettings  # noqa: PLC0415 - heavy

    wanted = settings.slurm
    site = SlurmSettings(
        spares=wanted.spares,
        silent_s=wanted.silent_after,
        programs=Programs({str(kind): argv for kind, argv in wanted.programs.items()}),
    )
    path = settings.state_dir / SLURM_ORDERS
    names = GpuNames(sources, clock)
    access = slurm_access(settings)
    return SlurmCluster(access, clock=clock, settings=site, path=path, gpu_names=names)


def kubernetes_of(settings: Settings, *, clock: Clock) -> "KubernetesCluster":
    """Return the Kubernetes that is set; what it keeps is kept on its nodes and jobs."""
    from agent.act.kubernetes.calls import KubernetesAccess  # noqa: PLC0415 - heavy
    from agent.act.kubernetes.cluster import (  # noqa: PLC0415
        KubernetesCluster,
        KubernetesSettings,
    )
    from agent.act.programs import Programs  # noqa: PLC0415

    wanted = settings.kubernetes
    access = KubernetesAccess(
        kubeconfig=Path(wanted.kubeconfig) if wanted.kubeconfig else None,
        context=wanted.context,
        namespaces=wanted.namespaces,
        timeout_s=wanted.timeout,
    )
    programs = {str(kind): argv for kind, argv in wanted.programs.items()}
    site = KubernetesSettings(
        gpu=wanted.gpu,
        spares=wanted.spares,
        group_label=wanted.group_label,
        programs=Programs(programs, setting="kubernetes.programs"),
        lease=wanted.lease,
        lease_namespace=wanted.lease_namespace,
    )
    return KubernetesCluster(access, clock=clock, settings=site)


def torchrun_of(settings: Settings, *, clock: Clock) -> "TorchrunCluster":
    """Return the launches of this machine; orders are kept in the state folder."""
    from agent.act.programs import Programs  # noqa: PLC0415 - heavy
    from agent.act.torchrun.cluster import TorchrunCluster, TorchrunSettings  # noqa: PLC0415

    wanted = settings.torchrun
    programs = {str(kind): argv for kind, argv in wanted.programs.items()}
    site = TorchrunSettings(
        folder=Path(wanted.folder) if wanted.folder else None,
        programs=Programs(programs, setting="torchrun.programs"),
    )
    return TorchrunCluster(clock=clock, settings=site, path=settings.state_dir / LAUNCH_ORDERS)


def slurm_access(settings: Settings) -> SlurmAccess:
    """Return how to reach the Slurm that is set, or the one that its programs find."""
    wanted = settings.slurm
    token = wanted.rest_token_file
    return SlurmAccess(
        conf=Path(wanted.conf) if wanted.conf else None,
        programs=Path(wanted.bin) if wanted.bin else None,
        timeout_s=wanted.timeout,
        rest=wanted.rest,
        rest_token_file=secret_path(token, os.environ) if token else None,
    )


def _gpus() -> str:
    found = inventory()
    count = len(found.gpus)
    return f"{count}, driver {found.driver}" if count else found.missing


def _slurm() -> str:
    sinfo = shutil.which("sinfo")
    if sinfo is None:
        return "sinfo is not on PATH; what would be done is said for the nodes that readings name"
    return f'{sinfo} is here; [scheduler] backend = "slurm" reads and heals by it'
