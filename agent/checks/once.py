"""One round of all checks of this machine, as ``gpumedic check`` makes it."""

from collections.abc import Sequence
from functools import partial

from agent.checks.check import State
from agent.checks.kernel import NAME as KERNEL
from agent.checks.machine import Machine
from agent.checks.suite import Suite, Wanted, suite_of
from agent.collect.host import HostReader
from agent.collect.nvml import NvmlReader
from agent.config import Settings
from core.clock import RealClock
from core.errors import InputError


def check_once(settings: Settings, node: str, *, only: Sequence[str] = ()) -> tuple[State, ...]:
    """Return the states; InputError where a name in ``only`` is none of theirs.

    What only shows over time (rates, flaps, how long a process hangs) takes the node service.
    node: this machine's name
    """
    clock = RealClock()
    host = HostReader(node, clock=clock, volumes=settings.host.volumes)
    suite = suite_of(wanted(settings), host, partial(_gpus, node), Machine(clock))
    return _among(suite, only).run() if only else suite.run()


def wanted(settings: Settings) -> Wanted:
    """Return the settings of checks in plain values; a log that is not to be read is no check."""
    checks = settings.checks
    return Wanted(
        infiniband=checks.infiniband,
        plugins=checks.plugins,
        limit_s=checks.time_limit,
        parallel=checks.parallel,
        skip=checks.skip if settings.host.kernel_log else (*checks.skip, KERNEL),
        progress=checks.progress,
    )


def _gpus(node: str) -> NvmlReader:
    """Ask the driver once."""
    reader = NvmlReader(node)
    reader.snapshot()
    return reader


def _among(suite: Suite, only: Sequence[str]) -> Suite:
    every = (*suite.checks, *(suite.plugins.checks() if suite.plugins else ()))
    names = [check.name for check in every]
    if strange := [name for name in only if name not in names]:
        raise InputError(
            f"Checking {strange[0]!r}: there is no such check here. There are {', '.join(names)}."
        )
    return Suite([check for check in every if check.name in only])
