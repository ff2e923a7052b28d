"""``gpumedic export``: units for systemd, alert rules for Prometheus, a dashboard for Grafana."""

import sys
from typing import Annotated

import typer

app = typer.Typer(
    help="Print units for systemd, alert rules for Prometheus, a dashboard for Grafana.",
    no_args_is_help=True,
)


@app.command()
def unit(
    name: Annotated[
        str, typer.Argument(help="node, controller, helper, or a file's name; none: their list.")
    ] = "",
) -> None:
    """Print a unit of systemd, or the names of all there are."""
    from agent import exported

    sys.stdout.write(exported.unit(name) if name else "\n".join(exported.units()) + "\n")


@app.command()
def rules() -> None:
    """Print alert rules for Prometheus."""
    from agent.exported import RULES

    sys.stdout.write(RULES.read_text())


@app.command()
def dashboard() -> None:
    """Print a dashboard for Grafana, as JSON to import."""
    from agent.exported import DASHBOARD

    sys.stdout.write(DASHBOARD.read_text())
