"""``gpumedic check``: how well each part of this machine is."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, out, print_json, with_remedy
from agent.commands.options import ConfigFiles, load_settings

MARKS = {
    "HEALTHY": Text("healthy", style="green"),
    "DEGRADED": Text("degraded", style="yellow"),
    "UNHEALTHY": Text("unhealthy", style="bold red"),
    "UNKNOWN": Text("unknown", style="magenta"),
}


def check(
    config: ConfigFiles = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Make this check alone.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine once: every part with its state, the reason, and what to do.

    Exit codes are Nagios': 0 healthy, 1 degraded, 2 unhealthy, 3 unknown. Of several, unhealthy
    wins, then unknown, then degraded.
    """
    from agent.checks.check import Health, worst
    from agent.checks.once import check_once
    from agent.checks.rounds import plain
    from agent.start import node_name

    settings = load_settings(config).settings
    states = check_once(settings, node_name(settings), only=only or ())
    health = Health(worst(state.health for state in states))
    if as_json:
        checks = [plain(state) for state in states]
        print_json({"state": health.name.lower(), "checks": checks})
    else:
        grid = Table("check", "", "why, and what to do")
        for state in states:
            found = with_remedy(state.reason, state.remedy)
            grid.add_row(state.check, MARKS[state.health.name], found)
        out.print(grid)
    raise typer.Exit(int(health))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Start here")(check)
