"""Many runs as one experiment: compute what is not kept yet, keep what comes, sum up at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.experiments.engines import compute
from agent.experiments.folder import Folder, open_folder
from agent.experiments.results import Outcome, RunFailed, RunResult, RunSpec
from agent.experiments.run import attempt
from sim.warm import warm

Progress = Callable[[int, int, Outcome], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """The runs, and where they are computed and kept; jobs: at one time, None: a core each."""

    specs: tuple[RunSpec, ...]
    engine: str = "local"
    jobs: int | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """What came of it, in the order of the request whatever ended first.

    taken: results that were in the folder already; interrupted: by Ctrl-C, before all were done
    """

    results: tuple[RunResult, ...]
    failures: tuple[RunFailed, ...]
    taken: int
    interrupted: bool


def conduct(
    request: Request,
    *,
    progress: Progress = lambda done, total, outcome: None,
    tell: Tell = lambda line: None,
) -> Experiment:
    """Compute every run and keep each as it ends; Ctrl-C ends it with what is there by then.

    Results, tables and report.html are in the request's folder then. InputError: the folder, the
    engine or the number of jobs cannot be used; nothing has been computed.

    tell: is given a line where something takes long before the first run
    """
    folder = None if request.folder is None else open_folder(request.folder)
    found = _kept(request, folder)
    taken, total = len(found), len(request.specs)
    missing = [index for index in range(total) if index not in found]
    outcomes = compute(
        [request.specs[index] for index in missing],
        attempt,
        engine=request.engine,
        jobs=request.jobs,
    )
    interrupted = False
    try:
        if missing:
            warm(tell)  # or each of the processes would compile the same
        for number, outcome in outcomes:
            index = missing[number]
            found[index] = outcome
            if folder is not None and isinstance(outcome, RunResult):
                folder.keep(request.specs[index], outcome)
            progress(len(found), total, outcome)
    except KeyboardInterrupt:
        interrupted = True
    ordered = {index: found[index] for index in sorted(found)}
    results = {i: each for i, each in ordered.items() if isinstance(each, RunResult)}
    failures = tuple(each for each in ordered.values() if isinstance(each, RunFailed))
    if folder is not None and results:
        _sum_up(request, folder, results, failures)
    return Experiment(tuple(results.values()), failures, taken, interrupted)


def _kept(request: Request, folder: Folder | None) -> dict[int, Outcome]:
    if folder is None:
        return {}
    kept = {index: folder.kept(spec) for index, spec in enumerate(request.specs)}
    return {index: result for index, result in kept.items() if result is not None}


def _sum_up(
    request: Request,
    folder: Folder,
    results: dict[int, RunResult],
    failures: tuple[RunFailed, ...],
) -> None:
    from agent.experiments.report import report  # noqa: PLC0415  # only where a page is wanted

    names = {folder.of(request.specs[index]).name: each for index, each in results.items()}
    folder.write_tables(names)
    folder.write_page(report(tuple(results.values()), failures))
