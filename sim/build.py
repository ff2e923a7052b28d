"""From a scenario and a seed to the tables of a world at its beginning."""

import math
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from sim import workload
from sim.catalogue import CLASSES, class_table, drawn, profile
from sim.engine import slots
from sim.engine.rows_cluster import DOMAIN, SITE
from sim.engine.rows_faults import PLANNED
from sim.engine.rows_jobs import JOB, TRACE
from sim.engine.rows_machines import NODE
from sim.engine.tables import SCHEMA, USED, Table, Tables
from sim.engine.words import GPUS, NONE, Ending, Hold, JobKind, Purpose, Scope, Use
from sim.names import Names
from sim.scenario import FaultSpec, JobSpec, Machines, Scenario, node_name
from sim.traces.read import read_trace
from sim.traces.submission import Reading

# Sizes as built; the spread of GPUs of one type and of the air at their inlets is assumed.
_INLET_CELSIUS = 24.0
_IDLE_MEMORY = 0.07
_SCRATCH_USED = 0.42
_FIRST_ROWS = 512
_TICKS = 1024


def tables_of(scenario: Scenario, *, seed: int, trace: Table | None = None) -> Tables:
    """Return the tables at the world's beginning: machines idle, jobs not placed, nothing broken.

    trace: rows of ``TRACE`` to be replayed from the start on; None: those of the scenario's file
    """
    nodes = _nodes(scenario, seed=seed)
    domains, members = _domains(nodes, scenario)
    services = [job.service for job in scenario.jobs if job.service is not None]
    models = tuple(sorted({job.model for job in scenario.jobs if job.model}))
    classes = _classes(scenario, nodes, domains)
    parts: dict[str, Table] = {
        "core": _core(scenario, nodes, seed=seed),
        "site": _site(scenario),
        "types": workload.gpu_types(type_names(scenario.machines)),
        "nodes": nodes,
        "jobs": np.zeros(len(scenario.jobs) + _FIRST_ROWS, dtype=JOB),
        "buckets": np.full(GPUS + 1, NONE, dtype=SCHEMA["buckets"]),
        "mix": _mix(scenario, int(nodes["gpus"].sum())),
        "trace": _trace(scenario, nodes) if trace is None else trace,
        "models": workload.models_table(models),
        "services": workload.service_table(services),
        "classes": classes,
        "planned": _planned(scenario, nodes),
        "arrivals": np.full((len(nodes), len(classes)), np.inf),
        "drawn": np.zeros((len(nodes), len(classes)), dtype=SCHEMA["drawn"]),
        "domains": domains,
        "members": members,
        "node_last": np.full(len(nodes), NONE, dtype=SCHEMA["node_last"]),
    }
    for name in USED:
        parts.setdefault(name, np.zeros(_FIRST_ROWS, dtype=SCHEMA[name]))
    parts["job_last"] = np.full(len(parts["jobs"]), NONE, dtype=SCHEMA["job_last"])
    tables = Tables(**parts)
    _submit(tables, scenario, models)
    return tables


def names_of(scenario: Scenario, tables: Tables, *, seed: int) -> Names:
    """Return what the things in the tables are called."""
    counts = tables.nodes["gpus"].astype(np.int64)
    node = np.repeat(np.arange(len(counts)), counts)
    slot = np.arange(len(node)) - np.repeat(np.cumsum(counts) - counts, counts)
    racks, leaves = (int(tables.nodes[part].max()) + 1 for part in ("rack", "leaf"))
    return Names(scenario, seed, class_names(scenario), node, slot, racks, leaves)


def next_tick(time_s: float) -> float:
    """Return the engine's first time that is not before: its times are whole 1/1024 s."""
    return math.ceil(time_s * _TICKS) / _TICKS


def class_names(scenario: Scenario) -> tuple[str, ...]:
    """Return the classes of fault that can strike; a fault's ``class`` is an index into them."""
    planned = (spec.fault for spec in scenario.faults)
    return tuple(dict.fromkeys((*drawn(scenario.profile, scenario.rates), *planned)))


