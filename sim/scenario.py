"""What a simulated cluster is made of, what runs on it and what will break, as frozen data."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from core.errors import InputError
from core.target import Target
from sim.catalogue import fault_class, profile
from sim.checks import nearest, not_negative, one_of, positive, ratios
from sim.engine.words import Scope

GPUS_PER_NODE = 8
SCRATCH = "/scratch"

XID_79 = "gpu_fallen_off_bus"
COOLING = "cooling_degraded"
LEAK = "loader_memory_leak"
FILLING = "volume_filling"

JOB_KINDS = ("training", "parameter_server", "elastic", "service", "pipeline", "interactive")
TELEMETRY = ("full", "surrogate", "none")

_HOUR_S = 3600.0
_DAY_S = 86400.0
_HOTTEST = 3.0
_START_S = 1_700_000_000.0
_STORAGE_PER_NODE = 1e9  # Tectonic gave 2 TB/s to Llama 3's 2,048 nodes (from memory)


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What a job that answers requests does.

    rate:      requests a second, averaged over a week
    daily:     depth of the daily pattern, 0 to 1; burst: deviation of a minute's rate, as a ratio
    replicas:  each on ``gpus_each`` GPUs; a new one answers after ``warm_s``
    batch:     most requests served together; ``batch_s`` for one, ``batch_more_s`` for each more
    objective_s: a request that takes longer is late
    canary:    share of the requests that the newest version answers
    """

    rate: float
    replicas: int
    gpus_each: int = 1
    daily: float = 0.4
    burst: float = 0.1
    warm_s: float = 120.0
    batch: float = 32.0
    batch_s: float = 0.4
    batch_more_s: float = 0.02
    objective_s: float = 2.0
    canary: float = 0.0

    def __post_init__(self) -> None:
        if not (self.rate >= 0 and self.replicas >= 1 and self.gpus_each >= 1 and self.batch >= 1):
            raise InputError(
                "a service needs a rate not below 0 and at least 1 replica, 1 GPU each and 1 "
                f"request a batch; got {self}."
            )
        ratios("a service", self, ("daily", "canary"))
        not_negative("a service", self, ("burst", "warm_s", "batch_s", "batch_more_s"))
        if not self.objective_s > 0:
            raise InputError(f"a service needs an objective above 0 s; got {self.objective_s:g} s.")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job by name: by default a synchronous data-parallel training.

    compute_s, data_wait_s, collective_s: a step's parts on a healthy node, where the fastest GPU
      sets 1.0; the slowest rank decides what the job gets
    checkpoint_interval_s: work between two checkpoints
    checkpoint_stall_s: all ranks wait; 6.8-13 s for a blocking Megatron save (ByteRobust)
    checkpoint_save_s: from the end of the stall until the checkpoint is whole on shared storage;
      51 s end to end were reported for 405B parameters
    gpus:      less than a node; None: all of its nodes
    least_nodes, most_nodes: what an elastic job runs on; None: ``nodes``
    unit:      GPUs it grows and shrinks by; None: whole nodes, or ``tp`` x ``pipeline`` if more
    submit_s:  after the start; None: it has run from the world's beginning
    work_steps: it ends after these; inf: when somebody ends it
    micro:     micro-batches of a step through each pipeline, at the size asked for, beside the
      ``pipeline`` - 1 for which its stages stand empty; 0: 48, as in Sia (SOSP'23)
    model:     whose measured scaling it follows; "": perfect scaling
    loaders:   threads, 1 as submitted; cache: share of reads a local cache answers
    bytes_per_step: read from shared storage by the whole job
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
    kind: str = "training"
    gpus: int | None = None
    least_nodes: int | None = None
    most_nodes: int | None = None
    unit: int | None = None
    tp: int = 1
    pipeline: int = 1
    micro: int = 0
    submit_s: float | None = None
    work_steps: float = math.inf
    model: str = ""
    overlap: float = 0.0
    loaders: float = 1.0
    batch: float = 1.0
    cache: float = 0.0
    bytes_per_step: float = 0.0
    service: ServiceSpec | None = None

    @property
    def ideal_step_s(self) -> float:
        """Return the time of a step where nothing is slow: what goodput counts a step as."""
        return self.compute_s + self.data_wait_s + self.collective_s

    def __post_init__(self) -> None:
        name = f"job {self.id}"
        times = (self.compute_s, self.checkpoint_interval_s)
        waits = (self.data_wait_s, self.collective_s, self.checkpoint_stall_s)
        if self.nodes < 1 or not min(times) > 0 or not min(*waits, self.checkpoint_save_s) >= 0:
            raise InputError(
                f"{name}: needs at least 1 node, a compute time and checkpoint interval "
                f"above 0 s and no negative time; got {self}."
            )
        if self.checkpoint_save_s >= self.checkpoint_interval_s:
            raise InputError(
                f"{name}: a checkpoint takes {self.checkpoint_save_s:g} s to save and the "
                f"next starts {self.checkpoint_interval_s:g} s later; make the interval longer."
            )
        one_of(f"{name}: kind", self.kind, JOB_KINDS)
        ratios(name, self, ("overlap", "cache"))
        not_negative(name, self, ("bytes_per_step", "submit_s", "micro"))
        positive(name, self, ("tp", "pipeline", "work_steps", "loaders", "batch", "gpus", "unit"))
        least, most = self.least_nodes or self.nodes, self.most_nodes or self.nodes
        if not 1 <= least <= self.nodes <= most:
            raise InputError(
                f"{name}: runs on {least} to {most} nodes and asks for {self.nodes}; its size must "
                "lie between its bounds."
            )
        if self.gpus is not None and self.nodes > 1:
            raise InputError(
                f"{name}: asks for {self.gpus} GPUs and {self.nodes} nodes; name GPUs only for "
                "less than a node, with nodes = 1."
            )
        if (self.kind == "service") is not (self.service is not None):
            raise InputError(
                f"{name}: is of kind {self.kind!r} and has {'no' if self.service is None else 'a'} "
                "service; give a service its rate and replicas, and other jobs none."
            )


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault that will happen, whatever is done.

    target: what its class strikes: a node; for a GPU's fault with its GPU by number, ``3`` for the
      node's fourth (UUIDs come with the seed), drawn where none is named; a switch (``leaf-0``), a
      rack, or any node of the power or cooling domain; a job; nothing for storage and the fleet
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
        fault_class(self.fault)
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
        if not math.isfinite(self.onset_s):
            raise InputError(
                f"fault {self.fault} on {self.target}: begins at {self.onset_s:g} s; give the "
                "seconds after the start, or before it as a negative number."
            )


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines: which GPUs, how they hang together, how they differ.

    gpu:     type of every node's GPUs; ``mixed``: (type, nodes), in order from the first node on,
             the rest as ``gpu``
    zones:   racks are spread over them; leaves: switches, nodes in order; None: one a rack
    rails:   network planes; nics a node, ``nic_bytes_per_s`` each (400 Gb/s: one ConnectX-7)
    nvlink_nodes: nodes of one NVLink domain (an NVL72 rack has 18 of 4 GPUs)
    power_nodes, cooling_nodes: nodes that fail together; None: a rack
    storage_bytes_per_s: of the shared storage; None: 1 GB/s a node
    ambient_celsius: beyond the usual
    frailty: variance of the gamma frailty of nodes; lemons: share of nodes whose faults are
             ``lemon_times`` as many; None: as the rate profile says
    """

    gpu: str = "h100"
    gpus_per_node: int = GPUS_PER_NODE
    mixed: tuple[tuple[str, int], ...] = ()
    zones: int = 1
    leaves: int | None = None
    rails: int = 8
    nics: int = 8
    nic_bytes_per_s: float = 50e9
    nvlink_nodes: int = 1
    power_nodes: int | None = None
    cooling_nodes: int | None = None
    storage_bytes_per_s: float | None = None
    ambient_celsius: float = 0.0
    frailty: float | None = None
    lemons: float | None = None
    lemon_times: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.gpus_per_node <= GPUS_PER_NODE:
            raise InputError(
                f"machines: {self.gpus_per_node} GPUs a node; there can be 1 to {GPUS_PER_NODE}."
            )
        counts = ("zones", "leaves", "rails", "nics", "nvlink_nodes", "power_nodes")
        positive("machines", self, (*counts, "cooling_nodes", "nic_bytes_per_s"))
        positive("machines", self, ("storage_bytes_per_s", "lemon_times"))
        not_negative("machines", self, ("frailty",))
        ratios("machines", self, ("lemons",))

    def storage_of(self, nodes: int) -> float:
        """Return the bandwidth of the shared storage, bytes/s."""
        own = self.storage_bytes_per_s
        return nodes * _STORAGE_PER_NODE if own is None else own


@dataclass(frozen=True, slots=True)
class Site:
    """What the site does by itself, without gpumedic; how long things take, how orders fail.

    requeue:   a failed job goes back into the queue after ``requeue_s``, 60 s by its log
               (ByteRobust, SOSP'25); without, it stays stopped until somebody acts
    hang_timeout_s: the collective's own; 10 min (PyTorch since pull request 110947)
    drain:     a node whose fault is known is taken out and repaired
    check_s:   period of health checks, 5 min on RSC; 0: none; they find ``check_recall`` of the
               silent faults (assumed)
    backfill:  jobs looked at behind the first that does not fit
    preempt_after_s: a job of lower priority that has run this long gives way; 2 h on RSC
    restart_s, restart_s_per_gpu: 50 s and 9 ms a GPU (FT-HSDP, arXiv:2602.00277), and
               ``fresh_node_s`` with a node new to the job (ByteRobust); +- ``restart_spread``
    reboot_lo_s, reboot_hi_s: of an 8-GPU node with its self-test; assumed
    blame:     share of diagnoses by the surrogate that name the true cause first
    false_alarms: a day, in the whole cluster
    people_s:  mean time from a page until a person has mended what is broken (assumed)
    validate_s: a node in which nothing is found passes its checks (dcgmi diag -r 3 takes 15 min to
               an hour, NVIDIA's documentation; assumed)
    repair_scale, notice_scale: times the catalogue's repairs by crews, and its delays of detection
    warn_recall: share of precursors for which the surrogate opens an incident (assumed)
    order_delay_s, order_failure: latency of an order, share of orders that fail though possible
    """

    requeue: bool = False
    requeue_s: float = 60.0
    hang_timeout_s: float = 600.0
    drain: bool = False
    check_s: float = 0.0
    check_recall: float = 0.5
    backfill: int = 32
    preempt_after_s: float = math.inf
    restart_s: float = 50.0
    restart_s_per_gpu: float = 0.009
    fresh_node_s: float = 20.0
    restart_spread: float = 0.15
    exact_restart: bool = False
    reboot_lo_s: float = 480.0
    reboot_hi_s: float = 900.0
    blame: float = 0.9
    false_alarms: float = 0.0
    people_s: float = 3600.0
    validate_s: float = 1800.0
    repair_scale: float = 1.0
    notice_scale: float = 1.0
    warn_recall: float = 0.0
    order_delay_s: float = 0.0
    order_failure: float = 0.0

    def __post_init__(self) -> None:
        shares = ("check_recall", "restart_spread", "blame", "warn_recall", "order_failure")
        ratios("site", self, shares)
        not_negative("site", self, [part.name for part in fields(self) if part.name not in shares])
        if self.reboot_hi_s < self.reboot_lo_s:
            raise InputError(
                f"site: a reboot takes {self.reboot_lo_s:g} to {self.reboot_hi_s:g} s; the first "
                "must not be the longer."
            )


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs beside the named ones: drawn from a mix, or replayed from a trace.

    mix:    name of a job mix in the simulator's data; jobs_per_day on average
    daily, weekly: depth of the daily and of the weekend's pattern, 0 to 1
    trace:  path of a job trace; trace_format: which; "": told by its header
    """

    jobs_per_day: float = 0.0
    mix: str = "rsc1"
    daily: float = 0.0
    weekly: float = 0.0
    trace: str = ""
    trace_format: str = ""

    def __post_init__(self) -> None:
        not_negative("workload", self, ("jobs_per_day",))
        ratios("workload", self, ("daily", "weekly"))
        if self.trace and self.jobs_per_day:
            raise InputError(
                f"workload: {self.jobs_per_day:g} jobs a day and the trace {self.trace}; replay a "
                "trace or draw jobs, not both."
            )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One cluster, its jobs and its faults; with a seed it makes one world.

    nodes:   all of them, ``spares`` included; those are the last in order
    racks:   nodes are spread over them evenly, in order; each has one leaf switch
    profile: named rates of drawn faults, times ``rate_scale``; they come after the start
    rates:   (fault, mean number a day and node; of a domain, a day and domain), instead of the
             profile's
    start_s: when the agent starts, seconds since the epoch; goodput is counted from here
    history_s: how long the cluster has run undisturbed before that, for back-fill
    telemetry: ``full``: readings can be made; ``surrogate``: faults are noticed by drawn delays;
             ``none``
    duration_s, seeds, policy: how an experiment runs it unless told otherwise
    best:    what would have been best to do, for the truth beside a run
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
    text: str = ""
    machines: Machines = Machines()
    site: Site = Site()
    workload: Workload | None = None
    telemetry: str = "full"
    duration_s: float = _HOUR_S
    seeds: tuple[int, ...] = (0,)
    policy: str = "rules"
    best: str = ""
    tags: tuple[str, ...] = ()
    profile: str = "none"
    rate_scale: float = 1.0

    def __post_init__(self) -> None:
        one_of(f"scenario {self.name}: telemetry", self.telemetry, TELEMETRY)
        problem = next(problems(self), None)
        if problem is not None:
            raise InputError(f"scenario {self.name}: {problem}")

    def starting_at(self, start_s: float) -> "Scenario":
        """Return the same scenario at another time; faults keep their distance from the start."""
        return replace(self, start_s=start_s)


def problems(scenario: Scenario) -> Iterator[str]:
    """Yield what in a scenario's parts does not go together, a sentence each."""
    yield from _problems_of_size(scenario)
    if len({job.id for job in scenario.jobs}) < len(scenario.jobs):
        yield "two jobs have one id; name them apart."
    yield from _problems_of_faults(scenario)
    for fault, rate in scenario.rates:
        fault_class(fault)
        if not 0 <= rate < math.inf:
            yield f"{fault} has the rate {rate:g} per node and day; it must be 0 or more."


def _problems_of_size(scenario: Scenario) -> Iterator[str]:
    nodes, spares = scenario.nodes, scenario.spares
    wanted = sum(job.nodes for job in scenario.jobs if job.submit_s is None)
    if wanted + spares > nodes:
        yield (
            f"its jobs need {wanted} nodes beside {spares} spares, and the cluster has {nodes}; "
            "make a job smaller or add nodes."
        )
    for job in scenario.jobs:
        if job.submit_s is not None and job.nodes > nodes:
            yield f"job {job.id} needs {job.nodes} nodes, and the cluster has {nodes}."
    if not 1 <= scenario.racks <= nodes or spares < 0 or scenario.history_s < 0:
        yield (
            f"needs 1 to {nodes} racks, and spares and history not below 0; got {scenario.racks} "
            f"racks, {spares} spares, {scenario.history_s:g} s."
        )
    mixed = sum(count for _, count in scenario.machines.mixed)
    if mixed > nodes:
        yield f"{mixed} nodes have GPUs of another type, and the cluster has {nodes}."
    if not (scenario.duration_s > 0 and scenario.rate_scale >= 0 and scenario.seeds):
        yield (
            "needs a duration above 0 s, a rate scale not below 0 and at least one seed; got "
            f"{scenario.duration_s:g} s, {scenario.rate_scale:g} and {len(scenario.seeds)} seeds."
        )


def _problems_of_faults(scenario: Scenario) -> Iterator[str]:
    profile(scenario.profile)
    nodes, leaves = scenario.nodes, scenario.machines.leaves or scenario.racks
    names = {node_name(index, nodes) for index in range(nodes if scenario.faults else 0)}
    racks = {f"rack-{index}" for index in range(scenario.racks)}
    switches = {f"leaf-{index}" for index in range(leaves)}
    for spec in scenario.faults:
        target = spec.target
        scope = fault_class(spec.fault).scope
        if target.node and target.node not in names:
            yield (
                f"{spec.fault} strikes {target}, which is on no node of it; its nodes are "
                f"{node_name(0, nodes)} to {node_name(nodes - 1, nodes)}."
            )
        elif target.gpu and int(target.gpu) >= scenario.machines.gpus_per_node:
            yield (
                f"{spec.fault} strikes GPU {target.gpu} of {target.node}, which has "
                f"{scenario.machines.gpus_per_node}, counted from 0."
            )
        elif wanted := _misses(scope, target):
            yield f"{spec.fault} strikes {target}; it needs {wanted}."
        elif target.rack and target.rack not in racks:
            yield f"{spec.fault} strikes {target}; the last of its racks is rack-{len(racks) - 1}."
        elif target.switch and target.switch not in switches:
            yield f"{spec.fault} strikes {target}; its last switch is leaf-{leaves - 1}."
        elif target.job and target.job not in {job.id for job in scenario.jobs}:
            yield (
                f"{spec.fault} strikes job {target.job!r}; "
                f"{nearest(target.job, [job.id for job in scenario.jobs])}"
            )


def _misses(scope: Scope, target: Target) -> str:
    """Say what a fault of that scope must name and does not, or names too much; "" for nothing."""
    match scope:
        case Scope.GPU | Scope.NODE:
            return "" if target.node else "a node"
        case Scope.LEAF:
            return "" if target.switch or target.node else "a switch, or a node below it"
        case Scope.RACK:
            return "" if target.rack or target.node else "a rack, or a node in it"
        case Scope.POWER | Scope.COOLING:
            return "" if target.node else "a node of the domain"
        case Scope.JOB:
            return "" if target.job else "a job"
        case _:
            return "no target: it is the whole cluster's" if target != Target() else ""


def node_name(index: int, of: int = 1) -> str:
    """Return the name of the node of that index in a cluster of so many: all equally long.

    >>> node_name(3, 16), node_name(3, 2048)
    ('node-03', 'node-0003')
    """
    return f"node-{index:0{max(2, len(str(of - 1)))}d}"
