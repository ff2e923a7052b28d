"""DoWhy and causal-learn agree with our own tests on readings of a known graph, in a worker."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from agent.graph_work import MEMORY_BYTES, RUN, Asked, Seen
from agent.workers import WorkerPool
from core.errors import WorkerFailed
from core.types import Floats
from rca.graph.discovery_reference import Rows, adjacent, falsified, linear_test, rows_of
from rca.graph.falsify import Verdict
from rca.graph.pooled import pool
from tests.graph_data import TRUE, made

pytest.importorskip("dowhy")
LINKS = (("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("a", "f"), ("f", "g"), ("c", "g"))
OTHER = (("c", "b"), ("b", "a"), ("a", "e"), ("e", "d"), ("g", "a"), ("d", "f"), ("g", "f"))


def chain(seed: int) -> Floats:
    """Return rows of seven variables that LINKS made."""
    rng = np.random.default_rng(seed)
    a, *news = (rng.normal(size=400) for _ in range(7))
    b = a + 0.5 * news[0]
    c = b + 0.5 * news[1]
    d = c + 0.5 * news[2]
    f = a + news[4]
    return np.stack([a, b, c, d, d + news[3], f, c - f + news[5]], axis=1)


@pytest.mark.parametrize("seed", range(3))
def test_dowhy_rejects_another_graph_and_not_the_one_that_made_the_rows(seed: int) -> None:
    names = tuple("abcdefg")

    true = falsified(Rows(names, chain(seed), LINKS), seed=seed)
    other = falsified(Rows(names, chain(seed), OTHER), seed=seed)

    assert true.rejected is False
    assert true.violations <= 2
    assert other.violations > true.violations


def test_pc_finds_hardly_less_than_what_is_linked_and_nothing_else() -> None:
    found = adjacent(Rows(tuple("abcdefg"), chain(1), ()))

    pairs = {frozenset((one.first, one.second)) for one in found}
    assert pairs <= {frozenset(link) for link in LINKS}
    assert len(pairs) >= len(LINKS) - 1


def test_a_test_of_independence_is_right_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    draws = [rng.normal(size=(3, 60)) for _ in range(400)]

    p = [linear_test(x + z, y + z, z) for x, y, z in draws]
    assert sum(one < 0.05 for one in p) == pytest.approx(20, abs=14)  # three sigmas
    assert linear_test(draws[0][0], draws[0][0] + 0.1 * draws[0][1]) < 1e-6


def test_rows_hold_an_effect_beside_its_cause() -> None:
    rows = rows_of(pool(made(1), None), TRUE)

    assert set(rows.names) == {name for link in TRUE for name in (link.cause, link.effect)}
    assert rows.value.shape[0] >= 400
    first, second = (rows.names.index(name) for name in TRUE[0].pair[:2])
    assert linear_test(rows.value[:, first], rows.value[:, second]) < 1e-6


@pytest.fixture
async def workers() -> AsyncIterator[WorkerPool]:
    async with WorkerPool(1, time_limit_s=120.0, memory_bytes=MEMORY_BYTES) as pool:
        yield pool


async def test_a_worker_tests_learns_and_asks_the_references(workers: WorkerPool) -> None:
    seen: Seen = await workers.run(RUN, Asked(made(2, hidden=1.0), TRUE, deep=True))

    assert [one.verdict for one in seen.tested] == [Verdict.SUPPORTED] * len(TRUE)
    assert [one.link.cause for one in seen.suggested] == ["node_cpu_used_ratio"]
    assert seen.dowhy.startswith("DoWhy does not reject the graph")
    assert "PC cannot separate" in seen.pc


async def test_learning_ends_at_its_limit_of_time() -> None:
    async with WorkerPool(1, time_limit_s=0.2, memory_bytes=MEMORY_BYTES) as pool:
        with pytest.raises(WorkerFailed, match=r"not done after 0\.2 s"):
            await pool.run(RUN, Asked(made(1), TRUE))