def type_names(machines: Machines) -> tuple[str, ...]:
    """Return the GPU types of a cluster; a node's ``type`` is an index into them."""
    return tuple(dict.fromkeys((machines.gpu, *(gpu for gpu, _ in machines.mixed))))


def _core(scenario: Scenario, nodes: Table, *, seed: int) -> Table:
    core = np.zeros(1, dtype=SCHEMA["core"])
    began_s = next_tick(scenario.start_s - scenario.history_s)
    gpus = int(nodes["gpus"].sum())
    core["seed"] = seed % 2**64
    core["now_s"] = core["began_s"] = core["use_since_s"] = began_s
    core["start_s"] = next_tick(scenario.start_s)
    core["job_spare"] = NONE
    core["jobs_n"] = core["submitted"] = len(scenario.jobs)
    core["keep"] = scenario.telemetry == "full"
    core["said"] = scenario.telemetry == "full"
    core["use_gpus"][0, Use.IDLE] = gpus
    core["storage_factor"] = core["load_factor"] = 1.0
    return core


def _site(scenario: Scenario) -> Table:
    site, own = np.zeros(1, dtype=SITE), scenario.site
    for name in SITE.names or ():
        if hasattr(own, name):
            site[name] = getattr(own, name)
    site["surrogate"] = scenario.telemetry == "surrogate"
    site["horizon_s"] = math.inf
    site["storage_bytes_per_s"] = scenario.machines.storage_of(scenario.nodes)
    site["ambient_celsius"] = scenario.machines.ambient_celsius
    if scenario.workload is not None:
        site["mix_per_day"] = scenario.workload.jobs_per_day
        site["mix_daily"], site["mix_weekly"] = scenario.workload.daily, scenario.workload.weekly
    return site


