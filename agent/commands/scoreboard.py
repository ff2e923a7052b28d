"""``gpumedic scoreboard``: published policies reproduced in the simulator, and ours beside them."""

from pathlib import Path
from typing import Annotated

import typer

from agent.commands.console import AsJson, err, out, tell
from agent.commands.learn import PANEL, Quick

Rows = Annotated[str, typer.Option("--rows", help="These rows only, with commas; default: all.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw how much each assumption decides (SVG)."),
]


def scoreboard(
    rows: Rows = "", plot: Plot = None, quick: Quick = False, as_json: AsJson = False
) -> None:
    """Play published clusters as their own policies ran them, and as gpumedic would.

    Each row is first held against what was published; docs/scoreboard.md says how to read it.
    """
    from agent.figures import emit, figures
    from agent.scoreboard import board

    if plot is not None:
        _write(plot, "")  # before minutes are spent
    names = [name.strip() for name in rows.split(",") if name.strip()]
    board.wanted(names)
    with err.status("Playing ...") as status:
        found = [*board.rows(names, quick=quick, tell=status.update)]
    shown = figures("scoreboard", found)
    if as_json:
        emit(shown, as_json=True, strict=False, console=out)
    else:
        out.print(board.table(shown))
    if plot is not None:
        _draw(plot, names, quick=quick)


def _draw(path: Path, names: list[str], *, quick: bool) -> None:
    """Write the sensitivity of the rows about time to a file."""
    from agent.scoreboard.effective import trials
    from agent.scoreboard.sensitivity import drawing, panel

    panels = []
    with err.status("Varying ...") as status:
        for trial in trials(frozenset(names) if names else None):
            status.update(f"Varying the assumptions of {trial.name} ...")
            panels.append(panel(trial, seeds=trial.seeds[0] if quick else 2 * trial.seeds[0]))
    _write(path, drawing(panels))
    tell(f"Wrote {path}.")


def _write(path: Path, text: str) -> None:
    from core.errors import InputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"Writing {path}: {reason}. Name a file in a folder that is there."
        ) from error


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(rich_help_panel=PANEL)(scoreboard)
