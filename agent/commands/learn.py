"""``gpumedic train`` and ``evaluate``: a learned policy, held against the rules."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from agent.commands.console import AsJson, err, out, print_json
from core.errors import InputError
from core.figures import Row

PANEL = "Experiments"
Strict = Annotated[bool, typer.Option("--strict", help="Exit 1 where a row misses its goal.")]
Quick = Annotated[bool, typer.Option("--quick", help="The short form, with a smaller n.")]
QUICK_EPISODES = 20


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


def evaluate(
    policy: Annotated[
        Path | None, typer.Option("--policy", help="A policy that `gpumedic train` wrote.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Unseen clusters, the same for all.")] = 200,
    quick: Quick = False,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Hold policies against each other on clusters none was trained on, with intervals.

    The first family is drawn as in training, with other seeds; the others are not seen there.

    The rules stay the default unless a learned policy beats them and every rule of thumb.
    """
    from agent.figures import emit, figures
    from remediation.choices import Choice
    from remediation.evaluate import FAMILIES, NoPolicy, StaticPolicy, compare, held_out_seeds, rows
    from remediation.learned import LearnedPolicy, load
    from remediation.rules import RulesPolicy

    thumb = (
        StaticPolicy(Choice.SWAP, Choice.RESTART),
        StaticPolicy(Choice.SWAP_AND_REPAIR, Choice.RESTART),
    )
    learned = [LearnedPolicy(*load(policy), fallback=RulesPolicy())] if policy else []
    seeds = held_out_seeds(min(episodes, QUICK_EPISODES) if quick else episodes)
    found: list[Row] = []
    with Progress(console=err, transient=True) as bar:
        for family, settings in FAMILIES.items():
            task = bar.add_task(f"evaluating {family}", total=len(seeds))
            compared = compare(
                (NoPolicy(), RulesPolicy(), *thumb, *learned),
                settings,
                seeds=seeds,
                progress=partial(_show, bar, task),
            )
            found += rows(compared, family=family)
    shown = figures("evaluate", found, seeds=(seeds[0], seeds[-1]))
    raise typer.Exit(emit(shown, as_json=as_json, strict=strict, console=out))


def _show(bar: Progress, task: TaskID, done: int, of: int) -> None:
    bar.update(task, completed=done, total=of)


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (train, evaluate):
        app.command(rich_help_panel=PANEL)(verb)