def _nodes(scenario: Scenario, *, seed: int) -> Table:
    count, machines = scenario.nodes, scenario.machines
    nodes, index = np.zeros(count, dtype=NODE), np.arange(count)
    types = type_names(machines)
    first = 0
    for gpu, mixed in machines.mixed:
        nodes["type"][first : first + mixed] = types.index(gpu)
        first += mixed
    per_rack = -(-count // scenario.racks)
    nodes["gpus"] = nodes["free"] = machines.gpus_per_node
    nodes["rack"] = index // per_rack
    nodes["leaf"] = index // (per_rack if machines.leaves is None else -(-count // machines.leaves))
    nodes["zone"] = nodes["rack"] % machines.zones
    nodes["power"] = index // (machines.power_nodes or per_rack)
    nodes["cooling"] = index // (machines.cooling_nodes or per_rack)
    nodes["nvlink"] = index // machines.nvlink_nodes
    nodes["nics"], nodes["nic_bytes_per_s"] = machines.nics, machines.nic_bytes_per_s
    draw_differences(nodes, scenario, seed=seed)
    nodes["up"] = True
    nodes["pool"] = index >= count - scenario.spares
    nodes["hold"], nodes["use"] = Hold.NOBODY, Use.IDLE
    nodes["since_s"] = nodes["moved_s"] = next_tick(scenario.start_s - scenario.history_s)
    for name in ("job", "next", "rank", "held_by", "bucket_next", "bucket_prev"):
        nodes[name] = NONE
    nodes["alive"] = np.arange(GPUS) < nodes["gpus"][:, None]
    for name in ("slow", "network", "host", "cap", "clock", "heat"):
        nodes[name] = 1
    nodes["watts"] = workload.gpu_types(types)["idle_watts"][nodes["type"]] * nodes["gpus"]
    nodes["memory"], nodes["scratch"] = _IDLE_MEMORY, _SCRATCH_USED
    nodes["stale_s"] = np.inf
    return nodes


def draw_differences(nodes: Table, scenario: Scenario, *, seed: int) -> None:
    """Draw what makes machines differ: no two GPUs are equally fast or equally well cooled."""
    count, machines = len(nodes), scenario.machines
    random, types = _random(seed, Purpose.AGE), workload.gpu_types(type_names(machines))
    nodes["slowness"] = 1 + np.minimum(np.abs(random.normal(0, 0.005, (count, GPUS))), 0.02)
    own = np.clip(random.normal(1, 0.03, (count, GPUS)), 0.9, 1.1)
    nodes["resistance"] = types["resistance"][nodes["type"]][:, None] * own
    base = _INLET_CELSIUS + machines.ambient_celsius
    nodes["inlet_base"] = base + np.clip(random.normal(0, 0.6, count), -1.5, 1.5)
    nodes["inlet"] = nodes["inlet_goal"] = nodes["inlet_base"]
    idle = types["idle_watts"][nodes["type"]][:, None]
    nodes["celsius"] = nodes["goal"] = nodes["inlet"][:, None] + nodes["resistance"] * idle
    nodes["frailty"] = _frailty(scenario, count, seed=seed)


def _frailty(scenario: Scenario, count: int, *, seed: int) -> NDArray[np.float64]:
    """Draw how many times the usual fault rate each node has: gamma, and some lemons; mean 1."""
    machines, by = scenario.machines, profile(scenario.profile)
    variance = by.frailty if machines.frailty is None else machines.frailty
    lemons = by.lemons if machines.lemons is None else machines.lemons
    times = by.lemon_times if machines.lemon_times is None else machines.lemon_times
    random = _random(seed, Purpose.FRAILTY)
    frailty = random.gamma(1 / variance, variance, count) if variance > 0 else np.ones(count)
    found: NDArray[np.float64] = np.where(random.random(count) < lemons, frailty * times, frailty)
    return found / (1 + lemons * (times - 1))


def _domains(nodes: Table, scenario: Scenario) -> tuple[Table, Table]:
    """Return the domains by scope and index, and their members, which are neighbours in order."""
    rows = [
        (scope, index, first, count)
        for scope, part in _PARTS
        for index, first, count in _runs(nodes[part])
    ]
    rows += [(Scope.STORAGE, 0, 0, len(nodes)), (Scope.FLEET, 0, 0, len(nodes))]
    domains = np.zeros(len(rows), dtype=DOMAIN)
    for name, column in zip(
        ("scope", "index", "first", "count"), zip(*rows, strict=True), strict=True
    ):
        domains[name] = column
    domains["up"], domains["factor"] = True, 1
    return domains, np.arange(len(nodes), dtype=SCHEMA["members"])


_PARTS = (
    (Scope.LEAF, "leaf"),
    (Scope.RACK, "rack"),
    (Scope.POWER, "power"),
    (Scope.COOLING, "cooling"),
)


def _runs(part: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    """Yield (index, first node, nodes) of each domain; its nodes stand together."""
    index, first, count = np.unique(part, return_index=True, return_counts=True)
    yield from zip(index.tolist(), first.tolist(), count.tolist(), strict=True)


def _submit(tables: Tables, scenario: Scenario, models: tuple[str, ...]) -> None:
    """Write the scenario's own jobs as submitted and not begun."""
    service = 0
    for number, spec in enumerate(scenario.jobs):
        slots.clear(tables, number)
        row = tables.jobs[number]
        _fill(row, spec, scenario)
        row["number"] = row["spec"] = number
        row["model"] = models.index(spec.model) if spec.model else NONE
        if spec.service is not None:
            row["service"] = service
            tables.services[service]["job"] = number
            service += 1


def _fill(row: Any, spec: JobSpec, scenario: Scenario) -> None:
    each, start_s = scenario.machines.gpus_per_node, scenario.start_s
    part = spec.gpus is not None
    row["kind"], row["named"] = JobKind[spec.kind.upper()], True
    row["gpus"] = spec.gpus if part else spec.nodes * each
    row["least_gpus"] = spec.gpus if part else (spec.least_nodes or spec.nodes) * each
    row["most_gpus"] = spec.gpus if part else (spec.most_nodes or spec.nodes) * each
    row["unit"] = spec.unit or (1 if part else max(each, spec.tp * spec.pipeline))
    row["priority"], row["work"] = spec.priority, spec.work_steps
    row["ending"] = Ending.COMPLETED
    if spec.submit_s is not None:
        row["submit_s"] = start_s + spec.submit_s
    # As submitted, what shows of loading is what is left of it behind the computing.
    row["compute_s"] = spec.compute_s
    row["data_s"] = spec.data_wait_s + spec.overlap * spec.compute_s
    row["collective_s"], row["overlap"] = spec.collective_s, spec.overlap
    row["interval_s"], row["stall_s"] = spec.checkpoint_interval_s, spec.checkpoint_stall_s
    row["save_s"], row["bytes_per_step"] = spec.checkpoint_save_s, spec.bytes_per_step
    row["pipeline"], row["micro"], row["loaders"] = spec.pipeline, spec.micro, spec.loaders
    row["batch"], row["cache"], row["cache_asked"] = spec.batch, spec.cache, spec.cache


def _classes(scenario: Scenario, nodes: Table, domains: Table) -> Table:
    units = [int((domains["scope"] == scope).sum()) for scope in Scope]
    units[Scope.GPU], units[Scope.NODE] = int(nodes["gpus"].sum()), len(nodes)
    units[Scope.JOB] = 1
    return class_table(
        class_names(scenario),
        units=units,
        rates_of=scenario.profile,
        scale=scenario.rate_scale,
        rates=scenario.rates,
    )


def _mix(scenario: Scenario, gpus: int) -> Table:
    wanted = scenario.workload
    if wanted is None or not wanted.jobs_per_day:
        return np.zeros(0, dtype=SCHEMA["mix"])
    return workload.mix_table(wanted.mix, gpus)


def _trace(scenario: Scenario, nodes: Table) -> Table:
    """Return the jobs of the trace that the scenario names; none where it names none."""
    wanted = scenario.workload
    if wanted is None or not wanted.trace:
        return np.zeros(0, dtype=TRACE)
    most = int(nodes["gpus"][~nodes["pool"]].sum())
    reading = Reading(capacity_gpus=most)
    return read_trace(wanted.trace, wanted.trace_format, reading).table


def _planned(scenario: Scenario, nodes: Table) -> Table:
    planned = np.zeros(len(scenario.faults), dtype=PLANNED)
    for row, spec in zip(planned, scenario.faults, strict=True):
        row["class"] = class_names(scenario).index(spec.fault)
        row["entity"] = _entity(spec, scenario, nodes)
        row["gpu"] = int(spec.target.gpu) if spec.target.gpu else NONE
        row["onset_s"] = scenario.start_s + spec.onset_s
        row["lasts_s"], row["severity"] = spec.lasts_s, spec.severity
    return planned


def _random(seed: int, purpose: Purpose) -> np.random.Generator:
    key = np.array([seed % 2**64, int(purpose)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _entity(spec: FaultSpec, scenario: Scenario, nodes: Table) -> int:
    """Return the index of what a planned fault strikes, in the units of its class's scope."""
    scope, target = Scope(CLASSES[spec.fault].scope), spec.target
    if scope in (Scope.STORAGE, Scope.FLEET):
        return 0
    if scope is Scope.JOB:
        ids = [job.id for job in scenario.jobs]
        return ids.index(target.job) if target.job in ids else _refuse(spec, "a job", ids)
    node = _node_of(spec, scenario)
    if scope in (Scope.GPU, Scope.NODE):
        return node if node != NONE else _refuse(spec, "a node", [node_name(0, scenario.nodes)])
    part = scope.name.lower()
    named = {Scope.LEAF: target.switch, Scope.RACK: target.rack}.get(scope, "")
    known = [f"{part}-{index}" for index in range(int(nodes[part].max()) + 1)]
    if named:
        return known.index(named) if named in known else _refuse(spec, f"a {part}", known)
    return int(nodes[part][node]) if node != NONE else _refuse(spec, f"a {part} or node", known)


def _node_of(spec: FaultSpec, scenario: Scenario) -> int:
    names = {node_name(index, scenario.nodes): index for index in range(scenario.nodes)}
    return names.get(spec.target.node, NONE)


def _refuse(spec: FaultSpec, wanted: str, known: list[str]) -> NoReturn:
    raise InputError(
        f"fault {spec.fault}: strikes {wanted} and names {spec.target}; name one such as "
        f"{', '.join(known[:3]) or '(the scenario has none)'}."
    )
