"""``gpumedic energy``: what each job's energy is and costs, and what would take less of it."""

from typing import TYPE_CHECKING

import typer
from rich.table import Table

from agent.commands.console import AsJson, out, print_json, say
from agent.commands.options import Url, client

if TYPE_CHECKING:
    from agent.energy.watch import JobEnergy


def energy(url: Url = None, as_json: AsJson = False) -> None:
    """Show each job's energy, its cost and CO2, and the power limit that would take least."""
    found = client(url).get("/v1/energy")
    if as_json:
        print_json(found)
        return
    if not found["jobs"]:
        say("No job's energy is known: no GPU's power has been read while a job ran.")
        return
    from agent.energy.watch import JobEnergy
    from core.codec import from_json

    grid = Table("job", "now", "energy", "cost", "CO2", "read", "least energy")
    for each in found["jobs"]:
        grid.add_row(*_row(from_json(JobEnergy, each)))
    out.print(grid)


def _row(each: "JobEnergy") -> tuple[str, ...]:
    from agent.energy.words import NOT_KNOWN, carbon, money, saving_text

    bill = each.bill
    return (
        bill.job,
        f"{bill.watts / 1000:.1f} kW",
        f"{bill.kwh:,.1f} kWh",
        money(bill),
        carbon(bill),
        f"{bill.measured_ratio:.0%}",
        NOT_KNOWN if each.saving is None else saving_text(each.saving),
    )


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel="Look and decide")(energy)
