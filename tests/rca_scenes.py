"""A small synthetic cluster with known mechanisms, to break on purpose and diagnose."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from core.cluster import ClusterState, JobPhase, JobState, NodeCondition, NodeState
from core.target import Target
from core.topology import Topology
from core.types import Anomaly, Event, Floats, Incident, IncidentState, Severity, Window

NOW_S = 1_700_000_000.0
STEP_S = 15.0
READINGS = 280  # 70 minutes
ONSET = 240  # index of the first abnormal reading


@dataclass(frozen=True, eq=False)
class Scene:
    """A cluster's readings around a fault, what was noticed of it, and the truth."""

    incident: Incident
    windows: dict[str, Window]
    state: ClusterState
    truth: Target
    fault: str

    def without(self, *metrics: str) -> "Scene":
        """Return the scene as if nobody measured these."""
        kept = {name: window for name, window in self.windows.items() if name not in metrics}
        return replace(self, windows=kept)


@dataclass(eq=False)
class Readings:
    """The scene's arrays while it is being made: (nodes, T), (gpus, T), (ports, T), (volumes, T).

    ``extra`` holds what a fault adds: seconds a rank takes longer, degrees a GPU is hotter.
    """

    inlet: Floats
    heat: Floats
    slow: Floats
    data: Floats
    network: Floats
    cpu: Floats
    memory: Floats
    errors: Floats
    latency: Floats
    used: Floats
    ecc: Floats
    remap: Floats


def target_of_node(node: int) -> Target:
    return Target(node=f"node-{node}")


def target_of_gpu(node: int, gpu: int) -> Target:
    return Target(node=f"node-{node}", gpu=f"GPU-{node:03d}-{gpu}")


