"""``gpumedic evaluate``: how good policies, forecasts and detectors are, on what is new to them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from agent.commands.console import AsJson, err, out
from agent.commands.learn import PANEL, Quick, Strict
from core.errors import InputError

if TYPE_CHECKING:
    from core.figures import Row

QUICK_EPISODES = 20
# Recorded telemetry beside the checkout, where a developer has it; nothing else needs it.
RECORDED = Path("../shared/data")
Progressed = Callable[[str, int, int], None]
RCA, SERVICES = "rca", "services"
# Simulated GPU clusters, those tuned on, and service topologies for the plain-data front.
SUITES = ("held-out", "tuning", SERVICES)


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


def evaluate(
    what: Annotated[str, typer.Argument(help=f"policy, {', '.join(MEASURES)}, {RCA}.")] = "policy",
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="For policy: what `gpumedic train` wrote."),
    ] = None,
    episodes: Annotated[
        int, typer.Option(min=2, help="For policy: unseen clusters, the same for all.")
    ] = 200,
    recorded: Annotated[
        Path | None,
        typer.Option("--recorded", help=f"A folder of recorded telemetry. [default: {RECORDED}]"),
    ] = None,
    suite: Annotated[
        str,
        typer.Option("--suite", help=f"For {RCA}: {', '.join(SUITES)}."),
    ] = SUITES[0],
    quick: Quick = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Measure quality on what was not learned from: policy (on clusters), forecast, warning (both
    on held-out series), anomaly, progress (of jobs, on the simulator and recorded timelines),
    grouping (of symptoms to one incident a cause, on the simulator), rca (causes named, on
    simulated faults in clusters that nothing was tuned on, or on service topologies).

    The rules stay the default unless a learned policy beats them and every rule of thumb.
    """
    from agent.figures import emit, figures

    if what not in ("policy", RCA, *MEASURES):
        raise typer.BadParameter(f"{what!r} is none of policy, {', '.join(MEASURES)}, {RCA}")
    if suite not in SUITES:
        raise typer.BadParameter(f"{suite!r} is none of {', '.join(SUITES)}", param_hint="--suite")
    with Progress(console=err, transient=True) as bar:
        if what == "policy":
            seeds, found = _policies(policy, QUICK_EPISODES if quick else episodes, bar)
            shown = figures("evaluate policy", found, seeds=seeds)
        elif what == RCA:
            found = _rca(suite, _folder(recorded), quick, _tasks(bar))
            shown = figures(f"evaluate {RCA} {suite}", found)
        else:
            found = MEASURES[what](_folder(recorded), quick, _tasks(bar))
            shown = figures(f"evaluate {what}", found)
    raise typer.Exit(emit(shown, as_json=as_json, strict=strict, console=out))


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


def _policies(
    policy: Path | None, episodes: int, bar: Progress
) -> "tuple[tuple[int, int], Sequence[Row]]":
    """Hold policies against each other on clusters none was trained on, with intervals.

    The first family is drawn as in training, with other seeds; the others are not seen there.
    """
    from remediation.choices import Choice
    from remediation.evaluate import FAMILIES, NoPolicy, StaticPolicy, compare, held_out_seeds, rows
    from remediation.learned import LearnedPolicy, load
    from remediation.rules import RulesPolicy

    thumb = (
        StaticPolicy(Choice.SWAP, Choice.RESTART),
        StaticPolicy(Choice.SWAP_AND_REPAIR, Choice.RESTART),
    )
    learned = [LearnedPolicy(*load(policy), fallback=RulesPolicy())] if policy else []
    seeds = held_out_seeds(episodes)
    found: list[Row] = []
    for family, settings in FAMILIES.items():
        task = bar.add_task(f"evaluating {family}", total=len(seeds))
        compared = compare(
            (NoPolicy(), RulesPolicy(), *thumb, *learned),
            settings,
            seeds=seeds,
            progress=partial(_show, bar, task),
        )
        found += rows(compared, family=family)
    return (seeds[0], seeds[-1]), found


def _show(bar: Progress, task: TaskID, done: int, of: int) -> None:
    bar.update(task, completed=done, total=of)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(evaluate)
