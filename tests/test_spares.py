"""Which node takes the place of one that goes."""

from dataclasses import replace

import pytest

from core.clock import ManualClock
from core.cluster import NodeCondition
from remediation.deciding.plans import spare_for
from tests.fakes import FakeCluster
from tests.healing import (
    NOW_S,
)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster(ManualClock(NOW_S))


async def test_the_nearest_free_spare_of_the_same_size_is_chosen() -> None:
    """node-1 is in rack r0 under switch s0 with r1; racks r2 and r3 are under s1."""
    cluster = FakeCluster(ManualClock(NOW_S), nodes=16, spares=0)
    for name in ("node-3", "node-6", "node-13"):
        cluster.nodes[name] = replace(cluster.nodes[name], spare=True)
    free = replace(cluster.jobs["train"], nodes=("node-0", "node-1"))

    chosen = []
    for taken in ("node-3", "node-6", "node-13", ""):
        cluster.jobs["train"] = free
        chosen.append(spare_for("node-1", await cluster.state()))
        if taken:
            cluster.by_hand(taken, NodeCondition.CORDONED, owner="ada")

    assert chosen == ["node-3", "node-6", "node-13", "node-2"]  # the last is free, and no spare


async def test_a_spare_with_a_job_or_other_gpus_does_not_fit(cluster: FakeCluster) -> None:
    cluster.jobs["train"] = replace(cluster.jobs["train"], nodes=("node-1", "node-10"))
    state = await cluster.state()
    assert spare_for("node-1", state) == "node-11"
    assert spare_for("node-1", state, but=["node-11"]) not in ("node-10", "node-11")

    keep = state.topology.gpu_node != 11
    gpus = tuple(gpu for gpu, kept in zip(state.topology.gpus, keep, strict=True) if kept)
    smaller = replace(state.topology, gpus=gpus, gpu_node=state.topology.gpu_node[keep])

    assert spare_for("node-1", replace(state, topology=smaller)) == "node-0"
