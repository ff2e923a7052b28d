"""The scoreboard as a whole: which rows there are, played one after the other, and as tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.scoreboard import detectors, effective, elastic, lemons, slow, standby
from agent.scoreboard.assumed import ASSUMED
from agent.scoreboard.entries import BUILT, PUBLISHED, REPRODUCED
from core.errors import InputError
from core.figures import Figures, Row
from sim.checks import nearest

Part = Callable[..., Iterator[Row]]
Tell = Callable[[str], None]


def _trial(name: str, *, quick: bool) -> Iterator[Row]:
    for trial in effective.trials(frozenset({name})):
        yield from effective.entry(trial, quick=quick)


def _detector(name: str, *, quick: bool) -> Iterator[Row]:
    del quick  # measured elsewhere
    yield from detectors.rows(name)


# By the row's name, in the order in which they are shown.
TIMED = (
    "llama3_ettr",
    "llama3_manual_interventions",
    "byterobust_dense_ettr",
    "byterobust_moe_ettr",
    "rsc1_ettr_60min",
    "rsc1_ettr_5min",
    "c4_downtime",
    "dlrover_goodput",
    "ft_hsdp_98k_ettr",
)
PARTS: Mapping[str, Part] = {
    **{name: partial(_trial, name) for name in TIMED},
    standby.NAME: standby.rows,
    lemons.NAME: lemons.rows,
    **{f"unicron_trace_{trace}": partial(elastic.rows, trace) for trace in elastic.GAIN},
    slow.NAME: slow.rows,
    **{name: partial(_detector, name) for name in detectors.BY_NAME},
}


def wanted(names: Sequence[str]) -> tuple[str, ...]:
    """Return the rows of those names, all for none; InputError names the nearest there is."""
    for name in names:
        if name not in PARTS:
            raise InputError(f"no row {name!r} on the scoreboard; {nearest(name, PARTS)}")
    return tuple(name for name in PARTS if not names or name in names)


def rows(names: Sequence[str], *, quick: bool, tell: Tell = lambda line: None) -> Iterator[Row]:
    """Yield the figures of some rows, all for none: ours first, then what it is held against."""
    for name in wanted(names):
        tell(f"Playing {name} ...")
        yield from PARTS[name](quick=quick)


def table(shown: Figures) -> Group:
    """Lay the rows out for a terminal: the means of ``markdown``, and all notes below."""
    grid = Table(title=shown.name, title_justify="left", box=None)
    for number, name in enumerate(HEADS):
        grid.add_column(name, overflow="fold", justify="right" if 1 <= number <= 4 else "left")
    for row, *cells in _lines(shown):
        grid.add_row(*map(Text, (row, *(cell.split(" ±")[0] for cell in cells))))
    notes = [Text(f"{row.metric}: {row.note}") for row in shown.rows if _says_more(row)]
    return Group(grid, Text(""), *notes, Text(f"{shown.machine}; version {shown.version}", "dim"))


def _says_more(row: Row) -> bool:
    return bool(row.note) and not row.metric.endswith((PUBLISHED, BUILT))


HEADS = ("row", "published", "reproduced", "ours", "built", "goal", "met")


def markdown(shown: Figures) -> str:
    """Return the same table as Markdown."""
    lines = [HEADS, ("---",) * len(HEADS), *_lines(shown)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def assumptions() -> str:
    """Return what is assumed, as a Markdown table."""
    head = ("assumed", "value", "varied", "what", "source", "needs")
    lines = [head, ("---",) * len(head)]
    for part in ASSUMED:
        value = f"{part.value:g} {part.unit}".strip()
        varied = f"{part.low:g} to {part.high:g}"
        lines.append((f"`{part.key}`", value, varied, part.text, part.source, part.needs))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _lines(shown: Figures) -> Iterator[tuple[str, ...]]:
    found = {row.metric: row for row in shown.rows}
    for row in shown.rows:
        if row.metric + PUBLISHED not in found:
            continue
        published = found[row.metric + PUBLISHED]
        again = found[row.metric + REPRODUCED]
        built = found.get(row.metric + BUILT)
        yield (
            row.metric,
            _number(published),
            "not" if again.value is None else _mean(again) + ("" if again.ok else " (off)"),
            _mean(row),
            "" if built is None else _mean(built),
            row.goal,
            "yes" if row.ok else "no",
        )


def _number(row: Row) -> str:
    return "" if row.value is None else f"{row.value:.4g}"


def _mean(row: Row) -> str:
    if row.low is None or row.high is None or row.value is None:
        return _number(row)
    return f"{row.value:.4g} ± {(row.high - row.low) / 2:.2g}"
