"""``gpumedic config``: check, show and describe the settings."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, ExitCode, out, print_json, say, tell
from agent.commands.options import ConfigFiles, load_settings

app = typer.Typer(help="Check, show and describe the settings.", no_args_is_help=True)


@app.command()
def check(config: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Say everything that is wrong with the settings; exit 1 where anything is."""
    import os

    from agent.config import check as check_settings

    problems = check_settings(config, environ=os.environ)
    if as_json:
        print_json({"ok": not problems, "problems": [str(problem) for problem in problems]})
    elif problems:
        for problem in problems:
            tell(problem)
    else:
        for warning in load_settings(config).warnings:
            tell(f"warning: {warning}", style="yellow")
        say("The settings can be used.")
    raise typer.Exit(ExitCode.FAILED if problems else ExitCode.DONE)


@app.command()
def show(
    config: ConfigFiles = None,
    origin: Annotated[
        bool, typer.Option("--origin", help="Also say where each value came from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the settings in force; secrets are never printed."""
    from agent.config import show as rows_of

    rows = rows_of(load_settings(config))
    if as_json:
        print_json({key: {"value": value, "origin": where} for key, value, where in rows})
        return
    grid = Table(box=None, pad_edge=False)
    for column in ("key", "value", *(("origin",) if origin else ())):
        grid.add_column(column)
    for key, value, where in rows:
        cells = (key, str(value), where) if origin else (key, str(value))
        grid.add_row(*map(Text, cells))
    out.print(grid)


@app.command()
def schema(as_json: AsJson = True) -> None:
    """Print the JSON Schema of a settings file, for editors; it is JSON in any case."""
    from agent.config import schema as schema_of

    print_json(schema_of())


@app.command()
def example(as_json: AsJson = False) -> None:
    """Print a settings file with every key, what it means and its default."""
    import sys

    from agent.config import example as text_of

    print_json({"toml": text_of()}) if as_json else sys.stdout.write(text_of())
