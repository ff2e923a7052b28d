"""``gpumedic train``: learn a policy on simulated clusters."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from agent.commands.console import AsJson, err, out, print_json
from core.errors import InputError

PANEL = "Experiments"
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 where a row misses its goal.")]
Quick = Annotated[bool, typer.Option("--quick", help="The short form, with a smaller n.")]


def train(
    into: Annotated[Path, typer.Option("--out", help="Where the policy is written.")],
    steps: Annotated[int, typer.Option(min=1, help="Decisions to learn from.")] = 4_000_000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same policy.")] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="End then, whatever the steps.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on from what a training kept: FILE.state.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write TensorBoard's logs into this folder.")
    ] = None,
    bandit: Annotated[
        bool, typer.Option("--bandit", help="Count only what is lost within 2 h of a choice.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a policy on simulated clusters; it is written as plain arrays, with no code in it."""
    from remediation.learning.train import Report, TrainSettings
    from remediation.learning.train import train as learn

    if not os.access(into.parent, os.W_OK):
        raise InputError(
            f"Training into {into}: the folder {into.parent} is not there or cannot be written. "
            "Name a file in a folder you may write."
        )
    settings = TrainSettings(steps=steps, seed=seed, minutes=minutes, bandit=bandit)
    lost = TextColumn("{task.fields[lost]:.2%} of GPU time lost, {task.fields[steps]:,} decisions")
    columns = (*Progress.get_default_columns(), TimeElapsedColumn(), lost)
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("training", total=1.0, lost=float("nan"), steps=0)

        def tell(report: Report) -> None:
            bar.update(task, completed=report.share, lost=report.lost, steps=report.steps)

        trained = learn(settings, into, resume=resume, tensorboard=tensorboard, progress=tell)
    made = trained.training
    if as_json:
        told = {"file": str(into), "steps": made.steps, "seed": made.seed, "hours": made.hours}
        return print_json(
            {**told, "version": made.version, "state": str(into.with_suffix(".state"))}
        )
    out.print(
        f"{into}: {made.steps} decisions in {made.hours:.0f} h of clusters, seed {made.seed}.",
        markup=False,
    )
    out.print(f"Go on with it: --resume {into.with_suffix('.state')} --steps MORE", markup=False)
    out.print(f"Hold it against the others: gpumedic evaluate --policy {into}", markup=False)
    return None


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(train)
