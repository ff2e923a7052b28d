"""``gpumedic simulate``: the controller against a simulated cluster, as fast as it goes."""

import asyncio
from typing import Annotated

import typer

from agent.commands.console import AsJson, print_json, tell
from agent.commands.options import duration as read_duration
from agent.commands.run import print_result

PANEL = "Experiments"


def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A built-in scenario: demo, quiet, random.")
    ] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same faults.")] = 0,
    duration: Annotated[
        float, typer.Option(parser=read_duration, metavar="DURATION", help="Simulated, such as 2h.")
    ] = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Run a scenario through the controller as fast as this machine can."""
    from agent.demo import simulate as run_simulation
    from core.codec import to_json

    result = asyncio.run(run_simulation(scenario, seed=seed, duration_s=duration, tell=tell))
    print_json(to_json(result)) if as_json else print_result(to_json(result))


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command(rich_help_panel=PANEL)(simulate)
