"""``gpumedic forecast`` of a whole table: a progress bar, the worst series ranked, files."""

import asyncio
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table as Shown
from rich.text import Text

from agent.collect.table import Table
from agent.commands.console import at, err, out, say, tell
from agent.even_grid import Tidied, tidy
from agent.forecast_report import json_lines, write_bands, write_plots
from agent.forecast_table import CHUNK, Question, TableForecast, forecast_table
from agent.workers import WorkerPool
from core.durations import lasting

# Of one chunk of series; far more than any takes that is not stuck.
FIT_LIMIT_S = 600.0
FIT_MEMORY_BYTES = 4 << 30
# Names before a note that several series share.
MOST_NAMED = 4
# Above this a crossing is counted in the sentence over the table.
LIKELY = 0.5


def many(
    table: Table,
    asked: Question,
    *,
    worst: int,
    plot: Path | None,
    bands: Path | None,
    as_json: bool,
) -> None:
    """Forecast every series of a table, print the worst or all as JSON, and write what is asked."""
    rows = tidy(table.time_s, table.value, name=f"{len(table.names)} series")
    found = asyncio.run(_fit_all(table.names, rows, asked))
    notes = (*table.notes, *rows.notes, *found.failures)
    ranked = found.worst(len(found.names))
    if bands is not None:
        write_bands(found, bands)
        tell(f"bands: {bands}")
    if plot is not None and len(ranked):
        first = ranked[:worst].tolist()
        for path in write_plots(found, rows.time_s, rows.value, rows=first, path=plot):
            tell(f"plot: {path}")
    if as_json:
        about = _about(found, rows, asked) | {"notes": list(notes)}
        sys.stdout.writelines(json_lines(found, ranked, about))
    else:
        _print_worst(found, rows, asked, rows_shown=ranked[:worst].tolist())
        for note in notes:
            say(f"note: {note}", style="dim")


async def _fit_all(names: tuple[str, ...], rows: Tidied, asked: Question) -> TableForecast:
    workers = min(os.cpu_count() or 1, -(-len(names) // CHUNK[asked.model]))
    bar = Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=err)
    with bar:
        task = bar.add_task("Forecasting", total=len(names))
        async with WorkerPool(
            workers, time_limit_s=FIT_LIMIT_S, memory_bytes=FIT_MEMORY_BYTES
        ) as pool:
            return await forecast_table(
                names,
                rows.time_s,
                rows.value,
                asked,
                pool=pool,
                at_once=workers,
                progress=lambda series: bar.advance(task, series),
            )


def _about(found: TableForecast, rows: Tidied, asked: Question) -> dict[str, object]:
    made = found.forecast
    return {
        "made_at": at(made.made_at_s),
        "made_at_s": made.made_at_s,
        "horizon_s": asked.horizon_s,
        "coverage": made.coverage,
        "step_s": float(rows.time_s[1] - rows.time_s[0]),
        "readings": len(rows.time_s),
        "without_forecast": int((~found.made).sum()),
        "needed_readings": found.needed,
    }


def _print_worst(
    found: TableForecast, rows: Tidied, asked: Question, *, rows_shown: Sequence[int]
) -> None:
    """Say in a sentence how many cross, and show the worst as a table."""
    step = lasting(float(rows.time_s[1] - rows.time_s[0]))
    say(
        f"{len(found.names):,} series of {len(rows.time_s):,} readings, {step} apart, newest "
        f"{at(found.forecast.made_at_s)}."
    )
    if without := int((~found.made).sum()):
        say(f"{without:,} have too few readings (fewer than {found.needed}) or failed.")
    limits = {float(limit) for limit in found.limit if math.isfinite(limit)}
    if limits:
        say(_crossings_in_words(found, asked, *limits))
    shown = Shown(box=None, pad_edge=False)
    shown.add_column("series", overflow="fold")
    for name in ("now", *(["limit"] * (len(limits) > 1)), "p", "crosses in", "skill", "model"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows_shown:
        shown.add_row(Text(found.names[row]), *_cells(found, row, limit=len(limits) > 1))
    out.print(shown)
    for said, names in _said(found, rows_shown).items():
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        say(f"note: {', '.join(names[:MOST_NAMED])}{more}: {said}", style="dim")


def _said(found: TableForecast, rows_shown: Sequence[int]) -> dict[str, list[str]]:
    """Return what is to be known of the series that are shown, each note with their names."""
    said: dict[str, list[str]] = {}
    for row in rows_shown:
        for note in found.notes.get(row, ()):
            said.setdefault(note, []).append(found.names[row])
    return said


def _crossings_in_words(found: TableForecast, asked: Question, *limits: float) -> str:
    side = "below" if found.below.any() else "beyond"
    limit = f"{limits[0]:g}" if len(limits) == 1 else "the limit"
    likely = int(((found.crossings.probability >= LIKELY) & ~found.crossed).sum())
    return (
        f"To be {side} {limit} within {lasting(asked.horizon_s)} with p >= {LIKELY:g}: {likely:,}; "
        f"already there: {int(found.crossed.sum()):,}."
    )


def _cells(found: TableForecast, row: int, *, limit: bool) -> tuple[str, ...]:
    seen, made = found.crossings, found.forecast
    expected_s, bound = float(seen.expected_s[row]), float(found.limit[row])
    ahead_s = expected_s - made.made_at_s
    when = "-" if math.isnan(expected_s) else lasting(ahead_s) if ahead_s > 0 else "crossed"
    return (
        f"{found.value[row]:.4g}",
        *([f"{bound:g}" if math.isfinite(bound) else "-"] if limit else []),
        f"{seen.probability[row]:.2f}" if math.isfinite(seen.probability[row]) else "-",
        when,
        f"{made.skill[row]:+.2f}" if math.isfinite(made.skill[row]) else "-",
        made.model[row],
    )
