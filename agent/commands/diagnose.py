"""``gpumedic diagnose``: which component is the cause, from two tables of readings and a graph."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.console import AsJson, err, print_json, say, tell

if TYPE_CHECKING:
    from rca.frames.answer import Answer


def diagnose(
    normal: Annotated[
        Path, typer.Option("--normal", help="A CSV or Parquet file of readings without trouble.")
    ],
    abnormal: Annotated[
        Path, typer.Option("--abnormal", help="A CSV or Parquet file of readings during it.")
    ],
    target: Annotated[str, typer.Option("--target", help="The column whose trouble was noticed.")],
    graph: Annotated[
        Path | None, typer.Option("--graph", help="A JSON file: which component affects which.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Which columns: 'web*', or '/cpu|latency/'.")
    ] = None,
    time_column: Annotated[
        str | None, typer.Option("--time", help="The column with the times; found if left out.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the path and its series into this PNG.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Name the root cause in two tables of readings, of any service, or say that it is unknown."""
    from agent.diagnosing.files import frame_of, graph_of
    from core.codec import to_json
    from rca.frames.front import explain
    from rca.frames.inputs import tables

    with err.status(f"Reading {normal} and {abnormal} ..."):
        before, of_before = frame_of(normal, columns=columns, time_column=time_column)
        during, of_during = frame_of(abnormal, columns=columns, time_column=time_column)
        links = None if graph is None else graph_of(graph)
    with err.status("Diagnosing ..."):
        found = tables(before, during, links, target)
        answer = explain(before, during, links, target)
    notes = (*of_before, *of_during, *found.notes)
    if as_json:
        print_json({"target": target, **to_json(answer), "notes": list(notes)})
    else:
        _print(answer, notes)
    if plot is not None:
        from agent.diagnosing.plot import answer_png

        _write(plot, answer_png(found, answer))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Start here")(diagnose)


def _write(path: Path, png: bytes) -> None:
    from core.errors import InputError

    try:
        path.write_bytes(png)
    except OSError as error:
        raise InputError(
            f"Writing the plot to {path}: {error.strerror}. Name a file in a folder you may write."
        ) from error
    tell(f"plot: {path}")


def _print(answer: "Answer", notes: Sequence[str]) -> None:
    """Say the suspects with their evidence, or why none is named."""
    say(answer.why)
    for rank, suspect in enumerate(answer.suspects, 1):
        say(f"{rank}. {suspect.name}, p = {suspect.probability:.2f}", style="bold" * (rank == 1))
        for evidence in suspect.evidence:
            say(f"   {evidence}")
        if len(suspect.path) > 1:
            say(f"   path: {' -> '.join(suspect.path)}")
    say(f"Nothing is wrong: p = {answer.no_fault:.2f}")
    for note in notes:
        say(f"note: {note}", style="dim")
