"""GPUs that a scheduler knows by number are named as their readings name them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.collect.prometheus import PrometheusSource
from agent.collect.prometheus_settings import PrometheusAccess
from agent.gpu_names import LEARN_EVERY_S, RETRY_S, NamedGpus, names_of
from core.clock import ManualClock, RealClock
from core.cluster import ClusterState
from core.details import GPU_MINOR
from core.ports import Query
from core.target import Target
from core.topology import flat_topology
from remediation.catalogue import make
from tests.fakes import FakeCluster
from tests.healing import NOW_S
from tests.loop import ScriptedSource
from tests.prometheus import create_blocks, prometheus

NUMBERED = {"n1": ["n1/gpu0", "n1/gpu1"], "n2": ["n2/gpu0", "n2/gpu1"]}


class Numbered(FakeCluster):
    """A scheduler with two nodes of two GPUs each, and a job on the second GPU of n1."""

    async def state(self) -> ClusterState:
        """Return the look with GPUs by number."""
        shown = await super().state()
        return replace(shown, topology=flat_topology(NUMBERED, {"j": ["n1/gpu1"]}))


def told(*gpus: tuple[str, int, str]) -> ScriptedSource:
    """Return a source that tells device files as node, number, UUID."""
    values = {
        (GPU_MINOR, Target(node=node, gpu=uuid)): lambda _, minor=minor: float(minor)
        for node, minor, uuid in gpus
    }
    return ScriptedSource(values)  # type: ignore[arg-type]


async def gpus_of(cluster: NamedGpus) -> tuple[str, ...]:
    return (await cluster.state()).topology.gpus


async def test_the_nth_gpu_of_a_node_is_the_one_with_the_nth_device_file() -> None:
    """A node with one GPU more or less in its readings is left as the scheduler has it."""
    clock = ManualClock(NOW_S)
    source = told(("n1", 7, "GPU-b"), ("n1", 3, "GPU-a"), ("n2", 0, "GPU-c"), ("n9", 0, "GPU-d"))
    cluster = NamedGpus(Numbered(clock), [source], clock)

    topology = (await cluster.state()).topology

    assert topology.gpus == ("GPU-a", "GPU-b", "n2/gpu0", "n2/gpu1")
    assert topology.gpus[topology.rank_gpu[0]] == "GPU-b"
    assert topology.node_of(Target(gpu="GPU-b")) == "n1"


async def test_a_gpu_that_answers_no_more_keeps_its_name_and_one_that_takes_its_place_gets_it() -> (
    None
):
    clock = ManualClock(NOW_S)
    source = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-b"))
    cluster = NamedGpus(Numbered(clock), [source], clock)
    assert (await gpus_of(cluster))[:2] == ("GPU-a", "GPU-b")

    source.values = told(("n1", 0, "GPU-a")).values
    await clock.advance(LEARN_EVERY_S)
    assert (await gpus_of(cluster))[:2] == ("GPU-a", "GPU-b")

    source.values = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-new"), ("n2", 4, "GPU-b")).values
    await clock.advance(LEARN_EVERY_S)
    assert await gpus_of(cluster) == ("GPU-a", "GPU-new", "n2/gpu0", "n2/gpu1")

    source.values = told(("n2", 5, "GPU-d")).values
    await clock.advance(LEARN_EVERY_S)
    assert await gpus_of(cluster) == ("GPU-a", "GPU-new", "GPU-b", "GPU-d")


async def test_a_source_that_is_away_takes_no_name_and_is_asked_again_soon() -> None:
    clock = ManualClock(NOW_S)
    source = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-b"))
    source.away = True
    cluster = NamedGpus(Numbered(clock), [source], clock)
    assert await gpus_of(cluster) == ("n1/gpu0", "n1/gpu1", "n2/gpu0", "n2/gpu1")

    source.away = False
    assert (await gpus_of(cluster))[:2] == ("n1/gpu0", "n1/gpu1")
    assert len(source.queries) == 1
    await clock.advance(RETRY_S)
    assert (await gpus_of(cluster))[:2] == ("GPU-a", "GPU-b")

    source.away = True
    await clock.advance(LEARN_EVERY_S)
    assert (await gpus_of(cluster))[:2] == ("GPU-a", "GPU-b")


async def test_orders_are_passed_on() -> None:
    clock = ManualClock(NOW_S)
    behind = Numbered(clock)
    cordon = make("cordon", Target(node="node-1"), {"reason": "hot"}, plan_id="p0", step=0)

    await NamedGpus(behind, [], clock).perform(cordon)

    assert [each.key for each in behind.orders] == [cordon.key]


def test_nothing_is_named_where_nothing_is_known() -> None:
    assert names_of(flat_topology(NUMBERED), {})[2:] == ("n2/gpu0", "n2/gpu1")
    assert names_of(flat_topology({}), {"n1": {0: "GPU-a"}}) == ()


@pytest.mark.parametrize(
    "series",
    [
        'gpumedic_gpu_minor{{node="n1",gpu="GPU-a"}} 3 {at}',
        'DCGM_FI_DEV_GPU_TEMP{{Hostname="n1",UUID="GPU-a",gpu="0",device="nvidia3"}} 61 {at}',
    ],
)
async def test_device_files_are_read_from_our_own_node_service_and_from_dcgm_exporter(
    tmp_path: Path, series: str
) -> None:
    clock = RealClock()
    from_s = clock.now_s() - 3 * 3600.0
    lines = [series.format(at=f"{from_s + 10 * step:.3f}\n") for step in range(60)]
    create_blocks([f"# TYPE {series.partition('{')[0]} gauge\n", *lines, "# EOF\n"], tmp_path)
    async with prometheus(tmp_path) as server:
        source = PrometheusSource(PrometheusAccess(server.url), clock=clock)

        given = await source.read(Query((GPU_MINOR,), from_s, from_s + 590.0, 60.0))

        await source.close()
    (window,) = given.windows
    assert window.targets == (Target(node="n1", gpu="GPU-a"),)
    assert set(window.value[np.isfinite(window.value)]) == {3.0}
