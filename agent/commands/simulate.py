"""``gpumedic simulate``: scenarios, one or many, as fast as this machine or a Ray cluster goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.console import AsJson, ExitCode, err, out, print_json, tell
from agent.commands.learn import Quick
from agent.commands.options import duration as read_duration

if TYPE_CHECKING:
    from agent.experiments.experiment import Experiment, Request

PANEL = "Experiments"
LIST, SHOW = "list", "show"

What = Annotated[
    str,
    typer.Argument(
        metavar="SCENARIO",
        help="A name of the library, a TOML file, or: list; show NAME.",
        show_default=True,
    ),
]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="For show: which scenario.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Same seed, same faults.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="This many seeds, from --seed on.")]
Length = Annotated[
    float | None,
    typer.Option(parser=read_duration, metavar="DURATION", help="Simulated, such as 2h or 54d."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the scenario.")
]
Sweep = Annotated[
    list[str] | None, typer.Option("--sweep", metavar="KEY=V1,V2", help="Run with each value.")
]
Policies = Annotated[
    str,
    typer.Option("--policy", help="none, rules, FILE.npz; several with commas. [default: its own]"),
]
Telemetry = Annotated[
    str | None,
    typer.Option(help="full: the controller reads series; surrogate: incidents are drawn; none."),
]
Jobs = Annotated[int | None, typer.Option(help="Runs at one time. [default: a core each]")]
Engine = Annotated[str, typer.Option(help="local, or ray: on a cluster's machines.")]
Into = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="For Parquet, JSON and report.html.")
]
Validate = Annotated[bool, typer.Option("--validate", help="Hold the simulator against papers.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only the result.")]


def simulate(
    scenario: What = "demo",
    name: Name = None,
    seed: Seed = None,
    seeds: Seeds = None,
    duration: Length = None,
    settings: Set = None,
    sweep: Sweep = None,
    policy: Policies = "",
    telemetry: Telemetry = None,
    jobs: Jobs = None,
    engine: Engine = "local",
    into: Into = None,
    validate: Validate = False,
    quick: Quick = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run scenarios: one in detail, or seeds and sweeps on all cores with a report.

    `simulate list` names the scenarios, `simulate show NAME` prints one to start from. A folder
    given with --out keeps every result; runs that are in it already are not computed again.
    """
    from agent.experiments.experiment import Request
    from agent.experiments.plan import Wanted, plan

    if validate:
        raise typer.Exit(_validate(quick=quick, as_json=as_json))
    if scenario == SHOW:
        return _show(name)
    if name is not None:
        raise typer.BadParameter(f"{name!r} follows a scenario; only `simulate show NAME` has two")
    if scenario == LIST:
        return _list(as_json=as_json)
    wanted = Wanted(
        scenario=scenario,
        seed=seed,
        seeds=seeds,
        settings=tuple(settings or ()),
        sweeps=tuple(sweep or ()),
        policies=policy,
        telemetry=telemetry,
        duration_s=duration,
    )
    request = Request(plan(wanted), engine=engine, jobs=jobs, folder=into)
    raise typer.Exit(_run(request, quiet=quiet, as_json=as_json))


def _run(request: "Request", *, quiet: bool, as_json: bool) -> int:
    """Conduct the experiment and say what came of it; return the exit code."""
    from agent.experiments.experiment import conduct
    from agent.experiments.results import Outcome, RunFailed

    with _bar(len(request.specs), shown=not quiet) as advance:

        def progress(done: int, total: int, outcome: Outcome) -> None:
            advance(done)
            if isinstance(outcome, RunFailed):
                tell(f"{outcome.label}: {outcome.reason}", style="red")

        made = conduct(request, progress=progress, tell=lambda line: None if quiet else tell(line))
    if not quiet and made.taken:
        tell(f"{made.taken} of {len(request.specs)} runs were in {request.folder} already.")
    _print(made, one=len(request.specs) == 1, as_json=as_json)
    if request.folder is not None and made.results and not quiet:
        tell(f"Results and report: {request.folder / 'report.html'}")
    if made.interrupted:
        left = len(request.specs) - len(made.results) - len(made.failures)
        kept = "" if request.folder is None else "; the same command goes on from here"
        tell(f"Interrupted: {left} of {len(request.specs)} runs were not finished{kept}.")
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if made.failures else ExitCode.DONE


@contextmanager
def _bar(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many runs are done; gives the function to say so with."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("simulating", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=err, transient=True, disable=not (shown and err.is_terminal))
    with bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _print(made: "Experiment", *, one: bool, as_json: bool) -> None:
    from agent.experiments.shown import many_as_json, one_as_json, table

    if as_json:
        if one and made.results:
            print_json(one_as_json(made.results[0]))
        else:
            print_json(many_as_json(made))
    elif made.results:
        out.print(table(made))


def _list(*, as_json: bool) -> None:
    from agent.experiments.shown import scenario_rows, scenario_table

    rows = scenario_rows()
    print_json(rows) if as_json else out.print(scenario_table(rows))


def _show(name: str | None) -> None:
    from sim.library import find
    from sim.scenario_file import to_toml

    if name is None:
        raise typer.BadParameter("show needs a NAME; `gpumedic simulate list` has them")
    out.file.write(to_toml(find(name)))


def _validate(*, quick: bool, as_json: bool) -> int:
    from agent.figures import emit
    from sim.validation import validate

    with err.status("Holding the simulator against published figures ...") as status:
        found = validate(quick=quick, tell=status.update)
    return emit(found, as_json=as_json, strict=True, console=out)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(simulate)
