"""The command line: verbs only; what they call is imported when they run, so that help is quick."""

import os
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer
from rich.text import Text

from agent.commands import (
    ask,
    bench,
    check,
    checkpoints,
    config,
    diagnose,
    doctor,
    energy,
    evaluate,
    explain,
    export,
    forecast,
    graph,
    lab,
    launch,
    learn,
    notify,
    order,
    policy,
    replay,
    run,
    scoreboard,
    simulate,
    xid,
)
from agent.commands.console import ExitCode, err
from core.errors import ActionRefused, GpumedicError, SourceUnavailable

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a guard or already decided, "
    "4 not reachable, 130 interrupted; doctor and check use Nagios' 0 to 3. "
    "`gpumedic --install-completion` lets your shell complete verbs and options."
)
app = typer.Typer(
    name="gpumedic",
    help="Forecasts, diagnoses and heals trouble in GPU training clusters.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    run,
    launch,
    doctor,
    xid,
    check,
    forecast,
    diagnose,
    replay,
    ask,
    explain,
    energy,
    order,
    simulate,
    lab,
    learn,
    evaluate,
    scoreboard,
    bench,
):
    module.register(app)
app.add_typer(checkpoints.app, name="checkpoints", rich_help_panel="Start here")
app.add_typer(graph.app, name="graph", rich_help_panel="Settings and messages")
app.add_typer(config.app, name="config", rich_help_panel="Settings and messages")
app.add_typer(export.app, name="export", rich_help_panel="Settings and messages")
app.add_typer(policy.app, name="policy", rich_help_panel="Experiments")
app.add_typer(notify.app, name="notify", rich_help_panel="Settings and messages")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"gpumedic {version('gpumedic')}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback where something goes wrong.")
    ] = False,
) -> None:
    """Take the options that every verb shares."""
    if debug:
        os.environ["GPUMEDIC_DEBUG"] = "1"


def main() -> None:
    """Run the command line; an error is a sentence and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a ° gets a ?
    try:
        app(prog_name="gpumedic")
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output, `head` for one, has seen enough: not worth a word.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.DONE)
    except Exception as error:
        if os.environ.get("GPUMEDIC_DEBUG"):
            raise
        _end(error)


def _end(error: Exception) -> NoReturn:
    """Say what went wrong and leave with its code."""
    if isinstance(error, GpumedicError):
        said, code = str(error), _exit_code(error)
    elif isinstance(error, ModuleNotFoundError):
        said = (
            f"This needs the Python package {error.name}, which is not installed here. "
            "pip install 'gpumedic[controller]', or see `gpumedic doctor`."
        )
        code = ExitCode.FAILED
    else:
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
        said = f"Something unforeseen went wrong: {found}. See where with `gpumedic --debug ...`."
        code = ExitCode.FAILED
    err.print(Text.assemble(("gpumedic: ", "bold red"), said), soft_wrap=True)
    sys.exit(code)


def _exit_code(error: GpumedicError) -> ExitCode:
    match error:
        case ActionRefused():
            return ExitCode.REFUSED
        case SourceUnavailable():
            return ExitCode.UNREACHABLE
        case _:
            return ExitCode.FAILED


if __name__ == "__main__":
    main()
