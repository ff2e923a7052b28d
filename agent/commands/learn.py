"""``gpumedic train``: learn a policy on simulated clusters."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from agent.commands.console import AsJson, err, out, print_json
from core.errors import InputError

PANEL = "Experiments"
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 where a row misses its goal.")]
Quick = Annotated[bool, typer.Option("--quick", help="The short form, with a smaller n.")]


def train(
    into: Annotated[Path, typer.Option("--out", help="Where the policy is written.")],
    steps: Annotated[int, typer.Option(min=1, help="Decisions to learn from.")] = 500_000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same policy.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Train a policy on simulated clusters; it is written as plain arrays, with no code in it."""
    from remediation.train import TrainSettings
    from remediation.train import train as learn

    if not os.access(into.parent, os.W_OK):
        raise InputError(
            f"Training into {into}: the folder {into.parent} is not there or cannot be written. "
            "Name a file in a folder you may write."
        )
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("training", total=steps)
        _, made = learn(
            TrainSettings(steps=steps, seed=seed),
            into,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    if as_json:
        return print_json({"file": str(into), "steps": made.steps, "seed": made.seed})
    out.print(f"{into}: {made.steps} decisions, seed {made.seed}.", markup=False)
    out.print(f"Hold it against the rules: gpumedic evaluate --policy {into}", markup=False)
    return None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(train)
