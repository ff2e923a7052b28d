"""Print figures as a table or as JSON, and write docs/results.md from the files that were kept."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from core.codec import from_json, to_json
from core.errors import InputError
from core.figures import Figures, Row

EXIT_NOT_OK = 1
COLUMNS = ("metric", "value", "low..high", "n", "goal", "ok")


def figures(name: str, rows: Iterable[Row], *, seeds: Sequence[int] = ()) -> Figures:
    """Wrap rows with this version, this machine and the command that was typed."""
    return Figures(
        name=name,
        command=" ".join(["gpumedic", *sys.argv[1:]]),
        version=version("gpumedic"),
        machine=machine(),
        seeds=tuple(seeds),
        rows=tuple(rows),
    )


def machine() -> str:
    """Describe this machine in a line: cores, processor, memory, Python."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores {_processor()}, {memory_gib:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def table(shown: Figures) -> Group:
    """Lay the rows out for a terminal of 80 columns, the notes below them."""
    grid = Table(title=shown.name, title_justify="left")
    for name in COLUMNS:
        wide = name in ("value", "n")
        grid.add_column(name, justify="right" if wide else "left", overflow="fold")
    notes: list[str] = []
    for row in shown.rows:
        if row.note and row.note not in notes:
            notes.append(row.note)
        mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
        metric, *rest, _ = _cells(row)
        grid.add_row(*map(Text, (metric + mark, *rest)))
    lines = [Text(f"[{number}] {note}") for number, note in enumerate(notes, 1)]
    return Group(grid, *lines, Text(f"{shown.machine}; version {shown.version}", style="dim"))


def emit(shown: Figures, *, as_json: bool, strict: bool, console: Console) -> int:
    """Print and return the exit code: 1 with ``strict`` where a row misses its goal, else 0."""
    if as_json:
        console.file.write(json.dumps(to_json(shown), indent=2) + "\n")
    else:
        console.print(table(shown))
    return EXIT_NOT_OK if strict and not shown.ok else 0


_MOST_ROWS = 500  # of a command on the page


def results_page(folder: Path) -> str:
    """Write docs/results.md's text from the figures kept as ``*.json`` in a folder."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(
            f"Reading measured figures in {folder}: found no *.json. "
            "Make some with `gpumedic bench ... --json > NAME.json`."
        )
    parts = [_section(from_json(Figures, json.loads(path.read_text()))) for path in files]
    intro = (
        "# Results\n\nEvery figure here was measured by the command above its table and is written "
        "from the JSON it printed (`docs/results/*.json`) by `gpumedic bench page`.\n"
    )
    return "\n".join([intro, *parts])


def _section(shown: Figures) -> str:
    names, rows = (*COLUMNS, "note"), shown.rows
    if len(rows) > _MOST_ROWS:
        rows = tuple(row for row in rows if '",' not in row.metric)
    left = len(shown.rows) - len(rows)
    more = f"\n{left} more rows, split once more, stand in the JSON.\n" if left else ""
    head = f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"
    body = "\n".join("| " + " | ".join(_cells(row)) + " |" for row in rows)
    seeds = f", seeds {', '.join(map(str, shown.seeds))}" if shown.seeds else ""
    return (
        f"## {shown.name}\n\n`{shown.command}` on {shown.machine}{seeds}, "
        f"version {shown.version}\n\n{head}\n{body}\n{more}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    value = "not measured" if row.value is None else f"{row.value:.4g} {row.unit}".strip()
    span = "" if row.low is None or row.high is None else f"{row.low:.4g}..{row.high:.4g}"
    verdict = {True: "yes", False: "NO", None: ""}[row.ok]
    return (row.metric, value, span, str(row.n), row.goal, verdict, row.note)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
