"""``gpumedic simulate``, ``train`` and ``evaluate``: experiments on simulated clusters."""

import asyncio
from typing import Annotated

import typer

from agent.commands.console import AsJson, err, print_json
from agent.commands.options import seconds
from agent.commands.run import print_result

PANEL = "Experiments"


def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A built-in scenario: demo, quiet, random.")
    ] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same faults.")] = 0,
    duration: Annotated[str, typer.Option(help="Simulated time, such as 2h.")] = "1h",
    as_json: AsJson = False,
) -> None:
    """Run a scenario through the controller as fast as this machine can."""
    from agent.demo import simulate as run_simulation
    from core.codec import to_json

    duration_s = seconds(duration, "--duration")

    def tell(line: str) -> None:
        err.print(line, markup=False, highlight=False)

    result = asyncio.run(run_simulation(scenario, seed=seed, duration_s=duration_s, tell=tell))
    print_json(to_json(result)) if as_json else print_result(to_json(result))


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (simulate,):
        app.command(rich_help_panel=PANEL)(verb)
