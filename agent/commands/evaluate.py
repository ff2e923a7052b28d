"""``gpumedic evaluate``: how good policies, forecasts and detectors are, on what is new to them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from agent.commands.console import AsJson, err, out, tell
from agent.commands.learn import PANEL, Quick, Strict
from core.errors import InputError

if TYPE_CHECKING:
    from agent.evaluations.policies.evaluation import Wanted
    from core.figures import Row

# Recorded telemetry beside the checkout, where a developer has it; nothing else needs it.
RECORDED = Path("../shared/data")
Progressed = Callable[[str, int, int], None]
POLICY, RCA, SERVICES = "policy", "rca", "services"
# policy: families of clusters and seeds that nobody was taught on, seeds alone, those that policies
# are tuned on, those that they are taught on. rca: simulated clusters, those tuned on, and
# service topologies for the plain-data front.
HELD_OUT = "held-out"
SUITES = {
    POLICY: (HELD_OUT, "seeds", "tuning", "train"),
    RCA: (HELD_OUT, "tuning", SERVICES),
}
_SUITES_IN_WORDS = "; ".join(f"{what}: {', '.join(names)}" for what, names in SUITES.items())


def _forecast(recorded: Path | None, quick: bool, progress: Progressed) -> "Sequence[Row]":
    from agent.evaluations.forecast import rows

    return rows(recorded, quick=quick, progress=progress)


def _warning(recorded: Path | None, quick: bool, progress: Progressed) -> "Sequence[Row]":
    from agent.evaluations.warning import rows

    return rows(recorded, quick=quick, progress=progress)


def _anomaly(recorded: Path | None, quick: bool, progress: Progressed) -> "Sequence[Row]":
    from agent.evaluations.anomaly import rows

    return rows(recorded, quick=quick, progress=progress)


def _progress(recorded: Path | None, quick: bool, progress: Progressed) -> "Sequence[Row]":
    from agent.evaluations.progress import rows

    return rows(recorded, quick=quick, progress=progress)


def _grouping(recorded: Path | None, quick: bool, progress: Progressed) -> "Sequence[Row]":
    from agent.evaluations.grouping import rows

    return rows(recorded, quick=quick, progress=progress)


# Each measures when called: recorded telemetry or None, the short form or not, a progress bar.
MEASURES: "Mapping[str, Callable[[Path | None, bool, Progressed], Sequence[Row]]]" = {
    "forecast": _forecast,
    "warning": _warning,
    "anomaly": _anomaly,
    "progress": _progress,
    "grouping": _grouping,
}


def _rca(suite: str, recorded: Path | None, quick: bool, progress: Progressed) -> "Sequence[Row]":
    if suite == SERVICES:
        from agent.evaluations.services.rows import rows as of_services

        return of_services(recorded, quick=quick, progress=progress)
    from agent.evaluations.rca.rows import rows

    return rows(suite, quick=quick, progress=progress)


What = Annotated[str, typer.Argument(help=f"{POLICY}, {', '.join(MEASURES)}, {RCA}.")]
Suite = Annotated[
    str | None, typer.Option("--suite", help=f"{_SUITES_IN_WORDS}. [default: {HELD_OUT}]")
]
Names = Annotated[
    str, typer.Option("--policies", help="Names with commas, or all. [default: a few quick ones]")
]
Files = Annotated[
    list[Path] | None,
    typer.Option("--policy", help="What `gpumedic train` wrote; may be repeated."),
]
Lives = Annotated[
    int | None, typer.Option(min=2, help="Of each family of clusters, the same for all.")
]
Engine = Annotated[
    str | None, typer.Option(help="local, or ray: on a cluster's machines. [default: local]")
]
Jobs = Annotated[int | None, typer.Option(help="Lives at one time. [default: a core each]")]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", help="Write the tables into this file.")
]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw the losses into this SVG.")]
Recorded = Annotated[
    Path | None,
    typer.Option("--recorded", help=f"A folder of recorded telemetry. [default: {RECORDED}]"),
]


def evaluate(
    what: What = POLICY,
    suite: Suite = None,
    policies: Names = "",
    policy: Files = None,
    lives: Lives = None,
    engine: Engine = None,
    jobs: Jobs = None,
    markdown: Markdown = None,
    plot: Plot = None,
    recorded: Recorded = None,
    quick: Quick = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Measure quality on what was not learned from: policy (on lives of clusters), forecast,
    warning (both on held-out series), anomaly, progress (of jobs, on the simulator and recorded
    timelines), grouping (of symptoms to one incident a cause, on the simulator), rca (causes named,
    on simulated faults in clusters that nothing was tuned on, or on service topologies).

    The options from --policies to --plot are for policy. All policies live the same lives;
    `gpumedic policy promote` lets one act that is better than the runbook.
    """
    from agent.figures import emit, figures

    theirs = {
        "--policies": policies,
        "--policy": policy,
        "--lives": lives,
        "--engine": engine,
        "--jobs": jobs,
        "--markdown": markdown,
        "--plot": plot,
    }
    named = _suite(what, suite, theirs)
    if what == POLICY:
        from agent.evaluations.policies.evaluation import Wanted

        files = tuple(policy or ())
        wanted = Wanted(named, policies, files, lives, quick, engine or "local", jobs)
        raise typer.Exit(_policies(wanted, (markdown, plot), as_json=as_json, strict=strict))
    with Progress(console=err, transient=True) as bar:
        if what == RCA:
            found = _rca(named, _folder(recorded), quick, _tasks(bar))
            shown = figures(f"evaluate {RCA} {named}", found)
        else:
            found = MEASURES[what](_folder(recorded), quick, _tasks(bar))
            shown = figures(f"evaluate {what}", found)
    raise typer.Exit(emit(shown, as_json=as_json, strict=strict, console=out))


