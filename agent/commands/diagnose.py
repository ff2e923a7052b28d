"""``gpumedic diagnose``: which component is the cause, from two tables of readings and a graph."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.commands.console import AsJson, err, print_json, say, write_plot

if TYPE_CHECKING:
    from rca.frames.answer import Answer, Suspect

# Suspects with their evidence, if they are at least this likely; of the others the names.
SHOWN, LEAST_SHOWN = 3, 0.01


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
    from rca.frames.front import answer
    from rca.frames.inputs import tables

    with err.status(f"Reading {normal} and {abnormal} ..."):
        before, of_before = frame_of(normal, columns=columns, time_column=time_column)
        during, of_during = frame_of(abnormal, columns=columns, time_column=time_column)
        read = tables(before, during, None if graph is None else graph_of(graph), target)
    with err.status("Diagnosing ..."):
        found = answer(read)
    found = replace(found, notes=(*of_before, *of_during, *found.notes))
    if as_json:
        print_json({"target": target, "named": list(found.named), **to_json(found)})
    else:
        _print(found)
    if plot is not None:
        from agent.diagnosing.plot import answer_png

        write_plot(plot, answer_png(read, found))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Start here")(diagnose)


def _print(found: "Answer") -> None:
    """Say the suspects with their evidence, or why none is named and whom to look at even so."""
    if found.why:
        say(found.why)
        names = ", ".join(suspect.name for suspect in found.suspects[:SHOWN])
        say(f"If something is wrong after all, look at {names}.")
    else:
        _print_suspects(found.suspects)
        say(f"Nothing is wrong with p = {found.no_fault:.2f}.")
    for note in found.notes:
        say(f"note: {note}", style="dim")


def _print_suspects(suspects: "Sequence[Suspect]") -> None:
    shown = [one for one in suspects[:SHOWN] if one.probability >= LEAST_SHOWN] or suspects[:1]
    for rank, one in enumerate(shown, 1):
        say(f"{rank}. {one.name}, p = {one.probability:.2f}", style="bold" if rank == 1 else "")
        if len(one.path) > 1:
            say(f"   path: {' -> '.join(one.path)}")
        for evidence in one.evidence:
            say(f"   {evidence}")
    if others := [f"{one.name} ({one.probability:.2f})" for one in suspects[len(shown) :]]:
        say(f"Then {', '.join(others)}.")
