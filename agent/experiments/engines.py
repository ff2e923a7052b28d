"""Where runs are computed: in this process, on all cores, or on the machines of a Ray cluster.

Every engine yields (index, outcome) in whatever order the runs end; the results are the same. A run
is a spec, plain data with a label, and the function that makes an outcome of it.
"""

import difflib
import importlib.util
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from agent.experiments.results import Labelled, RunFailed
from core.errors import InputError

ENGINES = ("local", "ray")
S = TypeVar("S", bound=Labelled)
R = TypeVar("R")
Outcomes = Iterator[tuple[int, R | RunFailed]]


def compute(
    specs: Sequence[S], run: Callable[[S], R], *, engine: str, jobs: int | None
) -> Outcomes[R]:
    """Yield (index, outcome) of every run as it ends; a run that fails is an outcome too.

    run: a function of a module, which other processes and machines can import; it raises nothing
    jobs: runs at one time; None: a core each
    """
    if engine not in ENGINES:
        near = difflib.get_close_matches(engine, ENGINES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {' and '.join(ENGINES)}."
        raise InputError(f"no engine {engine!r}; {hint}")
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: that many runs at a time; ask for at least 1.")
    if engine == "ray":
        return _on_ray(specs, run, jobs)
    # A pool costs a second to start: a single run is quicker without.
    if len(specs) == 1:
        return _here(specs, run)
    return _local(specs, run, jobs or len(os.sched_getaffinity(0)))


def _here(specs: Sequence[S], run: Callable[[S], R]) -> Outcomes[R]:
    for index, spec in enumerate(specs):
        yield index, run(spec)


def _local(specs: Sequence[S], run: Callable[[S], R], jobs: int) -> Outcomes[R]:
    """Compute in processes of their own; one that dies takes no other run with it."""
    waiting = list(range(len(specs)))[::-1]
    suspects: list[int] = []
    while waiting:
        yield from _pooled(specs, run, jobs, waiting=waiting, suspects=suspects)
        # A dead process breaks its pool and does not say whose run it was: each alone, then.
        for index in suspects:
            yield index, _alone(specs[index], run)
        suspects.clear()


def _pooled(
    specs: Sequence[S],
    run: Callable[[S], R],
    jobs: int,
    *,
    waiting: list[int],
    suspects: list[int],
) -> Outcomes[R]:
    """Compute what is waiting until all is done or a process died: then what ran is suspect."""
    pool = _pool(min(jobs, len(waiting)))
    running: dict[Future[R], int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index = waiting.pop()
                running[pool.submit(run, specs[index])] = index
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                yield running.pop(future), outcome
    except BrokenProcessPool:
        suspects.extend(running.values())
    finally:
        _end(pool)


def _alone(spec: S, run: Callable[[S], R]) -> R | RunFailed:
    pool = _pool(1)
    try:
        return pool.submit(run, spec).result()
    except BrokenProcessPool:
        found = "its process died, most likely for want of memory; use fewer --jobs."
        return RunFailed(spec.label, found)
    finally:
        _end(pool)


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_leave_signals)


def _leave_signals() -> None:
    """Leave Ctrl-C to the parent, who keeps what is finished and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes at once; what they still compute is lost."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()


def _on_ray(specs: Sequence[S], run: Callable[[S], R], jobs: int | None) -> Outcomes[R]:
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "--engine ray: the Python package ray is not installed here; pip install "
            "'gpumedic[ray]' on every machine of the cluster, or use --engine local."
        )
    from agent.experiments.on_ray import compute_on_ray  # noqa: PLC0415  # takes seconds

    return compute_on_ray(specs, run, jobs=jobs)
