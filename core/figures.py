"""The one form in which every measured figure is reported, printed, compared and published."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    value, low, high: in ``unit``; None where it was not measured, with the reason in ``note``
    low, high: 95 % interval or smallest and largest of ``n`` repetitions; ``note`` says which
    goal:  what it is held against, "" for none; ``ok`` is None where there is no goal
    """

    metric: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int = 1
    goal: str = ""
    ok: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """All rows of one command, with what is needed to run it again."""

    name: str
    command: str
    version: str
    machine: str
    seeds: tuple[int, ...]
    rows: tuple[Row, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Say whether no row misses its goal."""
        return all(row.ok is not False for row in self.rows)


def at_least(metric: str, value: float, goal: float, **rest: object) -> Row:
    """Make a row that is ok when ``value >= goal``; NaN is not ok."""
    return _held(metric, value, f">= {goal:g}", value >= goal, rest)


def at_most(metric: str, value: float, goal: float, **rest: object) -> Row:
    """Make a row that is ok when ``value <= goal``; NaN is not ok."""
    return _held(metric, value, f"<= {goal:g}", value <= goal, rest)


def _held(metric: str, value: float, goal: str, ok: bool, rest: dict[str, object]) -> Row:
    known = None if math.isnan(value) else value
    return Row(metric=metric, value=known, goal=goal, ok=bool(ok), **rest)  # type: ignore[arg-type]