def cluster(nodes: int, *, per_node: int = 8, per_rack: int = 4) -> ClusterState:
    """Return nodes in racks of four with one training job on all of their GPUs."""
    racks = -(-nodes // per_rack)
    gpu_node = np.repeat(np.arange(nodes), per_node)
    topology = Topology(
        nodes=tuple(f"node-{n}" for n in range(nodes)),
        racks=tuple(f"r{r}" for r in range(racks)),
        switches=tuple(f"s{r}" for r in range(racks)),
        gpus=tuple(target_of_gpu(n, g).gpu for n in range(nodes) for g in range(per_node)),
        jobs=("j1",),
        node_rack=np.arange(nodes) // per_rack,
        node_switch=np.arange(nodes) // per_rack,
        gpu_node=gpu_node,
        rank_job=np.zeros(len(gpu_node), dtype=np.int64),
        rank_gpu=np.arange(len(gpu_node)),
    )
    return ClusterState(
        observed_s=NOW_S,
        topology=topology,
        nodes=tuple(NodeState(name, NodeCondition.READY) for name in topology.nodes),
        jobs=(JobState("j1", JobPhase.RUNNING, topology.nodes, len(gpu_node), NOW_S - 9e4),),
    )


def ramp(minutes: float = 5.0) -> Floats:
    """Return (T,) 0 before the onset, then rising to 1 within so many minutes."""
    steps = np.arange(READINGS) - ONSET
    return np.clip((steps + 1) * STEP_S / (60 * minutes), 0.0, 1.0)


def quiet(rng: np.random.Generator, state: ClusterState) -> Readings:
    """Return ordinary readings: noise, and a load that breathes."""
    n, g = len(state.topology.nodes), len(state.topology.gpus)

    def noise(count: int, scale: float) -> Floats:
        return rng.normal(0.0, scale, (count, READINGS))

    return Readings(
        inlet=22 + noise(n, 0.3) + rng.normal(0, 0.8, (n, 1)),
        heat=noise(g, 0.7) + rng.normal(0, 2.0, (g, 1)),
        slow=np.zeros((g, READINGS)),
        data=np.zeros((g, READINGS)),
        network=np.zeros((g, READINGS)),
        cpu=0.3 + noise(n, 0.02),
        memory=0.5 + noise(n, 0.005),
        errors=np.zeros((n, READINGS)),
        latency=0.004 + np.abs(noise(n, 0.0004)),
        used=0.6 + noise(n, 0.001),
        ecc=np.zeros((g, READINGS)),
        remap=np.zeros((g, READINGS)),
    )


def windows_of(
    rng: np.random.Generator, state: ClusterState, raw: Readings, *, per_node: int = 8
) -> dict[str, Window]:
    """Let the mechanisms act: heat holds clocks back, slow ranks hold the job back."""
    topology = state.topology
    on = topology.gpu_node
    time_s: Floats = NOW_S + STEP_S * np.arange(1 - READINGS, 1, dtype=np.float64)
    load = 1 + 0.03 * np.sin(time_s / 500.0)
    temperature = 58 + 0.9 * (raw.inlet[on] - 22) + raw.heat + 6 * (load - 1)
    throttle = np.clip((temperature - 84) / 12, 0, 0.9)
    clock = 1.98e9 * (1 - 0.7 * throttle) + rng.normal(0, 4e6, temperature.shape)
    compute = 4.0 * 1.98e9 / clock + raw.slow + rng.normal(0, 0.02, clock.shape)
    pressure = np.clip((raw.cpu - 0.75) * 2, 0, 1) + np.abs(rng.normal(0, 0.004, raw.cpu.shape))
    memory_pressure = np.clip((raw.memory - 0.9) * 6, 0, 1)
    waiting = 20 * (raw.latency - 0.004) + 1.5 * pressure + 2 * memory_pressure
    data = 0.15 + raw.data + waiting[on] + np.abs(rng.normal(0, 0.005, clock.shape))
    per_error = 0.05 * np.minimum(raw.errors, 40.0)
    own = compute + data
    wait = own.max(axis=0) - own
    collective = 0.6 + raw.network + per_error[on] + wait + rng.normal(0, 0.02, clock.shape)
    step = own.max(axis=0) + 0.6 + (raw.network + per_error[on]).max(axis=0)
    gpus = tuple(target_of_gpu(int(n), i % per_node) for i, n in enumerate(on))
    nodes = tuple(target_of_node(n) for n in range(len(topology.nodes)))
    ranks = tuple(replace(gpu, job="j1", rank=str(i)) for i, gpu in enumerate(gpus))
    ports = tuple(replace(node, port="mlx5_0") for node in nodes)
    volumes = tuple(replace(node, volume="/scratch") for node in nodes)

    def window(metric: str, targets: tuple[Target, ...], value: Floats) -> tuple[str, Window]:
        return metric, Window(metric, targets, time_s, np.array(value, dtype=np.float64))

    return dict(
        [
            window("node_inlet_temperature_celsius", nodes, raw.inlet),
            window("gpu_temperature_celsius", gpus, temperature),
            window("gpu_throttle_ratio", gpus, throttle),
            window("gpu_sm_clock_hz", gpus, clock),
            window("gpu_ecc_uncorrected_total", gpus, np.cumsum(raw.ecc, axis=1)),
            window("gpu_rows_remap_pending", gpus, raw.remap),
            window("rank_step_time_s", ranks, compute),
            window("rank_data_wait_s", ranks, data),
            window("rank_collective_time_s", ranks, collective),
            window("job_step_time_s", (Target(job="j1"),), step[None, :]),
            window("node_cpu_used_ratio", nodes, raw.cpu),
            window("node_pressure_cpu_ratio", nodes, pressure),
            window("node_memory_used_ratio", nodes, raw.memory),
            window("node_pressure_memory_ratio", nodes, memory_pressure),
            window("port_errors_total", ports, np.cumsum(raw.errors * STEP_S, axis=1)),
            window("volume_read_latency_s", volumes, raw.latency),
            window("volume_used_ratio", volumes, raw.used),
        ]
    )


Break = Callable[[Readings, np.random.Generator, ClusterState], tuple[Target, str]]


def _somewhere(rng: np.random.Generator, state: ClusterState) -> tuple[int, int]:
    return int(rng.integers(len(state.topology.nodes))), int(rng.integers(8))


def node_cooling(
    raw: Readings, rng: np.random.Generator, state: ClusterState
) -> tuple[Target, str]:
    node, _ = _somewhere(rng, state)
    raw.heat[node * 8 : node * 8 + 8] += 33 * ramp()
    return target_of_node(node), "cooling_degraded"


def gpu_cooling(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, gpu = _somewhere(rng, state)
    raw.heat[node * 8 + gpu] += 35 * ramp()
    return target_of_gpu(node, gpu), "cooling_degraded"


def node_inlet(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, _ = _somewhere(rng, state)
    raw.inlet[node] += 34 * ramp()
    return target_of_node(node), "cooling_degraded"


def hot_room(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    raw.inlet += (33 + rng.normal(0, 0.5, (len(raw.inlet), 1))) * ramp()
    return Target(), "cooling_degraded"


def slow_gpu(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, gpu = _somewhere(rng, state)
    raw.slow[node * 8 + gpu] += 1.2 * ramp(0.5)
    return target_of_gpu(node, gpu), "gpu_slow"


def slow_node(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, _ = _somewhere(rng, state)
    raw.slow[node * 8 : node * 8 + 8] += 1.2 * ramp(0.5)
    return target_of_node(node), "gpu_slow"


def port_errors(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, _ = _somewhere(rng, state)
    raw.errors[node] += rng.poisson(20 * ramp(1.0) + 1e-9)
    return replace(target_of_node(node), port="mlx5_0"), "network_port_errors"


def busy_cpu(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, _ = _somewhere(rng, state)
    raw.cpu[node] = np.minimum(raw.cpu[node] + 0.66 * ramp(1.0), 1.0)
    return target_of_node(node), "cpu_contention"


def leaking(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, _ = _somewhere(rng, state)
    raw.memory[node] = np.minimum(raw.memory[node] + 0.49 * ramp(8.0), 1.0)
    return target_of_node(node), "memory_leak"


def slow_storage(
    raw: Readings, rng: np.random.Generator, state: ClusterState
) -> tuple[Target, str]:
    node, _ = _somewhere(rng, state)
    raw.latency[node] += 0.08 * ramp(1.0)
    return replace(target_of_node(node), volume="/scratch"), "storage_slow"


def ecc_errors(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    node, gpu = _somewhere(rng, state)
    raw.ecc[node * 8 + gpu] += rng.poisson(2.0 * ramp(0.5) + 1e-9)
    raw.remap[node * 8 + gpu] = ramp(0.25)
    return target_of_gpu(node, gpu), "gpu_ecc_uncorrectable"


def nothing(raw: Readings, rng: np.random.Generator, state: ClusterState) -> tuple[Target, str]:
    return Target(), ""


BREAKS: tuple[Break, ...] = (
    node_cooling,
    gpu_cooling,
    node_inlet,
    hot_room,
    slow_gpu,
    port_errors,
    busy_cpu,
    leaking,
    slow_storage,
    ecc_errors,
)


def scene(
    kind: Break, seed: int, *, nodes: int = 8, late_s: float = 60.0, lost: float = 0.0
) -> Scene:
    """Break the cluster, and notice the job's slow steps, or the broken reading's, a while later.

    lost: share of the readings that were not scraped
    """
    rng = np.random.default_rng(seed)
    state = cluster(nodes)
    raw = quiet(rng, state)
    truth, fault = kind(raw, rng, state)
    windows = windows_of(rng, state, raw)
    if lost:
        for window in windows.values():
            window.value[rng.random(window.value.shape) < lost] = np.nan
    symptom = Target(job="j1")
    if kind is ecc_errors:
        noticed = anomaly("gpu_ecc_uncorrected_total", truth, late_s=late_s)
    else:
        noticed = anomaly("job_step_time_s", symptom, late_s=late_s)
    return Scene(incident_of(anomalies=(noticed,)), windows, state, truth, fault)


def anomaly(metric: str, target: Target, *, late_s: float = 60.0) -> Anomaly:
    """Return what a detector would say of a reading that left its band."""
    start_s = NOW_S - (READINGS - 1 - ONSET) * STEP_S + late_s
    return Anomaly(
        target, metric, start_s, NOW_S, 7.0, 4.5, 5.0, 1.0, "band", Severity.WARNING, "slow"
    )


def incident_of(*, anomalies: tuple[Anomaly, ...] = (), events: tuple[Event, ...] = ()) -> Incident:
    """Return an open incident of job j1."""
    noticed = [*(item.target for item in anomalies), *(item.target for item in events)]
    targets = tuple(dict.fromkeys(noticed))
    opened_s = min([*(a.start_s for a in anomalies), *(e.time_s for e in events)], default=NOW_S)
    return Incident(
        id="i1",
        state=IncidentState.OPEN,
        severity=Severity.WARNING,
        opened_s=opened_s,
        updated_s=NOW_S,
        resolved_s=None,
        title="job j1 is slow",
        targets=targets,
        jobs=("j1",),
        anomalies=anomalies,
        events=events,
    )
