"""One round of all checks of this machine, as ``gpumedic check`` makes it."""

from collections.abc import Sequence

from agent.checks.check import State
from agent.checks.machine import Machine
from agent.checks.suite import Suite, Wanted, suite_of
from agent.collect.host import HostReader
from agent.collect.nvml import NvmlReader
from agent.config import Settings
from agent.config.node_checks import Checks
from core.clock import RealClock
from core.errors import InputError


def check_once(settings: Settings, *, only: Sequence[str] = ()) -> tuple[State, ...]:
    """Return the states; InputError where a name in ``only`` is none of theirs.

    What only shows over time (rates, flaps, how long a process hangs) takes the node service.
    """
    clock = RealClock()
    host = HostReader("", clock=clock, volumes=settings.host.volumes)
    suite = suite_of(wanted(settings.checks), host, _gpus, Machine(clock))
    return _among(suite, only).run() if only else suite.run()


def wanted(settings: Checks) -> Wanted:
    """Return the settings of checks in plain values."""
    return Wanted(
        infiniband=settings.infiniband,
        plugins=settings.plugins,
        limit_s=settings.time_limit,
        parallel=settings.parallel,
        skip=settings.skip,
        progress=settings.progress,
    )


def _gpus() -> NvmlReader:
    """Ask the driver once."""
    reader = NvmlReader("")
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
