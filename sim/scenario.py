"""What a simulated cluster is made of and what will break in it, as frozen data."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.errors import InputError
from core.target import Target

GPUS_PER_NODE = 8
SCRATCH = "/scratch"

XID_79 = "gpu_fallen_off_bus"
COOLING = "cooling_degraded"
LEAK = "loader_memory_leak"
FILLING = "volume_filling"
FAULTS = (XID_79, COOLING, LEAK, FILLING)

_MINUTE_S = 60.0
_DAY_S = 86400.0
_HOTTEST = 3.0
_START_S = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A synchronous data-parallel training job.

    compute_s, data_wait_s, collective_s: a step's parts on a healthy node, where the fastest GPU
      sets 1.0; the slowest rank decides what the job gets
    checkpoint_interval_s: work between two checkpoints
    checkpoint_stall_s: all ranks wait; 6.8-13 s for a blocking Megatron save (ByteRobust)
    checkpoint_save_s: from the end of the stall until the checkpoint is whole on shared storage;
      51 s end to end were reported for 405B parameters
    """

    id: str
    nodes: int
    compute_s: float = 4.0
    data_wait_s: float = 0.15
    collective_s: float = 0.6
    checkpoint_interval_s: float = 600.0
    checkpoint_stall_s: float = 7.0
    checkpoint_save_s: float = 51.0
    priority: int = 0

    @property
    def ideal_step_s(self) -> float:
        """Return the time of a step where nothing is slow: what goodput counts a step as."""
        return self.compute_s + self.data_wait_s + self.collective_s

    def __post_init__(self) -> None:
        times = (self.compute_s, self.checkpoint_interval_s)
        waits = (self.data_wait_s, self.collective_s, self.checkpoint_stall_s)
        if self.nodes < 1 or not min(times) > 0 or not min(*waits, self.checkpoint_save_s) >= 0:
            raise InputError(
                f"job {self.id}: needs at least 1 node, a compute time and checkpoint interval "
                f"above 0 s and no negative time; got {self}."
            )
        if self.checkpoint_save_s >= self.checkpoint_interval_s:
            raise InputError(
                f"job {self.id}: a checkpoint takes {self.checkpoint_save_s:g} s to save and the "
                f"next starts {self.checkpoint_interval_s:g} s later; make the interval longer."
            )


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault that will happen, whatever is done.

    target: a node; for a GPU's fault with its GPU by number, ``3`` for the node's fourth (UUIDs
      come with the seed); with no GPU named, one is drawn
    onset_s: seconds after the scenario's start; negative in its history
    lasts_s: repaired by hand that long after the onset; infinite: nobody comes
    severity: 1 is the case described in the catalogue; 2 heats or fills twice as much or fast;
      for cooling at most 3: hotter air than that no clock can hold out against
    """

    fault: str
    target: Target
    onset_s: float
    lasts_s: float = math.inf
    severity: float = 1.0

    def __post_init__(self) -> None:
        _known_fault(self.fault)
        if self.target.gpu not in ("", *(str(gpu) for gpu in range(GPUS_PER_NODE))):
            raise InputError(
                f"fault {self.fault} on {self.target.node}: names GPU {self.target.gpu!r}; name "
                f"it by its number on the node, 0 to {GPUS_PER_NODE - 1}, or leave it out."
            )
        most = _HOTTEST if self.fault == COOLING else math.inf
        if not self.lasts_s > 0 or not 0 < self.severity <= most:
            raise InputError(
                f"fault {self.fault} on {self.target}: needs a duration and severity above 0, and "
                f"a severity of at most {most:g}; got {self.lasts_s:g} s and {self.severity:g}."
            )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One cluster, its jobs and its faults; with a seed it makes one world.

    nodes:   all of them, ``spares`` included; those are the last in order
    racks:   nodes are spread over them evenly, in order; each has one leaf switch
    rates:   (fault, mean number per node and day), drawn as independent exponential arrivals
             after the start
    start_s: when the agent starts, seconds since the epoch; goodput is counted from here
    history_s: how long the cluster has run undisturbed before that, for back-fill
    """

    name: str
    nodes: int
    racks: int
    spares: int
    jobs: tuple[JobSpec, ...]
    faults: tuple[FaultSpec, ...] = ()
    rates: tuple[tuple[str, float], ...] = ()
    start_s: float = _START_S
    history_s: float = _DAY_S

    def __post_init__(self) -> None:
        wanted = sum(job.nodes for job in self.jobs)
        if wanted + self.spares > self.nodes:
            raise InputError(
                f"scenario {self.name}: its jobs need {wanted} nodes beside {self.spares} spares, "
                f"and the cluster has {self.nodes}; make a job smaller or add nodes."
            )
        if not 1 <= self.racks <= self.nodes or self.spares < 0 or self.history_s < 0:
            raise InputError(
                f"scenario {self.name}: needs 1 to {self.nodes} racks, and spares and history not "
                f"below 0; got {self.racks} racks, {self.spares} spares, {self.history_s:g} s."
            )
        if len({job.id for job in self.jobs}) < len(self.jobs):
            raise InputError(f"scenario {self.name}: two jobs have one id; name them apart.")
        names = {node_name(index) for index in range(self.nodes)}
        for spec in self.faults:
            if spec.target.node not in names:
                raise InputError(
                    f"scenario {self.name}: {spec.fault} strikes {spec.target}, which is on no "
                    f"node of it; its nodes are {node_name(0)} to {node_name(self.nodes - 1)}."
                )
        for fault, rate in self.rates:
            _known_fault(fault)
            if not 0 <= rate < math.inf:
                raise InputError(
                    f"scenario {self.name}: {fault} has the rate {rate:g} per node and day; it "
                    "must be 0 or more."
                )

    def starting_at(self, start_s: float) -> "Scenario":
        """Return the same scenario at another time; faults keep their distance from the start."""
        return replace(self, start_s=start_s)


