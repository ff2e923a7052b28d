"""Runs as tasks of a Ray cluster: the one on this machine, or the one that RAY_ADDRESS names."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from agent.experiments.results import Labelled, RunFailed

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if not os.environ.get("RAY_ADDRESS"):
    # Nobody named a cluster: Ray keeps to this machine's loopback interface, as it does by itself
    # on systems other than Linux. It reads this when it is imported.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray
from ray.exceptions import RayError

S = TypeVar("S", bound=Labelled)
R = TypeVar("R")


def compute_on_ray(
    specs: Sequence[S], run: Callable[[S], R], *, jobs: int | None
) -> Iterator[tuple[int, R | RunFailed]]:
    """Yield (index, outcome) of every run as it ends.

    A run whose machine is lost is computed again on another: it depends on its spec alone. gpumedic
    must be installed in the same version on every machine. A cluster that is connected to already
    is used and left as it is.

    jobs: most runs at one time; None: as many as the cluster has cores
    """
    ours = not ray.is_initialized()
    if ours:
        _connect(jobs)
    try:
        yield from _tasks(specs, run, jobs or int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if ours:
            ray.shutdown()


def _connect(jobs: int | None) -> None:
    settings: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if not os.environ.get("RAY_ADDRESS"):
        settings |= {"num_cpus": jobs, "include_dashboard": False}
    ray.init(**settings)


def _tasks(
    specs: Sequence[S], run: Callable[[S], R], jobs: int
) -> Iterator[tuple[int, R | RunFailed]]:
    task = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(run)
    waiting = list(range(len(specs)))[::-1]
    running: dict[Any, int] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            index = waiting.pop()
            running[task.remote(specs[index])] = index
        done, _ = ray.wait(list(running), num_returns=1)
        for reference in done:
            index = running.pop(reference)
            yield index, _outcome(reference, specs[index])


def _outcome(reference: Any, spec: Labelled) -> Any:
    try:
        return ray.get(reference)
    except RayError as error:
        return RunFailed(spec.label, f"Ray could not compute it: {error}".split("\n")[0])
