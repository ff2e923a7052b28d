"""``gpumedic lab``: a simulated cluster served as a real one is."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agent.commands.console import tell
from agent.commands.options import Duration, listen_address
from agent.commands.options import duration as read_duration
from core.durations import lasting

PANEL = "Experiments"


def lab(
    scenario: Annotated[
        str, typer.Argument(help="A name of the library, or a TOML file.")
    ] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same faults.")] = 0,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", callback=listen_address, help="Where to serve.")
    ] = "127.0.0.1:9800",
    every: Annotated[
        float,
        typer.Option(parser=read_duration, metavar="DURATION", help="How often exporters collect."),
    ] = 15.0,
    token_folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the file with the orders' token is made.")
    ] = Path("gpumedic-lab"),
    duration: Duration = 0.0,
) -> None:
    """Serve a simulated cluster: exporters for a Prometheus, logs, and a scheduler to heal it by.

    Its time is the time of day: what scrapes it and looks after it are real programs.
    """
    from agent.lab.serving import LabSettings, serve_for
    from sim.library import find

    script = find(scenario)
    wanted = LabSettings(listen=listen, token_folder=token_folder, every_s=every)
    ending = f"ends after {lasting(duration)}" if duration else "Ctrl-C ends it"
    tell(
        f"Cluster {script.name} at http://{listen} ({ending}); settings for a Prometheus: "
        f"http://{listen}/prometheus.yml, token: {token_folder}/token."
    )
    world = asyncio.run(serve_for(script, wanted, seed=seed, duration_s=duration))
    tell(f"Served {lasting(world.now_s - world.scenario.start_s)}; goodput {world.goodput():.3f}.")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(lab)