def scenario(name: str) -> Scenario:
    """Return a built-in scenario; InputError names the nearest where there is none."""
    if name not in SCENARIOS:
        raise InputError(f"no scenario {name!r}; {_nearest(name, tuple(SCENARIOS))}.")
    return SCENARIOS[name]


def node_name(index: int) -> str:
    """Return the name of the node of that index."""
    return f"node-{index:02d}"


def _known_fault(fault: str) -> None:
    if fault not in FAULTS:
        raise InputError(f"no fault {fault!r} in the catalogue; {_nearest(fault, FAULTS)}.")


def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


_JOBS = (
    JobSpec("llm-70b", nodes=8, priority=10),
    JobSpec("llm-8b", nodes=4, compute_s=2.4, data_wait_s=0.1, collective_s=0.3),
    JobSpec("vision", nodes=2, compute_s=0.9, data_wait_s=0.2, collective_s=0.05),
)
_QUIET = Scenario("quiet", nodes=16, racks=4, spares=2, jobs=_JOBS)
_DEMO_FAULTS = (
    # Visible from the start and due 50 minutes after it: a leak of 75 minutes that began 25 ago.
    FaultSpec(LEAK, Target(node=node_name(9)), onset_s=-25 * _MINUTE_S),
    FaultSpec(XID_79, Target(node=node_name(3), gpu="5"), onset_s=4 * _MINUTE_S),
    FaultSpec(COOLING, Target(node=node_name(13)), onset_s=14 * _MINUTE_S),
)
# 20 times the published 3.8 unexpected faults per 1,000 node-days would still be one a day for 16
# nodes; these rates give a fault about every half hour, for trying things out.
_RATES = ((XID_79, 1.2), (COOLING, 0.8), (LEAK, 0.6), (FILLING, 0.4))

SCENARIOS: Mapping[str, Scenario] = {
    "demo": replace(_QUIET, name="demo", faults=_DEMO_FAULTS),
    "quiet": _QUIET,
    "random": replace(_QUIET, name="random", rates=_RATES),
}
