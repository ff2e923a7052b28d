"""All checks of this machine, made at once; none can stop the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agent.checks.check import Check, Health, State
from agent.checks.gpus import Gpus, Seen
from agent.checks.kernel import Kernel
from agent.checks.load import Memory, OpenFiles, Pressure
from agent.checks.machine import Machine
from agent.checks.plugins import Plugins
from agent.checks.ports import Infiniband, Interfaces
from agent.checks.processes import Processes
from agent.checks.processor import MemoryErrors, Processors, Temperatures
from agent.checks.recent import HOUR_S
from agent.checks.timekeeping import ClockSync
from agent.checks.volumes import Volumes
from agent.collect.host import HostReader
from agent.collect.patience import Patience, Stuck
from agent.kernel.recent import Heard, recent
from agent.progress.check import Progress
from agent.progress.records import records

DEADLINE_S = 10.0  # of a check that names none
HANGS = "See what hangs: a file server, a driver, or this machine as a whole."
BROKEN = "Report it, with this sentence."


@dataclass(slots=True)
class Suite:
    """Makes every check; one that hangs is not made again before it is back."""

    checks: Sequence[Check]
    plugins: Plugins | None = None
    skip: frozenset[str] = frozenset()
    _patience: Patience[State] = field(default_factory=lambda: Patience(DEADLINE_S))

    def run(self) -> tuple[State, ...]:
        """Return a state for each check, in a fixed order; blocks for the longest deadline."""
        # Plug-ins come last: each lowers the priority of its thread for what comes after it.
        among = (*self.checks, *(self.plugins.checks() if self.plugins else ()))
        made = {check.name: check for check in among if check.name not in self.skip}
        self._patience.own_s = {name: check.deadline_s for name, check in made.items()}
        found = self._patience.wait_for({name: check.run for name, check in made.items()})
        return tuple(_as_state(name, result) for name, result in found.items())


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings say of checks, in plain values: the node service has no settings' code.

    infiniband: ports and their rate, such as ``8x400``; "": not said
    plugins:    the folder of further checks
    limit_s:    longest that a plug-in may run
    progress:   folders with ranks' records, beside each user's own in /dev/shm
    """

    infiniband: str = ""
    plugins: Path = Path("/etc/gpumedic/checks.d")
    limit_s: float = 10.0
    parallel: int = 4
    skip: tuple[str, ...] = ()
    progress: tuple[str, ...] = ()


def suite_of(
    wanted: Wanted,
    host: HostReader,
    gpus: Callable[[], Seen],
    at: Machine,
    *,
    hit: Callable[[str], str] = lambda _: "",
    heard: Callable[[], Heard] | None = None,
) -> Suite:
    """Return the checks that are wanted of this machine.

    gpus: shows what is known of the GPUs; hit: whose work runs on one, see ``Gpus``
    heard: what the kernel said of late; None: its log is read
    """

    def log() -> Heard:
        return recent(host.target.node, since_s=HOUR_S, clock=at.clock)

    checks: tuple[Check, ...] = (
        Processors(at),
        Memory(at, host),
        MemoryErrors(at),
        OpenFiles(host),
        Pressure(at, host),
        Processes(at),
        Temperatures(at),
        Volumes(at, host),
        Interfaces(at),
        Infiniband(at, wanted.infiniband),
        ClockSync(),
        Gpus(at, gpus, hit),
        Kernel(heard or log, at.clock),
        Progress(partial(records, tuple(map(Path, wanted.progress))), at.clock),
    )
    plugins = Plugins(wanted.plugins, wanted.limit_s, wanted.parallel)
    return Suite(checks, plugins, frozenset(wanted.skip))


def _as_state(name: str, result: State | Exception) -> State:
    if isinstance(result, State):
        return result
    if isinstance(result, Stuck):
        return State(name, Health.UNKNOWN, str(result), HANGS)
    reason = f"looking at it failed: {type(result).__name__}: {result}"
    return State(name, Health.UNKNOWN, reason, BROKEN)
