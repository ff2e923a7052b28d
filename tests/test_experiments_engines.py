"""Wherever runs are computed, the results are the same, and no run takes another with it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent.experiments.engines import compute
from agent.experiments.results import Outcome, RunFailed, RunResult, RunSpec
from agent.experiments.run import attempt
from core.codec import to_json
from core.errors import InputError
from tests.experiments import spec, without_times
from tests.ray_cluster import cluster_of_three

SPECS = tuple(spec(seed) for seed in range(4))


class Deadly:
    """Ends the process that unpickles it at once, as the kernel ends one that eats the memory."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (1,)


def computed(specs: Sequence[RunSpec], engine: str = "local", jobs: int = 2) -> list[Outcome]:
    found = dict(compute(specs, attempt, engine=engine, jobs=jobs))
    return [found[index] for index in range(len(specs))]


def as_plain(outcomes: Sequence[Outcome]) -> list[Any]:
    return [to_json(without_times(each)) for each in outcomes if isinstance(each, RunResult)]


@pytest.fixture(scope="module")
def local() -> list[Any]:
    return as_plain(computed(SPECS))


def test_a_run_depends_on_its_spec_alone(local: list[Any]) -> None:
    again = as_plain([computed([each])[0] for each in reversed(SPECS)])

    assert again[::-1] == local
    assert len({str(each) for each in local}) == len(SPECS)


def test_one_process_and_many_give_the_same(local: list[Any]) -> None:
    assert as_plain(computed(SPECS, jobs=1)) == local


@pytest.fixture
def ray_nodes() -> Iterator[int]:
    with cluster_of_three() as nodes:
        yield nodes


def test_several_ray_nodes_give_the_same(ray_nodes: int, local: list[Any]) -> None:
    found = computed(SPECS, engine="ray", jobs=3)

    assert ray_nodes == 3
    assert as_plain(found) == local


def test_a_run_that_fails_is_named_and_loses_no_other(local: list[Any]) -> None:
    no_scenario: Any = None
    bad = replace(SPECS[1], scenario=no_scenario)

    found = computed([SPECS[0], bad, *SPECS[2:]])

    assert isinstance(found[1], RunFailed)
    assert found[1].label == "none, seed 1"
    assert as_plain(found) == [local[0], *local[2:]]


def test_a_process_that_dies_loses_its_own_run_only(local: list[Any]) -> None:
    deadly: Any = Deadly()
    bad = replace(SPECS[1], learned=deadly, settings=(("nodes", "4"),))

    found = computed([SPECS[0], bad, *SPECS[2:]])

    assert isinstance(found[1], RunFailed)
    assert found[1].label == "none, seed 1, nodes=4"
    assert "its process died" in found[1].reason
    assert as_plain(found) == [local[0], *local[2:]]


@pytest.mark.parametrize(
    ("engine", "jobs", "said"),
    [
        ("rey", 1, "no engine 'rey'; did you mean ray?"),
        ("slurm", 1, "there are local and ray"),
        ("local", 0, "--jobs 0: that many runs at a time; ask for at least 1"),
    ],
)
def test_an_engine_that_cannot_be_used_says_so(engine: str, jobs: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        compute(SPECS, attempt, engine=engine, jobs=jobs)


def test_ray_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)

    with pytest.raises(InputError, match=r"pip install 'gpumedic\[ray\]'"):
        compute(SPECS, attempt, engine="ray", jobs=1)
