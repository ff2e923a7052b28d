"""GPUs that a scheduler knows by number are named as their readings name them."""

from pathlib import Path

import numpy as np
import pytest

from agent.act.gpu_names import LEARN_EVERY_S, RETRY_S, GpuNames, names_of
from agent.collect.prometheus import PrometheusSource
from agent.collect.prometheus_settings import PrometheusAccess
from core.clock import ManualClock, RealClock
from core.cluster import ClusterState
from core.details import GPU_MINOR
from core.ports import Query
from core.target import Target
from core.topology import flat_topology
from tests.healing import NOW_S
from tests.loop import ScriptedSource
from tests.prometheus import create_blocks, prometheus

NUMBERED = {"n1": ["n1/gpu0", "n1/gpu1"], "n2": ["n2/gpu0", "n2/gpu1"]}


def state() -> ClusterState:
    """Return two nodes of two GPUs each, by number, with a job on the second GPU of n1."""
    return ClusterState(NOW_S, flat_topology(NUMBERED, {"j": ["n1/gpu1"]}), (), ())


def told(*gpus: tuple[str, int, str]) -> ScriptedSource:
    """Return a source that tells device files as node, number, UUID."""
    values = {
        (GPU_MINOR, Target(node=node, gpu=uuid)): lambda _, minor=minor: float(minor)
        for node, minor, uuid in gpus
    }
    return ScriptedSource(values)  # type: ignore[arg-type]


async def gpus_of(names: GpuNames) -> tuple[str, ...]:
    return (await names.given_to(state())).topology.gpus


async def test_the_nth_gpu_of_a_node_is_the_one_with_the_nth_device_file() -> None:
    """A node with one GPU more or less in its readings is left as the scheduler has it."""
    clock = ManualClock(NOW_S)
    source = told(("n1", 7, "GPU-b"), ("n1", 3, "GPU-a"), ("n2", 0, "GPU-c"), ("n9", 0, "GPU-d"))
    names = GpuNames([source], clock)

    topology = (await names.given_to(state())).topology

    assert topology.gpus == ("GPU-a", "GPU-b", "n2/gpu0", "n2/gpu1")
    assert topology.gpus[topology.rank_gpu[0]] == "GPU-b"
    assert topology.node_of(Target(gpu="GPU-b")) == "n1"


async def test_a_gpu_that_answers_no_more_keeps_its_name_and_one_that_takes_its_place_gets_it() -> (
    None
):
    clock = ManualClock(NOW_S)
    source = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-b"))
    names = GpuNames([source], clock)
    assert (await gpus_of(names))[:2] == ("GPU-a", "GPU-b")

    source.values = told(("n1", 0, "GPU-a")).values
    await clock.advance(LEARN_EVERY_S)
    assert (await gpus_of(names))[:2] == ("GPU-a", "GPU-b")

    source.values = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-new"), ("n2", 4, "GPU-b")).values
    await clock.advance(LEARN_EVERY_S)
    assert await gpus_of(names) == ("GPU-a", "GPU-new", "n2/gpu0", "n2/gpu1")

    source.values = told(("n2", 5, "GPU-d")).values
    await clock.advance(LEARN_EVERY_S)
    assert await gpus_of(names) == ("GPU-a", "GPU-new", "GPU-b", "GPU-d")


async def test_a_source_that_is_away_takes_no_name_and_is_asked_again_soon() -> None:
    clock = ManualClock(NOW_S)
    source = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-b"))
    source.away = True
    names = GpuNames([source], clock)
    assert await gpus_of(names) == ("n1/gpu0", "n1/gpu1", "n2/gpu0", "n2/gpu1")

    source.away = False
    assert (await gpus_of(names))[:2] == ("n1/gpu0", "n1/gpu1")
    assert len(source.queries) == 1
    await clock.advance(RETRY_S)
    assert (await gpus_of(names))[:2] == ("GPU-a", "GPU-b")

    source.away = True
    await clock.advance(LEARN_EVERY_S)
    assert (await gpus_of(names))[:2] == ("GPU-a", "GPU-b")


async def test_a_gpu_that_is_told_of_under_another_name_of_its_node_keeps_its_place() -> None:
    clock = ManualClock(NOW_S)
    ours = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-b"))
    theirs = told(("n1.cluster", 0, "GPU-a"), ("n1.cluster", 1, "GPU-b"))
    names = GpuNames([ours, theirs], clock)

    assert (await gpus_of(names))[:2] == ("GPU-a", "GPU-b")


async def test_a_source_that_breaks_costs_names_and_not_the_look() -> None:
    clock = ManualClock(NOW_S)
    source = told(("n1", 0, "GPU-a"), ("n1", 1, "GPU-b"))
    source.broken.append(ZeroDivisionError("nobody foresaw this"))
    names = GpuNames([source], clock)

    assert (await gpus_of(names))[:2] == ("n1/gpu0", "n1/gpu1")
    await clock.advance(RETRY_S)
    assert (await gpus_of(names))[:2] == ("GPU-a", "GPU-b")


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
