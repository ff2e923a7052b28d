"""The machines: nodes with eight GPUs each, racks, leaf switches and spares, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.topology import Topology
from core.types import Floats, Ints
from sim.draws import Purpose, generator
from sim.scenario import GPUS_PER_NODE, Scenario, node_name
from sim.thermal import HEAT_RESISTANCE, INLET_CELSIUS, LOAD_WATTS, Load
from sim.trail import Rows, Trail

NO_JOB = -1
IDLE_MEMORY = 0.07
BUSY_MEMORY = 0.38
SCRATCH_USED = 0.42
_GPU = (GPUS_PER_NODE,)

# What is true of a node from ``start_s`` on. Temperatures approach their goals with a lag; memory
# and the scratch volume grow by their slopes (ratio per second).
NODE_ROW = np.dtype(
    [
        ("entity", np.int32),
        ("start_s", np.float64),
        ("up", np.bool_),
        ("load", np.int8),
        ("job", np.int32),
        ("rank", np.int32),
        ("inlet", np.float64),
        ("inlet_goal", np.float64),
        ("heat", np.float64),
        ("celsius", np.float64, _GPU),
        ("goal", np.float64, _GPU),
        ("clock", np.float64, _GPU),
        ("alive", np.bool_, _GPU),
        ("memory", np.float64),
        ("memory_slope", np.float64),
        ("scratch", np.float64),
        ("scratch_slope", np.float64),
        ("oom_kills", np.int32),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What of the machines never changes.

    node_rack: (N,); gpu_slowness: (N, 8) a GPU's step time over the fastest's, 1 to about 1.02
    resistance: (N, 8) degC per watt; inlet: (N,) degC, warmer higher up and to the back
    """

    nodes: tuple[str, ...]
    racks: tuple[str, ...]
    switches: tuple[str, ...]
    gpus: tuple[str, ...]
    node_rack: Ints
    gpu_slowness: Floats
    resistance: Floats
    inlet: Floats
    node_index: Mapping[str, int]

    @property
    def gpu_node(self) -> Ints:
        """(G,) index of each GPU's node."""
        return np.arange(len(self.gpus), dtype=np.int64) // GPUS_PER_NODE

    def topology(self, jobs: tuple[str, ...], placement: tuple[tuple[int, ...], ...]) -> Topology:
        """Return the cluster's shape with the ranks where they are placed: node by node."""
        counts = [len(nodes) * GPUS_PER_NODE for nodes in placement]
        hosts = np.array([node for nodes in placement for node in nodes], dtype=np.int64)
        gpus = hosts[:, None] * GPUS_PER_NODE + np.arange(GPUS_PER_NODE)
        return Topology(
            nodes=self.nodes,
            racks=self.racks,
            switches=self.switches,
            gpus=self.gpus,
            jobs=jobs,
            node_rack=self.node_rack,
            node_switch=self.node_rack,
            gpu_node=self.gpu_node,
            rank_job=np.repeat(np.arange(len(jobs), dtype=np.int64), counts),
            rank_gpu=gpus.reshape(-1),
        )


def build_shape(scenario: Scenario, *, seed: int) -> Shape:
    """Draw the machines: no two GPUs are equally fast or equally well cooled."""
    nodes = scenario.nodes
    random = generator(seed, entity=0, purpose=Purpose.SHAPE)
    per_rack = -(-nodes // scenario.racks)
    rack = np.arange(nodes, dtype=np.int64) // per_rack
    used = int(rack[-1]) + 1
    names = tuple(node_name(index) for index in range(nodes))
    return Shape(
        nodes=names,
        racks=tuple(f"rack-{index}" for index in range(used)),
        switches=tuple(f"leaf-{index}" for index in range(used)),
        gpus=tuple(_uuid(random.bytes(16)) for _ in range(nodes * GPUS_PER_NODE)),
        node_rack=rack,
        gpu_slowness=1 + np.minimum(np.abs(random.normal(0, 0.005, (nodes, *_GPU))), 0.02),
        resistance=HEAT_RESISTANCE * np.clip(random.normal(1, 0.03, (nodes, *_GPU)), 0.9, 1.1),
        inlet=INLET_CELSIUS + np.clip(random.normal(0, 0.6, nodes), -1.5, 1.5),
        node_index={name: index for index, name in enumerate(names)},
    )


def idle_nodes(shape: Shape, *, since_s: float) -> Trail:
    """Return every node up, idle and at its idle temperature."""
    rows = np.zeros(len(shape.nodes), dtype=NODE_ROW)
    rows["entity"] = np.arange(len(rows))
    rows["start_s"] = since_s
    rows["up"] = True
    rows["job"], rows["rank"] = NO_JOB, NO_JOB
    rows["inlet"] = rows["inlet_goal"] = shape.inlet
    rows["heat"] = 1
    rows["goal"] = shape.inlet[:, None] + shape.resistance * LOAD_WATTS[Load.IDLE]
    rows["celsius"] = rows["goal"]
    rows["clock"] = 1
    rows["alive"] = True
    rows["memory"] = IDLE_MEMORY
    rows["scratch"] = SCRATCH_USED
    return Trail(rows)


def memory_at(rows: Rows, time_s: Floats) -> Floats:
    """Return the ratio of host memory in use, at most 1."""
    return _grown(rows["memory"], rows["memory_slope"], rows["start_s"], time_s)


def scratch_at(rows: Rows, time_s: Floats) -> Floats:
    """Return the ratio of the node's scratch volume in use, at most 1."""
    return _grown(rows["scratch"], rows["scratch_slope"], rows["start_s"], time_s)


def _grown(
    value: NDArray[np.float64], slope: Floats, start_s: Floats, time_s: Floats
) -> NDArray[np.float64]:
    grown: Floats = np.minimum(value + slope * np.maximum(time_s - start_s, 0), 1.0)
    return grown


def _uuid(raw: bytes) -> str:
    text = raw.hex()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
