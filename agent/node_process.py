"""The node service put together: every wire of its process is in this file.

``gpumedic node`` reads the settings and then becomes ``agent.node_main`` under the same process id.
What stays has no command line, no settings and no checkpoints: tests/test_node_process.py says what
it may not import, and ``gpumedic bench node`` what it may cost.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from starlette.routing import Route

from agent.checks.machine import Machine
from agent.checks.rounds import Rounds
from agent.checks.suite import suite_of
from agent.collect.host import HostReader
from agent.collect.nvml import NvmlReader, XidEvents
from agent.collect.reading import Reader
from agent.kernel.recent import Heard
from agent.kernel.wiring import kernel_log_of
from agent.local_jobs.jobs import GpusWithJobs, LocalJobs
from agent.log import start_logging
from agent.node import NodeService
from agent.node_orders import routes_of
from agent.node_plan import NodePlan, written
from agent.progress.logs import LogReader
from agent.progress.pulse import PulseReader
from agent.progress.reader import ProgressReader
from agent.progress.records import records
from agent.service import Periodic, Service
from agent.serving import serve
from agent.systemd import Systemd
from core.clock import Clock, RealClock

log = structlog.get_logger()

# The page shows the last reading, however many ask; only where the next one is late, it waits.
LATE = 1.5


# Each look at a GPU or a file system is a thread's, and glibc gives threads memory of their own,
# eight pieces a core, that fill up over days: one piece is enough for who allocates so little.
MEMORY = {"MALLOC_ARENA_MAX": "1"}


def become(plan: NodePlan) -> None:
    """Replace this process by the node service; does not return."""
    words = [sys.executable, "-P", "-m", "agent.node_main", written(plan)]
    sys.stdout.flush()
    os.execve(sys.executable, words, {**os.environ, **MEMORY})  # noqa: S606


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service is made of: its page and its checks."""

    page: NodeService
    rounds: Rounds


def parts_of(plan: NodePlan, clock: Clock, readers: Sequence[Reader] = ()) -> Parts:
    """Return the parts, with nothing started."""
    # Two, for each is asked by one thread at a time: readings by one, rounds of checks by another.
    host, own = (HostReader(plan.node, clock=clock, volumes=plan.volumes) for _ in range(2))
    nvml = NvmlReader(plan.node, clock=clock)
    kept = Path(plan.state_dir) if plan.state_dir else None
    xids = XidEvents(plan.node, clock=clock)
    jobs = LocalJobs(plan.node, lambda: nvml.gpus, clock)
    kernel = kernel_log_of(
        *(plan.node, nvml, xids),
        state_dir=kept,
        clock=clock,
        read=plan.kernel_log,
        hit_at=jobs.hit_at,
    )

    def heard() -> Heard:
        _, problems = kernel.poll()
        return Heard(kernel.tally.after(0)[1], problems)

    suite = suite_of(plan.checks, own, lambda: nvml, Machine(clock), hit=jobs.hit, heard=heard)
    rounds = Rounds(plan.node, suite.run, clock)
    kernel.more = (*kernel.more, rounds.news)
    ranks = partial(records, tuple(map(Path, plan.checks.progress)))
    progress = ProgressReader(plan.node, ranks, clock)
    logs = LogReader(jobs.all, lambda: {record.job for record in ranks()}, clock)
    pulse = PulseReader(plan.node, lambda: nvml.gpus)
    page = NodeService(
        (host, GpusWithJobs(nvml, jobs), kernel, progress, logs, pulse, *readers),
        clock=clock,
        texts=(rounds.text, kernel.text),
        routes=(
            Route("/v1/checks", rounds.answer),
            *kernel.routes(),
            *routes_of(plan.orders_token, nvml, xids),
        ),
        share_s=LATE * plan.interval_s,
        dcgm_names=plan.dcgm_names,
    )
    return Parts(page, rounds)


async def run_node(
    plan: NodePlan, *, readers: Sequence[Reader] = (), work: Sequence[Periodic] = ()
) -> None:
    """Serve this machine's readings until a signal comes.

    readers, work: what is read and done besides
    """
    clock = RealClock()
    start_logging(level=plan.log_level, form=plan.log_form, clock=clock, stream=sys.stderr)
    parts = parts_of(plan, clock, readers)
    log.info("node service started", node=plan.node, page=f"http://{plan.listen}/metrics")
    await Service(
        systemd=Systemd(os.environ, clock),
        periodic=(
            Periodic("readings", plan.interval_s, parts.page.snapshot, interruptible=True),
            Periodic("checks", plan.checks_interval_s, parts.rounds.go, interruptible=True),
            *work,
        ),
        servers=(lambda stop: serve(parts.page.app, plan.listen, stop),),
        status=lambda: f"Serving the readings of {plan.node} at {plan.listen}.",
        healthy=lambda: True,
        reload=_nothing_to_reload,
        close=_nothing_to_close,
        duration_s=plan.duration_s,
    ).run()


async def _nothing_to_reload() -> None:
    log.info("nothing to reload: restart the node service for it to read its settings anew")


async def _nothing_to_close() -> None:
    return
