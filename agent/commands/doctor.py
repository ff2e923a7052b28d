"""``gpumedic doctor``: what this machine has, what is missing, and how to get it."""

import asyncio

import typer
from rich.table import Table
from rich.text import Text

from agent.commands.console import AsJson, err, out, print_json, with_remedy
from agent.commands.options import ConfigFiles, load_settings

MARKS = {
    "OK": Text("ok", style="green"),
    "WARNING": Text("warning", style="yellow"),
    "CRITICAL": Text("critical", style="bold red"),
    "UNKNOWN": Text("unknown", style="magenta"),
}


def doctor(config: ConfigFiles = None, as_json: AsJson = False) -> None:
    """Look for everything gpumedic can use; each thing that is missing comes with its remedy.

    Exit codes are Nagios': 0 ok, 1 warning, 2 critical, 3 unknown.
    """
    from agent.doctor import examine, worst

    settings = load_settings(config).settings
    with err.status("Looking around (a trial fit takes some seconds) ..."):
        checks = asyncio.run(examine(settings))
    status = worst(checks)
    if as_json:
        plain = [
            {"name": c.name, "status": c.status.name.lower(), "found": c.found, "remedy": c.remedy}
            for c in checks
        ]
        print_json({"status": status.name.lower(), "checks": plain})
    else:
        grid = Table("what", "", "found, and what would help")
        for check in checks:
            found = with_remedy(check.found, check.remedy)
            grid.add_row(check.name, MARKS[check.status.name], found)
        out.print(grid)
    raise typer.Exit(int(status))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Start here")(doctor)
