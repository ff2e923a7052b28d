"""What the things of a simulated cluster are called: tables know them by index, people by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.target import Target
from sim.engine.tables import Table
from sim.engine.words import GPUS, Purpose
from sim.scenario import Scenario, node_name

_UUID_BYTES = 16


@dataclass(frozen=True, eq=False)
class Names:
    """Names by index; those of nodes and GPUs are made when first asked for.

    classes: of fault; gpu_slot: (G,) which of the node's GPUs each is; gpu_node: (G,)
    """

    scenario: Scenario
    seed: int
    classes: tuple[str, ...]
    gpu_node: Table
    gpu_slot: Table
    racks_count: int
    leaves_count: int

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes' names in index order."""
        return tuple(node_name(index, self.scenario.nodes) for index in range(self.scenario.nodes))

    @cached_property
    def node_index(self) -> Mapping[str, int]:
        """Map a node's name to its index."""
        return {name: index for index, name in enumerate(self.nodes)}

    @cached_property
    def racks(self) -> tuple[str, ...]:
        """Return the racks' names in index order."""
        return tuple(f"rack-{index}" for index in range(self.racks_count))

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """Return the leaf switches' names in index order."""
        return tuple(f"leaf-{index}" for index in range(self.leaves_count))

    @cached_property
    def gpus(self) -> tuple[str, ...]:
        """Return the GPUs' UUIDs in index order; they come with the seed."""
        key = np.array([self.seed % 2**64, int(Purpose.SHAPE)], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        text = random.bytes(_UUID_BYTES * len(self.gpu_node)).hex()
        width = 2 * _UUID_BYTES
        return tuple(_uuid(text[at : at + width]) for at in range(0, len(text), width))

    @cached_property
    def gpu_at(self) -> Table:
        """(N, 8) index of the GPU in each place of a node; -1 where there is none."""
        found = np.full((self.scenario.nodes, GPUS), -1, dtype=np.int64)
        found[self.gpu_node, self.gpu_slot] = np.arange(len(self.gpu_node))
        return found

    @cached_property
    def job_number(self) -> Mapping[str, int]:
        """Map the id of each of the scenario's own jobs to its number."""
        return {job.id: number for number, job in enumerate(self.scenario.jobs)}

    def job(self, number: int) -> str:
        """Return a job's id by its number: the scenario's own come first."""
        own = self.scenario.jobs
        return own[number].id if 0 <= number < len(own) else f"job-{number}"

    def gpu(self, node: int, slot: int) -> str:
        """Return the UUID of a node's GPU by its place on the node."""
        return self.gpus[int(self.gpu_at[node, slot])]

    def target(self, node: int, slot: int = -1, *, volume: str = "") -> Target:
        """Return a node, or one of its GPUs, as a target."""
        gpu = self.gpu(node, slot) if slot >= 0 else ""
        return Target(node=self.nodes[node], gpu=gpu, volume=volume)


def _uuid(text: str) -> str:
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