def _suite(what: str, suite: str | None, theirs: Mapping[str, object]) -> str:
    """Return the suite; BadParameter for what does not go together with what is measured."""
    if what not in (POLICY, RCA, *MEASURES):
        raise typer.BadParameter(f"{what!r} is none of {POLICY}, {', '.join(MEASURES)}, {RCA}")
    known = SUITES.get(what, ())
    if suite is not None and suite not in known:
        said = f"{what} has {', '.join(known)}" if known else f"{what} has no suites"
        raise typer.BadParameter(f"{suite!r}: {said}", param_hint="--suite")
    given = [name for name, value in theirs.items() if value]
    if what != POLICY and given:
        raise typer.BadParameter(f"is for {POLICY}, not for {what}", param_hint=given[0])
    return suite or HELD_OUT


def _policies(
    wanted: "Wanted", files: tuple[Path | None, Path | None], *, as_json: bool, strict: bool
) -> int:
    """Hold policies against each other; files: for the tables, and for the picture."""
    from dataclasses import replace

    from agent.evaluations.policies.evaluation import evaluation, in_short
    from agent.evaluations.policies.page import page
    from agent.evaluations.policies.plot import plot
    from agent.figures import emit, figures

    with Progress(console=err, transient=True) as bar:
        task = bar.add_task(f"evaluating on {wanted.suite}", total=None)
        found = evaluation(
            wanted, progress=lambda done, of: bar.update(task, completed=done, total=of)
        )
    shown = figures(f"evaluate {POLICY} {wanted.suite}", found.rows, seeds=found.seeds)
    for file, text in zip(files, (page, plot), strict=True):
        if file is not None:
            _write(file, text(shown))
    if not as_json:
        shown = replace(shown, rows=in_short(shown.rows))
    return emit(shown, as_json=as_json, strict=strict, console=out)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Writing {file}: {error.strerror}. Name a file in a folder you may write."
        ) from error
    tell(f"written: {file}")


def _folder(named: Path | None) -> Path | None:
    """Return where recorded telemetry is; None: nowhere, unless a folder was named."""
    folder = RECORDED if named is None else named
    if folder.is_dir():
        return folder
    if named is not None:
        raise InputError(
            f"Reading recorded telemetry from {named}: there is no such folder. Leave --recorded "
            "out to measure on generated series only."
        )
    return None


def _tasks(bar: Progress) -> Progressed:
    """Return what shows how far each named part is."""
    tasks: dict[str, TaskID] = {}

    def show(name: str, done: int, of: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=of)
        bar.update(tasks[name], completed=done, total=of)

    return show


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(evaluate)
